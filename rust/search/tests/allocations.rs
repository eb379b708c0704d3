//! A step allocates nothing once the buffers have grown.

#[path = "../../store/tests/counting/mod.rs"]
mod counting;

use counting::allocations;
use draftwood_logits::RowResult;
use draftwood_search::{BeamConfig, BeamSearch, Rows};

#[test]
fn warm_steps_allocate_nothing() {
    let (beams, vocab) = (8usize, 500);
    let config = BeamConfig {
        num_beams: beams as u32,
        num_return: 8,
        max_new_tokens: 100,
        end_tokens: vec![3, 9],
        min_new_tokens: 10,
        ..BeamConfig::default()
    };
    let mut search = BeamSearch::new(config, &[1, 2, 3], vec![]).unwrap();
    let mut values = vec![0.0f32; beams * vocab];
    let mut before = 0;
    for step in 0..60u32 {
        let live = search.live();
        for (i, x) in values[..live * vocab].iter_mut().enumerate() {
            *x = ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(step.wrapping_mul(40_503)) >> 20)
                as f32
                / 500.0;
        }
        // Ends are possible and too unlikely to fill the pool.
        for row in values[..live * vocab].chunks_mut(vocab) {
            (row[3], row[9]) = (-5.0, -6.0);
        }
        if step == 20 {
            before = allocations();
        }
        let rows = Rows::logits(RowResult::full(&values[..live * vocab], live, vocab).unwrap());
        let survivors = search.step(&rows).unwrap().len();
        assert_eq!(survivors, beams);
    }
    assert_eq!(allocations() - before, 0);
}

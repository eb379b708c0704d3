//! A step allocates nothing once the buffers have grown.

mod counting;

use counting::allocations;
use draftwood_base::SequenceId;
use draftwood_store::{GroupKind, Paths, Store, StoreConfig, Want};

const WIDTH: usize = 4;

/// Eight families of four beams: each step verifies small trees, forks two of four, closes the others.
struct Beams {
    store: Store,
    families: [[SequenceId; WIDTH]; 8],
    wants: Vec<Want>,
    paths: Paths,
}

impl Beams {
    fn open() -> Self {
        let config = StoreConfig { pages: 4_000, page_size: 4, groups: vec![GroupKind::Full; 2] };
        let mut store = Store::new(config).unwrap();
        let families = std::array::from_fn(|_| {
            let first = store.open(200, WIDTH as u32).unwrap();
            let reservation = store.reserve(&[Want { sequence: first, chain: 21, drafted: 0 }]).unwrap();
            let mut paths = Paths::default();
            (0..WIDTH).for_each(|_| paths.advance(first));
            let committed = store.commit(reservation, &paths, &[]).unwrap();
            std::array::from_fn(|i| committed[i].sequence)
        });
        Self { store, families, wants: Vec::new(), paths: Paths::default() }
    }

    fn step(&mut self, number: u32) {
        let Self { store, families, wants, paths } = self;
        wants.clear();
        wants.extend(families.iter().flatten().map(|&sequence| Want { sequence, chain: 1, drafted: 6 }));
        drop(store.reserve(wants).unwrap());
        let reservation = store.reserve(wants).unwrap();
        paths.clear();
        for family in families.iter() {
            // Two forks, in place or not, out of two parents that change from step to step.
            for parent in [number, number, number + 1, number + 1] {
                let parent = family[parent as usize % WIDTH];
                match (number + paths.len() as u32) % 3 {
                    0 => paths.advance(parent),
                    1 => paths.push(parent, [0, 3]),
                    _ => paths.push(parent, [0, 1, 5]),
                }
            }
        }
        let committed = store.commit(reservation, paths, &[]).unwrap();
        for (slot, entry) in families.iter_mut().flatten().zip(committed) {
            *slot = entry.sequence;
        }
        match number % 4 {
            0 => store.moves_failed(),
            _ => store.acknowledge(),
        }
    }
}

#[test]
fn steps_allocate_nothing_after_warm_up() {
    let mut beams = Beams::open();
    (0..24).for_each(|number| beams.step(number));
    let (before, warm) = (allocations(), beams.store.stats());
    assert!(before > 0, "the counter counts");
    (24..72).for_each(|number| beams.step(number));
    assert_eq!(allocations() - before, 0);
    let stats = beams.store.stats();
    assert!(stats.rows_forked > warm.rows_forked && stats.rows_compacted > warm.rows_compacted);
    assert!(stats.rows_copied_on_write > warm.rows_copied_on_write);
}

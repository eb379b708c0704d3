//! One row → one token, against the slow sampler.
#![allow(missing_docs)]

mod reference;

use draftwood_base::noise::{Address, Purpose};
use draftwood_sample::{Choice, Draw, Params, RowFault, Sampler};
use proptest::prelude::*;

/// Rows of all kinds: smooth, tied, partly masked, zeros and subnormals, narrow, wide.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    let sizes = prop_oneof![
        9 => prop::sample::select(vec![1usize, 7, 64, 65, 513, 1003]),
        1 => Just(50257usize),
    ];
    (sizes, 0u32..6, any::<u64>()).prop_map(|(v, kind, seed)| {
        let noise = Address { seed, purpose: Purpose::Growth, slot: 0, sample: 0, position: 0 };
        let value = |i: u32| {
            let (g, u) = (noise.gumbel(i), noise.uniform(i));
            match kind {
                0 => 3.0 * g,
                1 => (g * 2.0).round() / 2.0,
                2 if i > 0 && u < 0.5 => f32::NEG_INFINITY,
                2 => g,
                3 => [0.0, -0.0, 1e-40, -1e-40, 1e-37][(u * 5.0) as usize % 5],
                4 => 20.0 + u * 1e-3,
                _ => g * 1e6,
            }
        };
        (0..v as u32).map(value).collect()
    })
}

fn params() -> impl Strategy<Value = Params> {
    let temperature = prop::sample::select(vec![0.0f32, 1e-6, 0.1, 0.7, 1.0, 1.5, 100.0, 1e6]);
    let top_k = prop_oneof![2 => Just(0u32), 2 => 1u32..60, 1 => 100u32..2000];
    let top_p = prop_oneof![Just(1.0f32), 0.001f32..1.0];
    let min_p = prop_oneof![Just(0.0f32), 0.0f32..=1.0];
    (temperature, top_k, top_p, min_p).prop_map(|(temperature, top_k, top_p, min_p)| Params {
        temperature,
        top_k,
        top_p,
        min_p,
    })
}

proptest! {
    #[test]
    fn choices_equal_those_of_the_slow_sampler(row in rows(), params in params(), seed: u64, position: u32, sample: u32) {
        prop_assert!(params.validate().is_ok());
        let draw = Draw { seed, sample, position, slot: 0 };
        let mut sampler = Sampler::default();
        let got = sampler.choose(&row, &params, &draw).unwrap();
        prop_assert_eq!(got, reference::choose(&row, &params, &draw));
        // Scratch memory carries nothing over.
        prop_assert_eq!(sampler.choose(&row, &params, &draw).unwrap(), got);
    }

    /// Wherever no decision is within 1e-5 of going the other way, the integers keep the set that f64 keeps.
    #[test]
    fn kept_sets_equal_those_of_the_textbook(seed: u64, params in params()) {
        prop_assume!(params.temperature >= 0.1 && params.temperature <= 100.0);
        let noise = Address { seed, purpose: Purpose::Growth, slot: 0, sample: 0, position: 0 };
        let row: Vec<f32> = (0..513).map(|i| 2.0 * noise.gumbel(i)).collect();
        let (law, margin) = reference::law(&row, &params);
        prop_assume!(margin > 1e-5);
        let want: Vec<usize> = (0..row.len()).filter(|&i| law[i] > 0.0).collect();
        let draw = Draw::default();
        prop_assert_eq!(&reference::kept(&row, &params), &want);
        prop_assert_eq!(Sampler::default().choose(&row, &params, &draw).unwrap().kept as usize, want.len());
    }
}

#[test]
fn greedy_reads_no_noise_and_breaks_ties_low() {
    let row = [1.0, 3.0, -0.0, 3.0, f32::NEG_INFINITY];
    for seed in 0..50 {
        let draw = Draw { seed, position: seed as u32, ..Draw::default() };
        let got = Sampler::default().choose(&row, &Params::default(), &draw);
        assert_eq!(got, Ok(Choice { token: 1, kept: 1 }));
    }
}

#[test]
fn every_field_of_a_draw_matters() {
    let row = vec![0.0; 1 << 16];
    let params = Params { temperature: 1.0, ..Params::default() };
    let choose = |draw: Draw| Sampler::default().choose(&row, &params, &draw).unwrap().token;
    let draw = Draw { seed: 9, sample: 0, position: 5, slot: 0 };
    let others = [
        Draw { seed: 10, ..draw },
        Draw { sample: 1, ..draw },
        Draw { position: 6, ..draw },
        Draw { slot: 1, ..draw },
    ];
    assert_eq!(choose(draw), choose(draw));
    for other in others {
        assert_ne!(choose(draw), choose(other), "{other:?}");
    }
}

#[test]
fn faulty_rows_are_refused_at_every_temperature() {
    for temperature in [0.0, 1.0] {
        let params = Params { temperature, ..Params::default() };
        let choose = |row: &[f32]| Sampler::default().choose(row, &params, &Draw::default()).unwrap_err();
        let nan = choose(&[0.0, f32::NEG_INFINITY, f32::NAN, f32::INFINITY]);
        assert_eq!(nan, RowFault::NotFinite { token: 2 });
        assert_eq!(choose(&[f32::INFINITY, 0.0]), RowFault::NotFinite { token: 0 });
        assert_eq!(choose(&[f32::NEG_INFINITY; 70]), RowFault::AllMasked);
        assert!(nan.to_string().starts_with("logits must be finite or -inf, got NaN or +inf at token 2;"));
    }
}

#[test]
fn a_single_unmasked_token_is_always_drawn() {
    let mut row = vec![f32::NEG_INFINITY; 1003];
    row[700] = -5e4;
    for temperature in [0.0, 1e-6, 1.0, 1e6] {
        let params = Params { temperature, top_k: 5, top_p: 0.5, min_p: 0.5 };
        let got = Sampler::default().choose(&row, &params, &Draw::default());
        assert_eq!(got, Ok(Choice { token: 700, kept: 1 }));
    }
}

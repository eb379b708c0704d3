//! Verification with draft trees keeps the target's law, and the test that says so can tell: five broken walks fail it.
#![allow(missing_docs, clippy::print_stdout)]

mod reference;
mod toy;

use draftwood_base::Token;
use draftwood_sample::{Params, Sampler};
use std::collections::BTreeMap;
use toy::chi2::{self, Outcome};
use toy::walks;
use toy::{Drafter, Toy, Verify, generate};

const SAMPLES: u64 = 200_000;
/// Of the whole family.
const LEVEL: f64 = 1e-4;

const PLAIN: Params = Params { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };

fn warps() -> [(&'static str, Params); 7] {
    [
        ("plain", PLAIN),
        ("temperature 0.6", Params { temperature: 0.6, ..PLAIN }),
        ("temperature 1.7", Params { temperature: 1.7, ..PLAIN }),
        ("top-k 3", Params { top_k: 3, ..PLAIN }),
        ("top-p 0.8", Params { top_p: 0.8, ..PLAIN }),
        ("min-p 0.15", Params { min_p: 0.15, ..PLAIN }),
        ("all of them", Params { temperature: 1.3, top_k: 5, top_p: 0.9, min_p: 0.05 }),
    ]
}

/// Seeds and sample words both vary: neither may matter to the law.
fn sampled(toy: &Toy, params: &Params, verify: Verify) -> (Outcome, f64) {
    let mut sampler = Sampler::default();
    let mut counts: BTreeMap<Vec<Token>, u64> = BTreeMap::new();
    let mut steps = 0;
    let mut tokens = 0;
    for i in 0..SAMPLES {
        let address = (0xD0A7 + i / 500, (i % 500) as u32);
        let (text, took) = generate(toy, &mut sampler, params, address, Drafter::Random, verify);
        steps += took;
        tokens += text.len();
        *counts.entry(text).or_default() += 1;
    }
    (chi2::test(&counts, &toy.law(params)), tokens as f64 / steps as f64)
}

#[test]
fn verified_trees_keep_the_law() {
    let toy = Toy::new();
    let family = warps();
    let outcomes: Vec<_> = family.iter().map(|(_, params)| sampled(&toy, params, walks::honest)).collect();
    let rejected = chi2::holm(&outcomes.iter().map(|(o, _)| o.p).collect::<Vec<_>>(), LEVEL);
    for (((name, _), (outcome, per_step)), rejected) in family.iter().zip(&outcomes).zip(rejected) {
        let seen = chi2::detectable(SAMPLES as f64, outcome.freedom, LEVEL / family.len() as f64);
        println!(
            "{name:16} p {:.4}, {} degrees of freedom, distance {:.4}, {per_step:.2} tokens a step; detects a total variation of {seen:.4}",
            outcome.p, outcome.freedom, outcome.distance
        );
        assert!(!rejected, "{name}: p {:e}", outcome.p);
        assert!(seen < 0.02, "{name}: a total variation of {seen} would pass");
        assert!(*per_step > 1.2, "{name}: drafts must be accepted for the test to mean anything");
    }
}

/// The same test, the same draws, a wrong walk: rejected even at the strictest level of the family.
#[test]
fn broken_walks_are_caught() {
    let toy = Toy::new();
    let broken: [(&str, Verify); 5] = [
        ("one draw per leaf path", walks::one_draw_per_leaf),
        ("noise reused along a path", walks::noise_reused_along_a_path),
        ("second draw after a mismatch", walks::second_draw_after_a_mismatch),
        ("pads compared as drafts", walks::pads_compared),
        ("end tokens expanded", walks::ends_expanded),
    ];
    for (name, verify) in broken {
        let (outcome, _) = sampled(&toy, &PLAIN, verify);
        println!("{name:30} p {:.1e}, distance {:.3}", outcome.p, outcome.distance);
        assert!(outcome.p < LEVEL / warps().len() as f64, "{name} passed with p {}", outcome.p);
    }
}

/// Drafter invariance: the same seed says the same tokens with any drafter as with none.
#[test]
fn the_same_seed_says_the_same_whatever_is_drafted() {
    let toy = Toy::new();
    let mut sampler = Sampler::default();
    let greedy = [("greedy", Params::default())];
    for (name, params) in greedy.into_iter().chain(warps()) {
        for seed in 0..2000 {
            let address = (seed, (seed % 3) as u32);
            let (plain, steps) = generate(&toy, &mut sampler, &params, address, Drafter::None, walks::honest);
            assert_eq!(steps, plain.len());
            for drafter in [Drafter::Right, Drafter::Wrong, Drafter::Random, Drafter::Large] {
                let (text, took) = generate(&toy, &mut sampler, &params, address, drafter, walks::honest);
                assert_eq!(text, plain, "{name}, seed {seed}, {drafter:?}");
                match drafter {
                    Drafter::Right => assert_eq!(took, 1),
                    Drafter::Wrong => assert_eq!(took, steps),
                    _ => assert!(took <= steps),
                }
            }
        }
    }
}

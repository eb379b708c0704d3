//! Every loop on every instruction set of the machine against slow, obvious references.

mod filters;
mod noise;
mod reductions;

use crate::isa::Enabled;
use draftwood_base::Token;
use draftwood_base::noise::{Address, Purpose};
use proptest::prelude::*;

/// Sizes around the block borders of the loops, and two real vocabularies.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => prop::sample::select(vec![1usize, 2, 7, 15, 16, 17, 63, 64, 65, 127, 128, 129, 513, 1003]),
        1 => prop::sample::select(vec![49152usize, 50257]),
    ]
}

/// The kinds of rows that go wrong: continuous, few distinct values, masked in part, zeros of both signs and
/// subnormals, all equal, all masked but a few, wide.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Smooth,
    Ties,
    Masked,
    Zeros,
    Equal,
    Sparse,
    Wide,
    Narrow,
}

fn rows() -> impl Strategy<Value = Vec<f32>> {
    use Kind::*;
    let kinds = prop::sample::select(vec![Smooth, Ties, Masked, Zeros, Equal, Sparse, Wide, Narrow]);
    (sizes(), kinds, any::<u64>()).prop_map(|(v, kind, seed)| row(v, kind, seed))
}

fn noise(seed: u64) -> Address {
    Address { seed, purpose: Purpose::Growth, slot: 0, sample: 0, position: 0 }
}

fn row(v: usize, kind: Kind, seed: u64) -> Vec<f32> {
    let noise = noise(seed);
    (0..v as u32)
        .map(|i| {
            let (g, u) = (noise.gumbel(i), noise.uniform(i));
            match kind {
                Kind::Smooth => 3.0 * g - 2.0,
                Kind::Ties => (g * 2.0).round() / 2.0,
                Kind::Masked => {
                    if u < 0.4 {
                        f32::NEG_INFINITY
                    } else {
                        3.0 * g
                    }
                }
                Kind::Zeros => {
                    [0.0, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, -f32::MIN_POSITIVE][(u * 6.0) as usize % 6]
                }
                Kind::Equal => 1.5,
                Kind::Sparse => {
                    if u < 0.99 {
                        f32::NEG_INFINITY
                    } else {
                        g
                    }
                }
                Kind::Wide => g * 1e30,
                Kind::Narrow => 10.0 + u * 1e-3,
            }
        })
        .collect()
}

/// All unmasked tokens, the largest first, of equals the lowest id.
fn sorted(row: &[f32]) -> Vec<(Token, f32)> {
    let mut all: Vec<_> = row.iter().enumerate().map(|(i, &x)| (i as Token, x)).collect();
    all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    all.retain(|&(_, x)| x > f32::NEG_INFINITY);
    all
}

/// The machine prints what it tested in the name of a failure.
fn each_isa(mut test: impl FnMut(Enabled) -> Result<(), TestCaseError>) -> Result<(), TestCaseError> {
    for enabled in Enabled::all() {
        test(enabled).map_err(|error| TestCaseError::fail(format!("on {}: {error}", enabled.isa())))?;
    }
    Ok(())
}

//! Which tokens a sampler may draw: thresholds found by exact counts and integer sums, so every device agrees.
//!
//! The order of the filters is that of Hugging Face's warpers: top-k, then top-p inside that set with its mass taken
//! as the whole, then min-p. Tokens equal to a threshold stay.

use crate::isa::{Enabled, multiversion};
use crate::top_k::select_on;
use crate::weight::{Weights, portion, read};
use draftwood_base::Token;

/// The smallest logit that top-k keeps: the k-th largest; `None` when that drops nothing (k is 0 or there are not more
/// unmasked tokens than k). Cost: one pass. `scratch` holds the candidates.
pub fn top_k_threshold(row: &[f32], k: u32, scratch: &mut Vec<(Token, f32)>) -> Option<f32> {
    top_k_threshold_on(Enabled::get(), row, k, scratch)
}

pub(crate) fn top_k_threshold_on(
    enabled: Enabled,
    row: &[f32],
    k: u32,
    scratch: &mut Vec<(Token, f32)>,
) -> Option<f32> {
    let k = k as usize;
    if k == 0 || k >= row.len() {
        return None;
    }
    select_on(enabled, row, k, scratch);
    let kth = scratch.iter().map(|&(_, x)| x).fold(f32::INFINITY, f32::min);
    (kth > f32::NEG_INFINITY).then(|| read(kth))
}

/// The smallest logit that top-p keeps of those from `low` up: the largest t for which the weights of the logits ≥ t
/// reach the fraction `top_p` of all weights. Cost: two passes and O(size of one of 2048 bins).
pub fn top_p_threshold(
    row: &[f32],
    low: f32,
    weights: &Weights,
    top_p: f32,
    scratch: &mut Vec<(f32, u64)>,
) -> f32 {
    top_p_threshold_on(Enabled::get(), row, low, weights, top_p, scratch)
}

pub(crate) fn top_p_threshold_on(
    enabled: Enabled,
    row: &[f32],
    low: f32,
    weights: &Weights,
    top_p: f32,
    scratch: &mut Vec<(f32, u64)>,
) -> f32 {
    let mut mass = [0u64; BINS];
    masses_on(enabled, row, low, weights, &mut mass);
    let mut need = portion(mass.iter().sum(), top_p).max(1);
    let Some(bin) = mass.iter().position(|&m| {
        let reached = m >= need;
        if !reached {
            need -= m;
        }
        reached
    }) else {
        return low;
    };
    collect_on(enabled, row, low, weights, bin as u32, scratch);
    weighted_threshold(scratch, need).unwrap_or(low)
}

/// Writes to `out` the row with everything dropped masked: below `low`, or of a weight under the fraction `min_p` of the
/// largest. Returns how many stay. Cost: one pass.
pub fn keep(row: &[f32], low: f32, weights: &Weights, min_p: f32, out: &mut Vec<f32>) -> u32 {
    out.clear();
    out.resize(row.len(), f32::NEG_INFINITY);
    keep_on(Enabled::get(), row, low, weights, portion(1 << 40, min_p), out)
}

/// Weights vanish 41 powers of two below the largest; the bins cut that range evenly, the largest logit in bin 0.
const BINS: usize = 2048;
const LANES: usize = 16;

/// Any function that falls as `x` rises will do: bins only split the work. Adding 2^23 rounds to an integer, whose value
/// then sits in the low bits.
#[inline(always)]
fn bin_of(x: f32, weights: &Weights, per_logit: f32) -> u32 {
    let t = (weights.max - x) * per_logit;
    let t = if t < (BINS - 1) as f32 { t } else { (BINS - 1) as f32 };
    (t + 8_388_608.0).to_bits() & 0x007f_ffff
}

#[inline(always)]
fn bins_per_logit(weights: &Weights) -> f32 {
    weights.scale * (BINS as f32 / 41.0)
}

multiversion! {
    fn masses_on(row: &[f32], low: f32, weights: &Weights, mass: &mut [u64; BINS]) -> () = masses_body;
}

#[inline(always)]
fn masses_body(row: &[f32], low: f32, weights: &Weights, mass: &mut [u64; BINS]) {
    let per_logit = bins_per_logit(weights);
    let mut add = |block: &[f32; LANES], n: usize| {
        let (mut bins, mut values) = ([0u32; LANES], [0u64; LANES]);
        for lane in 0..LANES {
            let x = read(block[lane]);
            bins[lane] = bin_of(x, weights, per_logit);
            values[lane] = if x >= low { weights.of(x) } else { 0 };
        }
        for lane in 0..n {
            mass[bins[lane] as usize & (BINS - 1)] += values[lane];
        }
    };
    let (blocks, tail) = row.as_chunks::<LANES>();
    for block in blocks {
        if block.iter().fold(false, |any, &x| any | (read(x) >= low)) {
            add(block, LANES);
        }
    }
    let mut last = [f32::NEG_INFINITY; LANES];
    last[..tail.len()].copy_from_slice(tail);
    add(&last, tail.len());
}

multiversion! {
    fn collect_on(row: &[f32], low: f32, weights: &Weights, bin: u32, out: &mut Vec<(f32, u64)>) -> () = collect_body;
}

#[inline(always)]
fn collect_body(row: &[f32], low: f32, weights: &Weights, bin: u32, out: &mut Vec<(f32, u64)>) {
    out.clear();
    let per_logit = bins_per_logit(weights);
    for block in row.chunks(4 * LANES) {
        if !block.iter().fold(false, |any, &x| any | (bin_of(read(x), weights, per_logit) == bin)) {
            continue;
        }
        for &x in block {
            let x = read(x);
            let weight = weights.of(x);
            if x >= low && weight > 0 && bin_of(x, weights, per_logit) == bin {
                out.push((x, weight));
            }
        }
    }
}

/// The largest t for which the weights of the values ≥ t reach `need`: halves the items around their median, O(n).
fn weighted_threshold(mut items: &mut [(f32, u64)], mut need: u64) -> Option<f32> {
    while items.len() > 1 {
        let middle = items.len() / 2;
        items.select_nth_unstable_by(middle, |a, b| b.0.total_cmp(&a.0));
        let (upper, lower) = items.split_at_mut(middle);
        let sum: u64 = upper.iter().map(|&(_, weight)| weight).sum();
        items = if sum >= need {
            upper
        } else {
            need -= sum;
            lower
        };
    }
    items.first().map(|&(x, _)| x)
}

multiversion! {
    fn keep_on(row: &[f32], low: f32, weights: &Weights, floor: u64, out: &mut [f32]) -> u32 = keep_body;
}

#[inline(always)]
fn keep_body(row: &[f32], low: f32, weights: &Weights, floor: u64, out: &mut [f32]) -> u32 {
    // `low` is finite, so a masked token fails the first test.
    if floor == 0 {
        keep_where(row, out, |x| x >= low)
    } else {
        keep_where(row, out, |x| (x >= low) & (weights.of(x) >= floor))
    }
}

#[inline(always)]
fn keep_where(row: &[f32], out: &mut [f32], keep: impl Fn(f32) -> bool) -> u32 {
    row.iter()
        .zip(out)
        .map(|(&x, out)| {
            let keep = keep(read(x));
            *out = if keep { x } else { f32::NEG_INFINITY };
            u32::from(keep)
        })
        .sum()
}

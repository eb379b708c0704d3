//! Log-sum-exp and raw log-probabilities.

use crate::isa::{Enabled, multiversion};
use crate::scan::peak_on;
use crate::top_k::{top_k, top_k_with_peak};
use crate::weight::{AS_INTEGER, exponent, power};
use draftwood_base::Token;

/// ln Σ exp(x) of a row `[V]`; −inf when every token is masked. Terms are f32 (within 2 ulp), summed as f32 by fours and
/// then as f64 in sixteen lanes with a fixed fold, so the value is the same on every instruction set. Cost: two passes.
pub fn log_sum_exp(row: &[f32]) -> f64 {
    log_sum_exp_on(Enabled::get(), row, &[])
}

pub(crate) fn log_sum_exp_on(enabled: Enabled, row: &[f32], next: &[f32]) -> f64 {
    after_peak(enabled, row, peak_on(enabled, row), next)
}

/// [`log_sum_exp`], and [`top_k`] in `top`, for who reads `next` after this row: it is fetched from memory while this row
/// is computed. `scratch` is room for V / 16 values. Cost: two passes; candidates are looked for in the first one.
pub fn log_sum_exp_and_top_k(
    row: &[f32],
    next: &[f32],
    k: usize,
    scratch: &mut Vec<f32>,
    top: &mut Vec<(Token, f32)>,
) -> f64 {
    let enabled = Enabled::get();
    let peak = top_k_with_peak(enabled, row, k, scratch, top);
    after_peak(enabled, row, peak, next)
}

fn after_peak(enabled: Enabled, row: &[f32], peak: Option<f32>, next: &[f32]) -> f64 {
    match peak {
        Some(max) if max > f32::NEG_INFINITY => f64::from(max) + ln(sum_exp_on(enabled, row, max, next)),
        _ => f64::NEG_INFINITY,
    }
}

/// Raw log-probabilities, before temperature and filters: returns that of `chosen` and fills `top` with the k largest,
/// descending, ties to the lower id. A masked token has −inf.
pub fn logprobs(row: &[f32], chosen: Token, k: usize, top: &mut Vec<(Token, f32)>) -> f32 {
    let lse = log_sum_exp(row);
    let logprob = |x: f32| if x == f32::NEG_INFINITY { x } else { (f64::from(x) - lse) as f32 };
    top_k(row, k, top);
    for (_, x) in top.iter_mut() {
        *x = logprob(*x);
    }
    row.get(chosen as usize).map_or(f32::NEG_INFINITY, |&x| logprob(x))
}

multiversion! {
    /// Σ exp(x − max).
    fn sum_exp_on(row: &[f32], max: f32, next: &[f32]) -> f64 = sum_exp_body;
}

const LANES: usize = 16;
/// Blocks whose terms are added as f32: at most three roundings, and a quarter of the conversions.
const TOGETHER: usize = 4;
/// Blocks between two requests for memory.
const PIECE: usize = 16;

#[inline(always)]
fn sum_exp_body(row: &[f32], max: f32, next: &[f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let mut ahead = next.chunks(PIECE * LANES);
    for piece in row.chunks(PIECE * LANES) {
        ahead.next().unwrap_or_default().chunks(LANES).for_each(|line| fetch(&line[0]));
        let (some, rest) = piece.as_chunks::<{ TOGETHER * LANES }>();
        for blocks in some {
            // Loops of their own: as one they would be compiled for eight lanes, the width of the sums.
            let mut terms = [0.0f32; TOGETHER * LANES];
            for i in 0..TOGETHER * LANES {
                terms[i] = exp_nonpositive(blocks[i] - max);
            }
            let mut four = [0.0f32; LANES];
            for lane in 0..LANES {
                let (a, b) =
                    (terms[lane] + terms[lane + LANES], terms[lane + 2 * LANES] + terms[lane + 3 * LANES]);
                four[lane] = a + b;
            }
            for lane in 0..LANES {
                sums[lane] += f64::from(four[lane]);
            }
        }
        for (i, &x) in rest.iter().enumerate() {
            sums[i % LANES] += f64::from(exp_nonpositive(x - max));
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// exp(d) for d ≤ 0, within 2 ulp of what counts beside exp(0) = 1: the exponent is rounded to f32. Below −87 it stays
/// 1.6e-38, which no sum with a 1 in it shows; NaN likewise.
#[inline(always)]
fn exp_nonpositive(d: f32) -> f32 {
    let safe = if d > -87.0 { d } else { -87.0 };
    let shifted = safe.mul_add(std::f32::consts::LOG2_E, AS_INTEGER);
    let n = shifted - AS_INTEGER;
    exponent(power(safe.mul_add(std::f32::consts::LOG2_E, -n)), shifted)
}

/// ln x for normal positive x, within 2 ulp. Written out because libraries differ in the last bit between machines.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits() as i64;
    let e = (bits - 0x3fe6_a09e_667f_3bcd) >> 52;
    let m = f64::from_bits((bits - (e << 52)) as u64);
    // m in [√½, √2): ln m = 2 artanh(s), s = (m − 1)/(m + 1), |s| ≤ 0.172.
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut p = 1.0 / 23.0;
    for odd in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        p = p * z + 1.0 / odd;
    }
    e as f64 * std::f64::consts::LN_2 + (2.0 * s + 2.0 * s * z * p)
}

/// Asks for the cache line of a value that is read soon.
#[inline(always)]
fn fetch(value: &f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a request reads nothing, and every x86-64 processor has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

//! Argmax of a row and the check that comes before every other use of it.

use crate::isa::{Enabled, multiversion};
use draftwood_base::Token;

/// What one pass over a row finds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scan {
    /// The largest value's id, the lowest of equals (−0 equals +0); 0 when nothing is above −inf.
    pub token: Token,
    /// The largest value; −inf says that every token is masked.
    pub value: f32,
    /// The first id that holds NaN or +inf; `token` and `value` then mean nothing.
    pub fault: Option<Token>,
}

impl Scan {
    /// Whether the row is sound, but holds nothing above −inf.
    pub fn all_masked(&self) -> bool {
        self.fault.is_none() && self.value == f32::NEG_INFINITY
    }
}

/// Argmax and soundness of a row `[V]`. Cost: one pass, and a second one up to the maximum.
pub fn scan(row: &[f32]) -> Scan {
    scan_on(Enabled::get(), row)
}

multiversion! {
    fn scan_on(row: &[f32]) -> Scan = scan_body;
}

multiversion! {
    /// The largest value, −inf when everything is masked; none if a value is NaN or +inf.
    fn peak_on(row: &[f32]) -> Option<f32> = peak_body;
}

multiversion! {
    /// As [`peak_on`]; in `peaks` the largest value of each group, see [`GROUPS`].
    fn peaks_on(row: &[f32], peaks: &mut Vec<f32>) -> Option<f32> = peaks_body;
}

/// A block of `BLOCK` values has so many groups: value i belongs to group i % `GROUPS`, so no maximum goes across lanes.
pub(crate) const GROUPS: usize = 16;
pub(crate) const BLOCK: usize = 256;

#[inline(always)]
fn peaks_body(row: &[f32], peaks: &mut Vec<f32>) -> Option<f32> {
    peaks.clear();
    let (mut best, mut sound) = ([f32::NEG_INFINITY; GROUPS], [true; LANES]);
    let (blocks, tail) = row.as_chunks::<BLOCK>();
    for block in blocks {
        let mut four = [f32::NEG_INFINITY; LANES];
        for part in block.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                let x = part[lane];
                four[lane] = if x > four[lane] { x } else { four[lane] };
                sound[lane] &= x < f32::INFINITY;
            }
        }
        let mut its = [f32::NEG_INFINITY; GROUPS];
        for part in four.as_chunks::<GROUPS>().0 {
            for lane in 0..GROUPS {
                its[lane] = if part[lane] > its[lane] { part[lane] } else { its[lane] };
            }
        }
        for lane in 0..GROUPS {
            best[lane] = if its[lane] > best[lane] { its[lane] } else { best[lane] };
        }
        peaks.extend_from_slice(&its);
    }
    let mut its = [f32::NEG_INFINITY; GROUPS];
    for (i, &x) in tail.iter().enumerate() {
        let lane = i % GROUPS;
        its[lane] = if x > its[lane] { x } else { its[lane] };
        best[lane] = if x > best[lane] { x } else { best[lane] };
        sound[lane] &= x < f32::INFINITY;
    }
    peaks.extend_from_slice(&its[..tail.len().min(GROUPS)]);
    let value = best.into_iter().fold(f32::NEG_INFINITY, |m, x| if x > m { x } else { m });
    (!sound.contains(&false)).then_some(value)
}

/// Enough independent maxima to hide the latency of a vector maximum.
const LANES: usize = 64;

#[inline(always)]
fn scan_body(row: &[f32]) -> Scan {
    match peak_body(row) {
        Some(value) => Scan { token: first_equal(row, value), value, fault: None },
        None => {
            let fault = row.iter().position(|&x| x.is_nan() || x == f32::INFINITY).map(|i| i as Token);
            Scan { token: 0, value: f32::NEG_INFINITY, fault }
        }
    }
}

#[inline(always)]
fn peak_body(row: &[f32]) -> Option<f32> {
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut sound = [true; LANES];
    let (blocks, tail) = row.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            let x = block[lane];
            best[lane] = if x > best[lane] { x } else { best[lane] };
            sound[lane] &= x < f32::INFINITY;
        }
    }
    for (lane, &x) in tail.iter().enumerate() {
        best[lane] = if x > best[lane] { x } else { best[lane] };
        sound[lane] &= x < f32::INFINITY;
    }
    let value = best.into_iter().fold(f32::NEG_INFINITY, |m, x| if x > m { x } else { m });
    (!sound.contains(&false)).then_some(value)
}

/// The first id with `value`; blocks are tested whole, because a search that may stop at each element is not a vector loop.
#[inline(always)]
fn first_equal(row: &[f32], value: f32) -> Token {
    let (blocks, tail) = row.as_chunks::<LANES>();
    for (b, block) in blocks.iter().enumerate() {
        if block.iter().fold(false, |hit, &x| hit | (x == value)) {
            return (b * LANES + block.iter().position(|&x| x == value).unwrap_or(0)) as Token;
        }
    }
    tail.iter().position(|&x| x == value).map_or(0, |i| (blocks.len() * LANES + i) as Token)
}

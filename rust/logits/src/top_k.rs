//! The k largest values of a row, without sorting the row.

use crate::isa::{Enabled, multiversion};
use crate::scan::{BLOCK, GROUPS, peaks_on};
use draftwood_base::Token;
use std::cmp::Ordering;

/// Larger value first, of equals (−0 equals +0) the lower id.
#[inline(always)]
fn better(a: &(Token, f32), b: &(Token, f32)) -> Ordering {
    b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0))
}

/// Fills `out` with the min(k, V) largest of a row `[V]`, descending, ties to the lower id; masked tokens come last,
/// as −inf. Cost: one pass that compares against the k-th best so far, O(k log k) at the end; no memory but `out`.
pub fn top_k(row: &[f32], k: usize, out: &mut Vec<(Token, f32)>) {
    select_on(Enabled::get(), row, k, out);
    out.sort_unstable_by(better);
}

/// The largest value of every sixteen of a row, for who asks for its best more than once: the row is read whole one time.
#[derive(Debug, Clone, Default)]
pub struct Peaks(Vec<f32>);

impl Peaks {
    /// Those of a row `[V]`; room for V / 16 values. Cost: one pass.
    pub fn read(&mut self, row: &[f32]) {
        peaks_on(Enabled::get(), row, &mut self.0);
    }

    /// [`top_k`] of the row that was read. The k-th of the peaks is at most the k-th of all, so only where one is as large
    /// the sixteen are looked at. Cost: V / 16 comparisons and about k sixteens.
    pub fn top_k(&self, row: &[f32], k: usize, out: &mut Vec<(Token, f32)>) {
        top_k_by_peaks(Enabled::get(), row, &self.0, k, out);
    }
}

/// [`top_k`], and the largest value as [`crate::scan`] finds it: none if a value is NaN or +inf. One pass over the row
/// keeps the largest value of every sixteen in `scratch`, see [`Peaks`].
pub(crate) fn top_k_with_peak(
    enabled: Enabled,
    row: &[f32],
    k: usize,
    scratch: &mut Vec<f32>,
    out: &mut Vec<(Token, f32)>,
) -> Option<f32> {
    let peak = peaks_on(enabled, row, scratch);
    top_k_by_peaks(enabled, row, scratch, k, out);
    peak
}

fn top_k_by_peaks(enabled: Enabled, row: &[f32], peaks: &[f32], k: usize, out: &mut Vec<(Token, f32)>) {
    select_on(enabled, peaks, k, out);
    let bar = out.iter().fold(f32::INFINITY, |bar, &(_, x)| bar.min(x));
    if k == 0 || out.len() < k || bar == f32::NEG_INFINITY {
        return top_k(row, k, out);
    }
    gather_on(enabled, row, peaks, bar, out);
    if out.len() > k {
        shrink(out, k);
    }
    out.sort_unstable_by(better);
}

multiversion! {
    /// All values of at least `bar`, by the peaks of their groups.
    fn gather_on(row: &[f32], peaks: &[f32], bar: f32, out: &mut Vec<(Token, f32)>) -> () = gather_body;
}

#[inline(always)]
fn gather_body(row: &[f32], peaks: &[f32], bar: f32, out: &mut Vec<(Token, f32)>) {
    out.clear();
    for (block, groups) in peaks.chunks(GROUPS).enumerate() {
        let mut any = false;
        for &peak in groups {
            any |= peak >= bar;
        }
        if !any {
            continue;
        }
        for lane in (0..groups.len()).filter(|&lane| groups[lane] >= bar) {
            let end = row.len().min((block + 1) * BLOCK);
            let ids = (block * BLOCK + lane..end).step_by(GROUPS);
            out.extend(ids.filter(|&id| row[id] >= bar).map(|id| (id as Token, row[id])));
        }
    }
}

multiversion! {
    /// [`top_k`] in any order.
    fn select_on(row: &[f32], k: usize, out: &mut Vec<(Token, f32)>) -> () = select_body;
}

const LANES: usize = 64;
const PART: usize = 16;

#[inline(always)]
fn select_body(row: &[f32], k: usize, out: &mut Vec<(Token, f32)>) {
    out.clear();
    if k == 0 {
        return;
    }
    // Candidates gather in `out`; when it is full all but the k best go, and the k-th becomes the bar. Little room at
    // first, so that the bar is soon high: what passes it is looked at one by one.
    let room = k + k.max(32);
    let mut bar = None;
    for (b, block) in row.chunks(LANES).enumerate() {
        // Ids rise, so a later equal of the bar is worse than it.
        if !passes(block, bar) {
            continue;
        }
        for (p, part) in block.chunks(PART).enumerate() {
            if !passes(part, bar) {
                continue;
            }
            for (i, &x) in part.iter().enumerate() {
                if bar.is_none_or(|bar| x > bar) {
                    let x = if x.is_nan() { f32::NEG_INFINITY } else { x };
                    out.push(((b * LANES + p * PART + i) as Token, x));
                }
            }
        }
        if out.len() >= room {
            bar = Some(shrink(out, k));
        }
    }
    if out.len() > k {
        shrink(out, k);
    }
}

/// Whether a value is above the bar.
#[inline(always)]
fn passes(some: &[f32], bar: Option<f32>) -> bool {
    let Some(bar) = bar else { return true };
    let mut any = false;
    for &x in some {
        any |= x > bar;
    }
    any
}

/// Keeps the k best, returns the k-th value.
fn shrink(out: &mut Vec<(Token, f32)>, k: usize) -> f32 {
    let kth = out.select_nth_unstable_by(k - 1, better).1.1;
    out.truncate(k);
    kth
}

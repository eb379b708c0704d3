//! The k largest values of a row, without sorting the row.

use crate::isa::{Enabled, multiversion};
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

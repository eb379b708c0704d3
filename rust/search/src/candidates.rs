//! The best continuations of one row, without sorting it.

use draftwood_base::Token;
use draftwood_logits::{LogRow, top_k};
use std::cmp::Ordering;
use std::cmp::Reverse;

/// One possible continuation of a beam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    /// The row of its beam.
    pub row: u32,
    pub token: Token,
    /// Log-probability of the token.
    pub step: f32,
    /// The beam's sum with the token's share added; what the selection adds up.
    pub score: f32,
    /// The sum of log-probabilities alone; with penalties `score` is lower.
    pub raw: f32,
    /// What the selection compares: `score`, with noise added when candidates are drawn.
    pub rank: f32,
    /// Whether the token ends the text.
    pub ends: bool,
    /// The stop string that the token completes.
    pub stop: Option<u32>,
    /// Whether the text may count as finished: nothing is missing that must occur.
    pub complete: bool,
    /// Its progress towards what must occur.
    pub class: u32,
}

/// Higher rank first, of equals the lower row · V + token.
pub(crate) fn better(a: &Candidate, b: &Candidate) -> Ordering {
    b.rank.partial_cmp(&a.rank).unwrap_or(Ordering::Equal).then((a.row, a.token).cmp(&(b.row, b.token)))
}

/// Tests looked at beyond the needed ones at first, and the factor by which a search that falls short widens.
const SLACK: usize = 4;
const WIDEN: usize = 4;

/// How many tokens of a row are looked at first, where `need` are needed.
pub(crate) fn first_look(need: usize) -> usize {
    if need == 0 { 0 } else { need + SLACK }
}

/// Calls `push(token, value)` for at least the `need` best tokens that `allows` admits (all of them, if there are
/// fewer), where best is by `score(value)`, then by lower token. `score` must not fall as the value rises; it may map
/// several values to one score, so the search goes on until the last value seen scores below the last needed one.
/// `seen` is empty or [`top_k`] of the row, found before with any k.
///
/// Cost: one pass over the row, and one more for each widening by 4.
pub(crate) fn best_tokens(
    values: &[f32],
    need: usize,
    score: impl Fn(f32) -> f32,
    mut allows: impl FnMut(Token) -> bool,
    seen: &mut Vec<(Token, f32)>,
    mut push: impl FnMut(Token, f32),
) {
    if need == 0 {
        return;
    }
    let (mut look_at, mut tested, mut found) = (first_look(need), 0, 0);
    let mut last_needed = f32::INFINITY;
    loop {
        if seen.len() < look_at.min(values.len()) {
            top_k(values, look_at, seen);
        }
        let masked = seen.last().is_some_and(|&(_, value)| value == f32::NEG_INFINITY);
        for &(token, value) in &seen[tested.min(seen.len())..] {
            if value == f32::NEG_INFINITY {
                break;
            }
            if allows(token) {
                push(token, value);
                found += 1;
                if found == need {
                    last_needed = score(value);
                }
            }
        }
        tested = seen.len();
        if masked || seen.len() == values.len() {
            return;
        }
        // Unseen values are at most the last one; an equal one has a higher token than every seen equal.
        if found >= need && seen.last().is_some_and(|&(_, value)| score(value) < last_needed) {
            return;
        }
        look_at *= WIDEN;
    }
}

/// Orders candidates, best first, so that the slots of a step go round over the classes of progress, most progress first:
/// the best of each class, then the second of each.
///
/// Source: the banks of Post and Vilar (2018), arXiv 1804.06609, in transformers' round-robin form.
pub(crate) fn deal(candidates: &mut [Candidate], turns: &mut Vec<(u32, Candidate)>) {
    if candidates.windows(2).all(|pair| pair[0].class == pair[1].class) {
        return;
    }
    candidates.sort_by_key(|candidate| Reverse(candidate.class));
    turns.clear();
    for chunk in candidates.chunk_by(|a, b| a.class == b.class) {
        turns.extend(chunk.iter().enumerate().map(|(turn, &candidate)| (turn as u32, candidate)));
    }
    turns.sort_by_key(|&(turn, candidate)| (turn, Reverse(candidate.class)));
    for (place, &(_, candidate)) in candidates.iter_mut().zip(turns.iter()) {
        *place = candidate;
    }
}

/// Keeps the `need` best in any order.
pub(crate) fn keep_best(candidates: &mut Vec<Candidate>, from: usize, need: usize) {
    if candidates.len() - from > need {
        candidates[from..].select_nth_unstable_by(need, better);
        candidates.truncate(from + need);
    }
}

impl Candidate {
    /// A candidate of plain search: the token's log-probability added to the beam's sum.
    pub fn plain(row: u32, token: Token, step: f32, sum: f32, ends: bool) -> Self {
        let score = sum + step;
        Self { row, token, step, score, raw: score, rank: score, ends, stop: None, complete: true, class: 0 }
    }
}

/// [`best_tokens`] of a row as plain candidates.
pub(crate) fn plain_candidates(
    row: &LogRow<'_>,
    index: u32,
    sum: f32,
    need: usize,
    allows: impl FnMut(Token) -> bool,
    seen: &mut Vec<(Token, f32)>,
    out: &mut Vec<Candidate>,
) {
    let from = out.len();
    best_tokens(
        row.values,
        need,
        |value| sum + row.of_value(value),
        allows,
        seen,
        |token, value| out.push(Candidate::plain(index, token, row.of_value(value), sum, false)),
    );
    keep_best(out, from, need);
}

#[cfg(test)]
mod tests {
    use super::*;
    use draftwood_logits::log_sum_exp;
    use proptest::prelude::*;

    fn check(values: &[f32], sum: f32, need: usize, banned: Token) {
        let row = LogRow { values, lse: log_sum_exp(values) };
        let mut want: Vec<Candidate> = (0..values.len() as Token)
            .filter(|&t| values[t as usize] > f32::NEG_INFINITY && t % 7 != banned)
            .map(|t| Candidate::plain(3, t, row.of(t), sum, false))
            .collect();
        want.sort_by(better);
        want.truncate(need);
        let mut got = Vec::new();
        plain_candidates(&row, 3, sum, need, |t| t % 7 != banned, &mut Vec::new(), &mut got);
        got.sort_by(better);
        assert_eq!(got, want);
    }

    proptest! {
        #[test]
        fn equals_sorting_the_row(
            values in prop::collection::vec(prop_oneof![4 => -20f32..20.0, 1 => Just(f32::NEG_INFINITY), 1 => Just(1.5f32)], 1..600),
            sum in -400f32..0.0, need in 1usize..70, banned in 0u32..8,
        ) {
            check(&values, sum, need, banned);
        }

        /// Values that differ while their scores are equal: the lower token wins, though its value is smaller.
        #[test]
        fn equals_sorting_the_row_where_sums_round_values_together(
            steps in prop::collection::vec(0u32..6, 1..600), sum in prop_oneof![Just(-3e7f32), Just(-100f32)], need in 1usize..40,
        ) {
            let values: Vec<f32> = steps.iter().map(|&s| f32::from_bits(1f32.to_bits() + s)).collect();
            check(&values, sum, need, 9);
        }
    }
}

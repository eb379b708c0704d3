//! Vector loops over logit rows: argmax, log-sum-exp, top-k without sorting, masks, exact filters, Gumbel-max.
//!
//! Every loop is one plain body over fixed lanes, compiled for each instruction set and chosen at run time
//! ([`isa`]). All versions give the same bits: comparisons and integer sums do not depend on order, float sums run in
//! sixteen fixed lanes with a fixed fold, and every product-and-sum is a fused `mul_add`.
//!
//! A row `[V]` holds finite values and −inf (= masked). [`scan`] finds everything else; the other functions are safe
//! on such rows (NaN counts as −inf) but their answer then has no meaning.

// A loop over lanes that reads and writes several arrays is what the vectoriser recognises.
#![allow(clippy::needless_range_loop)]

mod filter;
mod gumbel;
mod isa;
mod log_row;
mod lse;
mod mask;
mod result;
mod rules;
mod scan;
#[cfg(test)]
mod tests;
mod top_k;
mod weight;

pub use filter::{keep, top_k_threshold, top_p_threshold};
pub use gumbel::{GUMBEL_MAX, gumbel_argmax, gumbel_argmax_ref};
pub use isa::{Isa, isa, isa_checked};
pub use log_row::{LogRow, unsound};
pub use lse::{log_sum_exp, log_sum_exp_and_top_k, logprobs};
pub use mask::{count_unmasked, mask};
pub use result::{RowResult, Selector};
pub use rules::{
    AnyProcessor, BlockSequences, MinLength, NoRepeatNgrams, OnlyTokens, Phrase, Phrases, Placed,
    PlacedTokens, Processor, RepetitionPenalty, States, TokenSet, Trie, keep_only,
};
pub use scan::{Scan, scan};
pub use top_k::{Peaks, top_k};
pub use weight::{Weights, portion};

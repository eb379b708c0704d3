//! What crosses from `plan` to the executors and back.

use draftwood_base::{SequenceId, Token};

/// The rows of one step, borrowed from the plan. A row is one token at one position; `row_offsets` cuts the rows into
/// sequences, whose first `chain[s]` rows are tokens that are not cached yet (the last of them is the root of the
/// tree) and whose remaining rows are drafted nodes.
#[derive(Debug, Clone, Copy)]
pub struct StepRows<'a> {
    /// [R] token of each row.
    pub tokens: &'a [i32],
    /// [R] logical position of each row.
    pub positions: &'a [i32],
    /// [R] row of the parent; −1 when the parent is already cached or there is none.
    pub parents: &'a [i32],
    /// [R] cache slot that the row's keys and values are stored to.
    pub slots: &'a [i32],
    /// [S + 1] first row of each sequence.
    pub row_offsets: &'a [i32],
    /// [S] rows of the known chain, at least 1.
    pub chain: &'a [i32],
    /// [S] rows in the cache before this step.
    pub context: &'a [i32],
    /// [S + 1] first page of each sequence in `pages`.
    pub page_offsets: &'a [i32],
    /// Pages of each sequence in logical order, the reserved ones included: row `j` of sequence `s` has the logical
    /// index `context[s] + j`.
    pub pages: &'a [i32],
    /// [R · mask_words] bit `j` of a drafted row or a root: node `j` of its tree is an ancestor or the row itself.
    /// Rows of the chain before the root have no bits: they see the context and the chain up to themselves.
    pub masks: &'a [i32],
    /// Words per row of `masks`.
    pub mask_words: usize,
    /// [R'] rows whose logits are read, ascending.
    pub head_rows: &'a [i32],
}

/// A path that goes on: the new tail of a sequence is the path from the root to `leaf`, then `next_token`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Survivor {
    /// The sequence whose tree holds the path.
    pub source: SequenceId,
    /// The last accepted node; 0 accepts the root alone.
    pub leaf: u32,
    /// The token that the row of `leaf` chose; the root of the next tree.
    pub next_token: Token,
    /// Accumulated score, meaningful for beams.
    pub score: f32,
}

/// A hypothesis that ended: the path to `leaf`, then the token that ended it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finished {
    /// The sequence whose tree holds the path.
    pub source: SequenceId,
    /// The last accepted node.
    pub leaf: u32,
    /// The token that ended the text.
    pub stop_token: Token,
    /// Accumulated score, meaningful for beams.
    pub score: f32,
}

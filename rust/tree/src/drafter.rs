//! The trait behind every drafter that runs in Rust.

use crate::{Forest, TextRef};
use draftwood_base::{Result, SequenceId, Token};

/// What a drafter sees of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The sequence; a drafter may keep state under this id until `close`.
    pub sequence: SequenceId,
    /// Prompt and output so far. The last token is the root of the tree to come. What a drafter has read of it need not
    /// be read again: [`TextRef::goes_on_from`].
    pub tokens: TextRef<'a>,
    /// What an encoder read, if the model has one: a text of its own that comes before `tokens` and never changes.
    pub source: &'a [Token],
    /// Most nodes of the tree, the root included; 1 asks for no draft.
    pub budget: u32,
    /// Most levels below the root: what the context and the token limit leave.
    pub max_depth: u32,
    /// Texts of other salts must not become known through this one's draft; 0 without.
    pub salt: u64,
}

/// Proposes continuations. A wrong proposal costs time, never correctness: verification keeps only what the model
/// itself would have said.
pub trait Drafter: Send {
    /// Fills `forest` (cleared by the caller) with exactly one closed tree per view, in order; a tree without a
    /// proposal is its root alone.
    ///
    /// # Errors
    /// What the drafter reports ends the sequences of this step, not the session.
    fn propose_batch(&mut self, views: &[View<'_>], forest: &mut Forest) -> Result<()>;

    /// The sequence has ended; state kept for it may go.
    fn close(&mut self, _sequence: SequenceId) {}
}

//! What a session must know about its model and its cache.

use crate::DraftPolicy;
use draftwood_base::{Error, Result, Token};
use draftwood_text::TokenBytes;
use draftwood_tree::words_for;
use std::sync::Arc;

/// Fixed for the life of a [`crate::Session`].
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Columns of the logits.
    pub vocab: u32,
    /// Most tokens of a text, prompt included.
    pub max_context: u32,
    /// Tokens per cache page.
    pub page_size: u32,
    /// Pages of the pool, the scratch page 0 included.
    pub pages: u32,
    /// Most rows of one forward over all sequences; prompts are fed in chunks of what is left.
    pub max_step_rows: u32,
    /// Most nodes of one draft tree, the root included.
    pub tree_budget: u32,
    /// Which drafts are forwarded.
    pub draft_policy: DraftPolicy,
    /// Tokens that end a text.
    pub end_tokens: Vec<Token>,
    /// Bytes of every token; without it there is no text, and no logit is masked.
    pub token_bytes: Option<Arc<TokenBytes>>,
}

impl SessionConfig {
    /// int32 values that hold the arrays of any step, see [`crate::StepPlan`].
    pub fn plan_capacity(&self) -> usize {
        let rows = self.max_step_rows as usize;
        let pages = ((self.max_context + self.tree_budget).div_ceil(self.page_size)) as usize;
        let words = words_for(self.tree_budget as usize);
        // tokens, positions, parents, slots, read rows; masks; offsets, chain, context, requests; pages; copies.
        5 * rows + words * rows + 5 * rows + 2 + pages * rows + 2 * rows * self.page_size as usize
    }

    /// # Errors
    /// [`Error::InvalidArgument`] for a size of 0 or an end token outside the vocabulary.
    pub(crate) fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocab", self.vocab, 1),
            ("max_context", self.max_context, 2),
            ("page_size", self.page_size, 1),
            ("pages", self.pages, 2),
            ("tree_budget", self.tree_budget, 1),
            ("max_step_rows", self.max_step_rows, self.tree_budget),
        ];
        for (what, got, least) in sizes {
            if got < least || got > i32::MAX as u32 {
                return Err(Error::invalid(what, format!("{least} … {}", i32::MAX), got, ""));
            }
        }
        match self.end_tokens.iter().find(|&&token| token >= self.vocab) {
            Some(token) => Err(Error::invalid(
                "an end token",
                format!("below the vocabulary size {}", self.vocab),
                token,
                "",
            )),
            None => Ok(()),
        }
    }
}

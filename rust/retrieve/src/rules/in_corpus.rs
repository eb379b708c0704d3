//! Texts that say only what a corpus says.

use super::place::{Lookup, Place};
use crate::constrain::SCANNED_ROWS;
use crate::index::Group;
use draftwood_base::{Error, Token};
use draftwood_logits::{Processor, keep_only};
use std::sync::Arc;

/// What is generated is an n-gram of the corpus, at the start of a document if anchored; the prompt does not count. Where
/// the n-gram ends a document the text may end, but not before its first token.
///
/// The state is the n-gram's rows, so that a token is tested, and a text extended, by one step of the index whatever was
/// said before: the step of [`crate::Constrained`] within the searches that know rules. Of rare n-grams the followers are
/// listed, and of those whose tests were in vain.
///
/// Source: Bevilacqua et al., "Autoregressive search engines" (2022), arXiv 2204.10628.
pub struct InCorpus {
    lookup: Lookup,
    /// Of all texts, so that its followers are listed once.
    start: Arc<Place>,
    scanned_rows: u64,
}

/// What the rule remembers of a text: where the corpus has it.
#[derive(Clone)]
pub struct Said(Arc<Place>);

impl InCorpus {
    /// A rule over all documents of `group`.
    pub fn new(group: Arc<Group>, anchored: bool) -> Self {
        let lookup = Lookup::new(group);
        let start = lookup.find(&[], anchored);
        Self { lookup, start, scanned_rows: SCANNED_ROWS }
    }

    /// With another limit than [`SCANNED_ROWS`]; it changes the time, not the answer.
    pub fn with_scanned_rows(self, scanned_rows: u64) -> Self {
        Self { scanned_rows, ..self }
    }
}

impl Processor for InCorpus {
    type State = Said;

    fn init(&self, _: &[Token]) -> Said {
        Said(Arc::clone(&self.start))
    }

    fn advance(&self, state: &mut Said, token: Token) {
        state.0 = self.lookup.extend(&state.0, token);
    }

    fn apply(&self, state: &Said, row: &mut [f32]) {
        keep_only(row, self.lookup.followers(&state.0));
    }

    fn allows(&self, state: &Said, token: Token) -> Option<bool> {
        Some(self.lookup.test(&state.0, token, true))
    }

    fn candidates(&self, state: &Said, out: &mut Vec<Token>) -> bool {
        let few = state.0.count() <= self.scanned_rows;
        if few {
            out.extend_from_slice(self.lookup.followers(&state.0));
        }
        few
    }

    fn child(&self, state: &Said, token: Token) -> Option<Said> {
        let child = self.lookup.extend(&state.0, token);
        (child.count() > 0).then_some(Said(child))
    }

    fn ends(&self, state: &Said) -> bool {
        // Nothing has been said where as many tokens follow as there are occurrences: a text has at least one token.
        !Arc::ptr_eq(&state.0, &self.start) && self.lookup.ends(&state.0)
    }

    fn tests(&self, _: &Said) -> bool {
        true
    }

    fn failure(&self) -> Option<Error> {
        self.lookup.failure()
    }
}

//! Texts that quote nothing of a corpus.

use super::place::{Lookup, Place};
use crate::index::Group;
use draftwood_base::{Error, Result, Token};
use draftwood_logits::{Processor, mask};
use std::sync::Arc;

/// No n-gram of the corpus is ever completed, also not one that begins in the prompt.
///
/// Cost: a text that grows is looked up anew, n − 1 steps of the index or fewer if it leaves the corpus before.
///
/// Source: Ippolito et al., "Preventing verbatim memorization …" (2022), arXiv 2210.17546 (MemFree decoding).
pub struct BlockCorpus {
    lookup: Lookup,
    /// Tokens before the one that completes an n-gram.
    reach: usize,
    /// Where unigrams are looked up.
    start: Arc<Place>,
}

/// The end of a text, and where the corpus has it if it is long enough.
#[derive(Clone)]
pub struct Recent {
    past: Vec<Token>,
    place: Option<Arc<Place>>,
}

impl BlockCorpus {
    /// Forbids the n-grams of `group` with `n` tokens.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for n = 0.
    pub fn new(group: Arc<Group>, n: u32) -> Result<Self> {
        let Some(reach) = n.checked_sub(1) else {
            return Err(Error::invalid("n", "at least 1", n, ""));
        };
        let lookup = Lookup::new(group);
        let start = lookup.find(&[], false);
        Ok(Self { lookup, reach: reach as usize, start })
    }

    fn place(&self, past: &[Token]) -> Option<Arc<Place>> {
        match self.reach {
            0 => Some(Arc::clone(&self.start)),
            reach => (past.len() == reach).then(|| self.lookup.find(past, false)),
        }
    }
}

impl Processor for BlockCorpus {
    type State = Recent;

    fn init(&self, ids: &[Token]) -> Recent {
        let past = ids[ids.len().saturating_sub(self.reach)..].to_vec();
        Recent { place: self.place(&past), past }
    }

    fn advance(&self, state: &mut Recent, token: Token) {
        if self.reach == 0 {
            return;
        }
        if state.past.len() == self.reach {
            state.past.remove(0);
        }
        state.past.push(token);
        state.place = self.place(&state.past);
    }

    fn apply(&self, state: &Recent, row: &mut [f32]) {
        if let Some(place) = &state.place {
            mask(row, self.lookup.followers(place));
        }
    }

    fn allows(&self, state: &Recent, token: Token) -> Option<bool> {
        Some(state.place.as_ref().is_none_or(|place| self.lookup.test(place, token, false)))
    }

    fn tests(&self, _: &Recent) -> bool {
        true
    }

    fn failure(&self) -> Option<Error> {
        self.lookup.failure()
    }
}

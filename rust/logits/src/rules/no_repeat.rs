//! No n-gram twice.

use super::Processor;
use draftwood_base::{Error, Result, Token};
use std::sync::Arc;

/// Forbids every token that would complete an n-gram which the text, prompt included, already contains.
///
/// Cost: one pass over the text per beam and step.
///
/// Source: Paulus, Xiong, Socher, "A deep reinforced model for abstractive summarization" (2017), arXiv 1705.04304.
#[derive(Debug, Clone, Copy)]
pub struct NoRepeatNgrams {
    size: usize,
}

impl NoRepeatNgrams {
    /// # Errors
    /// [`Error::InvalidArgument`] for size 0.
    pub fn new(size: u32) -> Result<Self> {
        match size {
            0 => Err(Error::invalid("the n-gram size", "at least 1", 0, "leave the processor out")),
            _ => Ok(Self { size: size as usize }),
        }
    }

    fn forbidden(&self, text: &[Token]) -> Arc<[Token]> {
        if text.len() < self.size {
            return Arc::default();
        }
        let tail = &text[text.len() + 1 - self.size..];
        let mut found: Vec<Token> = text
            .windows(self.size)
            .filter(|ngram| ngram.starts_with(tail))
            .map(|ngram| ngram[self.size - 1])
            .collect();
        found.sort_unstable();
        found.dedup();
        found.into()
    }
}

/// A text, and what may not follow it.
#[derive(Debug, Clone)]
pub struct Ngrams {
    text: Vec<Token>,
    forbidden: Arc<[Token]>,
}

impl Processor for NoRepeatNgrams {
    type State = Ngrams;

    fn init(&self, ids: &[Token]) -> Ngrams {
        Ngrams { text: ids.to_vec(), forbidden: self.forbidden(ids) }
    }

    fn advance(&self, state: &mut Ngrams, token: Token) {
        state.text.push(token);
        state.forbidden = self.forbidden(&state.text);
    }

    fn apply(&self, state: &Ngrams, row: &mut [f32]) {
        crate::mask(row, &state.forbidden);
    }

    fn allows(&self, state: &Ngrams, token: Token) -> Option<bool> {
        Some(state.forbidden.binary_search(&token).is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn what_is_allowed_makes_no_ngram_twice(text in prop::collection::vec(0u32..4, 0..40), size in 1u32..5) {
            let rule = NoRepeatNgrams::new(size).unwrap();
            let mut state = rule.init(&text[..text.len() / 2]);
            for &token in &text[text.len() / 2..] {
                rule.advance(&mut state, token);
            }
            let n = size as usize;
            let old: HashSet<&[Token]> = text.windows(n).collect();
            let mut row = [0.0; 4];
            rule.apply(&state, &mut row);
            for token in 0..4u32 {
                let longer = [&text[..], &[token]].concat();
                let repeats = longer.len() >= n && old.contains(&longer[longer.len() - n..]);
                prop_assert_eq!(rule.allows(&state, token), Some(!repeats));
                prop_assert_eq!(row[token as usize] == f32::NEG_INFINITY, repeats);
            }
        }
    }

    #[test]
    fn size_zero_is_refused() {
        assert!(NoRepeatNgrams::new(0).is_err());
    }
}

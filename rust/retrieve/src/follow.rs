//! Texts that grow: what was read of one, and whether it goes on from there.

use crate::ppm::{Context, Contexts, Rates};
use draftwood_base::Token;
use draftwood_tree::View;

/// Contexts that grow with their text.
pub(crate) trait Growing: Contexts {
    /// The longest context that ends the text.
    fn tail(&self) -> Option<Context>;

    /// Adds the text's next token.
    fn append(&mut self, token: Token);
}

/// What was read of a sequence, its source first, and what followed the contexts in it.
#[derive(Clone)]
pub(crate) struct Text<C> {
    source: Vec<Token>,
    pub seen: Vec<Token>,
    pub contexts: C,
    pub rates: Rates,
}

impl<C: Growing> Text<C> {
    pub fn new(contexts: C) -> Self {
        Self { source: Vec::new(), seen: Vec::new(), contexts, rates: Rates::default() }
    }

    /// Reads what is new; a text that does not go on from what was read, from its start and into `empty` contexts.
    pub fn follow(&mut self, view: &View<'_>, empty: impl FnOnce() -> C) {
        if !goes_on(&self.seen, view.tokens) || self.source != view.source {
            *self = Self::new(empty());
            self.source.extend_from_slice(view.source);
            view.source.iter().for_each(|&token| self.append(token));
        }
        let known = self.seen.len();
        view.tokens[known..].iter().for_each(|&token| self.append(token));
        self.seen.extend_from_slice(&view.tokens[known..]);
    }

    fn append(&mut self, token: Token) {
        self.rates.learn(&self.contexts, self.contexts.tail(), token);
        self.contexts.append(token);
    }
}

/// Whether `tokens` begins with `seen`: another text under the same number must not get this one's drafts, wherever it
/// differs. One comparison of all tokens: 8 µs at 32,768 of them.
pub(crate) fn goes_on(seen: &[Token], tokens: &[Token]) -> bool {
    tokens.starts_with(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_are_told_apart() {
        let text: Vec<Token> = (0..10_000).collect();
        for seen in [0, 1, 5000, 10_000] {
            assert!(goes_on(&text[..seen], &text));
        }
        assert!(!goes_on(&text, &text[..9999]));
        for (seen, changed) in [(1, 0), (256, 0), (10_000, 0), (10_000, 9999), (10_000, 9744)] {
            let mut other = text.clone();
            other[changed] += 1;
            assert!(!goes_on(&text[..seen], &other), "{seen} {changed}");
        }
    }
}

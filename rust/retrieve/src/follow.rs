//! Texts that grow: what was read of one, and whether it goes on from there.

use crate::ppm::{Context, Contexts, Rates};
use draftwood_base::Token;
use draftwood_tree::{TextMark, TextRef, View};

/// Contexts that grow with their text.
pub(crate) trait Growing: Contexts {
    /// The longest context that ends the text.
    fn tail(&self) -> Option<Context>;

    /// Adds the text's next token, which followed none of the `without` longest contexts yet, from [`Growing::tail`] on.
    fn append(&mut self, token: Token, without: usize);
}

/// What was read of a text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// How many tokens came before those that are kept, and a hash of them.
    before: usize,
    hash: u64,
    tokens: Vec<Token>,
    mark: TextMark,
}

/// What was read of a sequence, its source first, and what followed the contexts in it.
#[derive(Clone)]
pub(crate) struct Text<C> {
    source: Vec<Token>,
    pub seen: Seen,
    pub contexts: C,
    pub rates: Rates,
}

impl Seen {
    /// Whether `text` begins with what was read: another text under the same number must not get this one's drafts,
    /// wherever it differs. By its number if that says so, else by comparing all tokens: 1.5 µs at 32,768 of them.
    #[inline]
    pub fn begins(&self, text: TextRef<'_>) -> bool {
        text.goes_on_from(self.mark) || self.has_tokens_of(&text)
    }

    fn has_tokens_of(&self, text: &[Token]) -> bool {
        let kept = text.get(self.before..).is_some_and(|rest| rest.starts_with(&self.tokens));
        kept && (self.before == 0 || hash(0, &text[..self.before]) == self.hash)
    }

    /// Number of tokens that were read.
    #[inline]
    pub fn len(&self) -> usize {
        self.before + self.tokens.len()
    }

    /// Keeps at most twice `most` tokens, the last ones; others are told apart by their hash from now on. Two texts of
    /// one hash may then get each other's drafts, which costs a step and changes no text.
    #[inline]
    pub fn keep_last(&mut self, most: usize) {
        if self.tokens.len() > 2 * most {
            self.forget(self.tokens.len() - most);
        }
    }

    #[cold]
    fn forget(&mut self, count: usize) {
        let (gone, kept) = self.tokens.split_at(count);
        self.hash = hash(self.hash, gone);
        self.before += count;
        self.tokens = kept.to_vec();
    }

    /// The tokens that are kept: all of them unless [`Seen::keep_last`] was asked.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// `text`, which begins with what was read, has been read.
    #[inline]
    pub fn read(&mut self, text: TextRef<'_>) {
        self.tokens.extend_from_slice(&text[self.len()..]);
        self.mark = text.mark();
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.tokens.capacity() * size_of::<Token>()
    }
}

impl<C: Growing> Text<C> {
    pub fn new(contexts: C) -> Self {
        Self { source: Vec::new(), seen: Seen::default(), contexts, rates: Rates::default() }
    }

    /// Reads what is new; a text that does not go on from what was read, from its start and into `empty` contexts.
    pub fn follow(&mut self, view: &View<'_>, empty: impl FnOnce() -> C) {
        if !self.seen.begins(view.tokens) || !are_equal(&self.source, view.source) {
            *self = Self::new(empty());
            self.source.extend_from_slice(view.source);
            view.source.iter().for_each(|&token| self.append(token));
        }
        view.tokens[self.seen.len()..].iter().for_each(|&token| self.append(token));
        self.seen.read(view.tokens);
    }

    fn append(&mut self, token: Token) {
        let without = self.rates.learn(&self.contexts, self.contexts.tail(), token);
        self.contexts.append(token, without);
    }
}

/// Of `tokens` behind those with the hash `before`.
fn hash(before: u64, tokens: &[Token]) -> u64 {
    let add = |hash: u64, &token: &Token| {
        (hash.rotate_left(5) ^ (u64::from(token) + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    };
    tokens.iter().fold(before, add)
}

/// Comparing no bytes costs 130 ns where memcmp loads them under an empty mask: the address of an empty slice is not
/// mapped, and the processor handles the fault before it sees that nothing was wanted.
#[inline]
fn are_equal(a: &[Token], b: &[Token]) -> bool {
    a.len() == b.len() && (a.is_empty() || a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use draftwood_tree::GrowingText;

    fn seen_of(tokens: &[Token]) -> Seen {
        let mut seen = Seen::default();
        seen.read(tokens.into());
        seen
    }

    #[test]
    fn texts_that_differ_are_told_apart() {
        let text: Vec<Token> = (0..10_000).collect();
        for seen in [0, 1, 5000, 10_000] {
            assert!(seen_of(&text[..seen]).begins((&text).into()));
        }
        assert!(!seen_of(&text).begins(text[..9999].into()));
        for (seen, changed) in [(1, 0), (256, 0), (10_000, 0), (10_000, 9999), (10_000, 9744)] {
            let mut other = text.clone();
            other[changed] += 1;
            assert!(!seen_of(&text[..seen]).begins((&other).into()), "{seen} {changed}");
        }
    }

    #[test]
    fn tokens_that_are_not_kept_are_told_apart_too() {
        let text: Vec<Token> = (0..10_000).collect();
        let mut seen = Seen::default();
        for end in [50, 3000, 3001, 9990] {
            seen.read(text[..end].into());
            seen.keep_last(100);
            assert_eq!((seen.len(), seen.tokens().last()), (end, text[..end].last()));
            assert!(seen.tokens().len() <= 200 && seen.bytes() <= 1600);
            assert!(seen.begins((&text).into()) && seen.begins(text[..end].into()));
            assert!(!seen.begins(text[..end - 1].into()) && !seen.begins((&[]).into()));
            for changed in [0, end / 2, end - 1] {
                let mut other = text.clone();
                other[changed] += 1;
                assert!(!seen.begins((&other).into()), "{end} {changed}");
            }
        }
    }

    #[test]
    fn a_text_that_grows_is_known_by_its_number_and_any_other_by_its_tokens() {
        let mut text = GrowingText::new(vec![1, 2, 3]);
        let mut seen = Seen::default();
        seen.read(text.as_ref());
        text.push(4);
        assert!(text.as_ref().goes_on_from(seen.mark) && seen.begins(text.as_ref()));
        assert!(seen.begins(text.clone().as_ref()), "a copy has another number and the same tokens");
        text.truncate(2);
        assert!(!seen.begins(text.as_ref()), "taken back");
        text.extend([5, 6]);
        assert!(!seen.begins(text.as_ref()), "as long as before, and another text");
        text.truncate(2);
        text.extend([3, 4]);
        assert!(seen.begins(text.as_ref()), "the same tokens again");
    }
}

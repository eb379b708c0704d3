//! Texts that grow, and how to see without reading them that one goes on from where it was.

use draftwood_base::Token;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

/// A text under a number that no other text ever has. Appending keeps the number, whatever else happens takes a new
/// one, so of two equal numbers the shorter text is always the beginning of the longer one.
#[derive(Debug)]
pub struct GrowingText {
    tokens: Vec<Token>,
    number: u64,
}

/// A text as drafters see it: tokens, and if they belong to a [`GrowingText`] its number.
#[derive(Debug, Clone, Copy)]
pub struct TextRef<'a> {
    tokens: &'a [Token],
    /// 0 for tokens of unknown origin.
    number: u64,
}

/// How far a text was read; of none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TextMark {
    number: u64,
    length: usize,
}

/// 2^64 texts are never made: the numbers do not come round.
fn fresh_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl GrowingText {
    /// A text that begins with `tokens`.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self { tokens, number: fresh_number() }
    }

    /// Appends one token.
    pub fn push(&mut self, token: Token) {
        self.tokens.push(token);
    }

    /// Takes the tokens behind the first `length` back; nothing if there are none.
    pub fn truncate(&mut self, length: usize) {
        if length < self.tokens.len() {
            self.tokens.truncate(length);
            self.number = fresh_number();
        }
    }

    /// The text and its number.
    pub fn as_ref(&self) -> TextRef<'_> {
        TextRef { tokens: &self.tokens, number: self.number }
    }
}

impl Extend<Token> for GrowingText {
    fn extend<I: IntoIterator<Item = Token>>(&mut self, tokens: I) {
        self.tokens.extend(tokens);
    }
}

impl Clone for GrowingText {
    /// Another text, that may go on differently, with as much room.
    fn clone(&self) -> Self {
        let mut tokens = Vec::with_capacity(self.tokens.capacity());
        tokens.extend_from_slice(&self.tokens);
        Self::new(tokens)
    }
}

impl Deref for GrowingText {
    type Target = [Token];

    fn deref(&self) -> &[Token] {
        &self.tokens
    }
}

impl<'a> TextRef<'a> {
    /// The tokens.
    pub fn tokens(self) -> &'a [Token] {
        self.tokens
    }

    /// All of this text.
    pub fn mark(self) -> TextMark {
        TextMark { number: self.number, length: self.tokens.len() }
    }

    /// Whether this text certainly begins with what was read up to `mark`. False says nothing: the tokens may agree.
    #[inline]
    pub fn goes_on_from(self, mark: TextMark) -> bool {
        mark.number != 0 && mark.number == self.number && mark.length <= self.tokens.len()
    }
}

impl Deref for TextRef<'_> {
    type Target = [Token];

    fn deref(&self) -> &[Token] {
        self.tokens
    }
}

/// Tokens of unknown origin.
impl<'a> From<&'a [Token]> for TextRef<'a> {
    fn from(tokens: &'a [Token]) -> Self {
        Self { tokens, number: 0 }
    }
}

/// Tokens of unknown origin.
impl<'a, const N: usize> From<&'a [Token; N]> for TextRef<'a> {
    fn from(tokens: &'a [Token; N]) -> Self {
        Self { tokens, number: 0 }
    }
}

/// Tokens of unknown origin.
impl<'a> From<&'a Vec<Token>> for TextRef<'a> {
    fn from(tokens: &'a Vec<Token>) -> Self {
        Self { tokens, number: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is done to texts and their copies, a text that goes on from a mark begins with what was read.
        #[test]
        fn a_text_that_goes_on_begins_with_what_was_read(
            steps in prop::collection::vec((0usize..4, 0usize..4, 0u32..2, 0usize..12), 1..80),
        ) {
            let mut texts = vec![GrowingText::new(vec![0]), GrowingText::new(vec![0])];
            let mut read: Vec<(TextMark, Vec<Token>)> = Vec::new();
            for (action, which, token, length) in steps {
                let at = which % texts.len();
                match action {
                    0 => texts[at].push(token),
                    1 => texts[at].truncate(length),
                    2 => texts[at].extend([token, 1 - token]),
                    _ if which % 2 == 0 => texts.push(texts[at].clone()),
                    _ => texts[at] = GrowingText::new(vec![token; length]),
                }
                let new = texts[texts.len() - 1].as_ref();
                read.push((new.mark(), new.to_vec()));
                read.push((texts[at].as_ref().mark(), texts[at].to_vec()));
                for text in &texts {
                    for (mark, tokens) in &read {
                        let text = text.as_ref();
                        prop_assert!(!text.goes_on_from(*mark) || text.starts_with(tokens));
                        prop_assert!(!TextRef::from(text.tokens()).goes_on_from(*mark));
                    }
                    let text = text.as_ref();
                    prop_assert!(text.goes_on_from(text.mark()));
                }
            }
        }
    }

    #[test]
    fn appending_goes_on_and_nothing_else_does() {
        let mut text = GrowingText::new(vec![1, 2]);
        let mark = text.as_ref().mark();
        text.push(3);
        text.extend([4]);
        text.truncate(4);
        assert!(text.as_ref().goes_on_from(mark));
        assert!(!text.clone().as_ref().goes_on_from(mark));
        assert!(!text.as_ref().goes_on_from(TextMark::default()));
        assert!(!TextRef::from(&[1, 2, 3]).goes_on_from(TextRef::from(&[1]).mark()));
        text.truncate(3);
        assert!(!text.as_ref().goes_on_from(mark));
    }

    #[test]
    fn a_copy_has_as_much_room() {
        let mut tokens = Vec::with_capacity(100);
        tokens.push(1);
        assert!(GrowingText::new(tokens).clone().tokens.capacity() >= 100);
    }
}

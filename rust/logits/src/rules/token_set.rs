//! Sets of token ids.

use draftwood_base::Token;
use std::sync::Arc;

/// A set of token ids, one bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSet(Arc<[u64]>);

impl TokenSet {
    /// The set of `tokens`.
    pub fn new(tokens: &[Token]) -> Self {
        let words = tokens.iter().max().map_or(0, |&most| most as usize / 64 + 1);
        let mut bits = vec![0u64; words];
        for &token in tokens {
            bits[token as usize / 64] |= 1 << (token % 64);
        }
        Self(bits.into())
    }

    /// Whether it holds `token`.
    #[inline]
    pub fn contains(&self, token: Token) -> bool {
        self.0.get(token as usize / 64).is_some_and(|word| word >> (token % 64) & 1 == 1)
    }

    /// The tokens, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Token> {
        let all = 0..self.0.len() as Token * 64;
        all.filter(|&token| self.contains(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = TokenSet::new(&[3, 64, 127, 3]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 64, 127]);
        assert!(!set.contains(2) && !set.contains(1_000_000));
        assert!(!TokenSet::default().contains(0));
    }
}

//! A fixed set of allowed tokens.

use super::Processor;
use draftwood_base::{Error, Result, Token};

/// Allows the tokens of a set and nothing else, end tokens included: an end that shall be possible is part of the set.
#[derive(Debug, Clone)]
pub struct OnlyTokens {
    /// Ascending.
    tokens: Vec<Token>,
}

impl OnlyTokens {
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty set.
    pub fn new(mut tokens: Vec<Token>) -> Result<Self> {
        tokens.sort_unstable();
        tokens.dedup();
        match tokens.is_empty() {
            true => Err(Error::invalid("allowed_tokens", "at least one token", "none", "None allows all")),
            false => Ok(Self { tokens }),
        }
    }
}

impl Processor for OnlyTokens {
    type State = ();

    fn init(&self, _: &[Token]) {}

    fn advance(&self, (): &mut (), _: Token) {}

    fn apply(&self, (): &(), row: &mut [f32]) {
        keep_only(row, &self.tokens);
    }

    fn allows(&self, (): &(), token: Token) -> Option<bool> {
        Some(self.tokens.binary_search(&token).is_ok())
    }

    fn candidates(&self, (): &(), out: &mut Vec<Token>) -> bool {
        out.extend_from_slice(&self.tokens);
        true
    }
}

/// Masks everything but `tokens`, ascending; ids beyond the row are ignored.
pub fn keep_only(row: &mut [f32], tokens: &[Token]) {
    let mut from = 0;
    for &token in tokens {
        let token = (token as usize).min(row.len());
        if from < token {
            row[from..token].fill(f32::NEG_INFINITY);
        }
        from = from.max(token + 1);
    }
    if from < row.len() {
        row[from..].fill(f32::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_rest_is_masked(tokens in prop::collection::vec(0u32..12, 1..9), vocab in 1usize..10) {
            let rule = OnlyTokens::new(tokens.clone()).unwrap();
            let mut row = vec![0.5; vocab];
            rule.apply(&(), &mut row);
            for token in 0..vocab as u32 {
                prop_assert_eq!(row[token as usize] == 0.5, tokens.contains(&token));
                prop_assert_eq!(rule.allows(&(), token), Some(tokens.contains(&token)));
            }
        }
    }

    #[test]
    fn an_empty_set_is_refused() {
        assert!(OnlyTokens::new(vec![]).is_err());
    }
}

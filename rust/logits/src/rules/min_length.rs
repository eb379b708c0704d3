//! No end before a length.

use super::Processor;
use crate::mask;
use draftwood_base::Token;

/// Masks `tokens` until `length` tokens have been generated; the prompt does not count.
#[derive(Debug, Clone)]
pub struct MinLength {
    length: u32,
    tokens: Vec<Token>,
}

impl MinLength {
    /// Masks `tokens`, the ones that would end a text.
    pub fn new(length: u32, tokens: Vec<Token>) -> Self {
        Self { length, tokens }
    }
}

impl Processor for MinLength {
    /// Tokens generated.
    type State = u32;

    fn init(&self, _: &[Token]) -> u32 {
        0
    }

    fn advance(&self, state: &mut u32, _: Token) {
        *state = state.saturating_add(1);
    }

    fn apply(&self, state: &u32, row: &mut [f32]) {
        if *state < self.length {
            mask(row, &self.tokens);
        }
    }

    fn allows(&self, state: &u32, token: Token) -> Option<bool> {
        Some(*state >= self.length || !self.tokens.contains(&token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_open_at_the_length() {
        let rule = MinLength::new(2, vec![1, 9]);
        let mut state = rule.init(&[5; 7]);
        for generated in 0..4 {
            let mut row = [0.0; 3];
            rule.apply(&state, &mut row);
            assert_eq!(row[1] == f32::NEG_INFINITY, generated < 2);
            assert_eq!(rule.allows(&state, 1), Some(generated >= 2));
            assert_eq!((row[0], rule.allows(&state, 0)), (0.0, Some(true)));
            rule.advance(&mut state, 0);
        }
    }
}

//! Tokens that a model's own settings place: the first, the last, and those that never come or do not begin a text.

use super::Processor;
use crate::mask;
use draftwood_base::Token;

/// What [`PlacedTokens`] places. Places count generated tokens from 0; the prompt does not count.
#[derive(Debug, Clone, Default)]
pub struct Placed {
    /// The only token at place 0.
    pub first: Option<Token>,
    /// The only tokens at a place.
    pub last: Option<(u32, Vec<Token>)>,
    /// Tokens that never come.
    pub never: Vec<Token>,
    /// Tokens that do not come at a place.
    pub begin: Option<(u32, Vec<Token>)>,
}

/// Forces and suppresses tokens as the generation settings of encoder–decoders do (forced BOS and EOS, Whisper's
/// suppressed tokens), in transformers' order: a forced token has the value 0, so that it costs a search nothing.
#[derive(Debug, Clone)]
pub struct PlacedTokens(Placed);

impl PlacedTokens {
    /// Places tokens.
    pub fn new(placed: Placed) -> Self {
        Self(placed)
    }

    fn begins(&self, place: u32) -> &[Token] {
        match &self.0.begin {
            Some((at, tokens)) if *at == place => tokens,
            _ => &[],
        }
    }
}

fn force(row: &mut [f32], tokens: &[Token]) {
    row.fill(f32::NEG_INFINITY);
    for &token in tokens {
        if let Some(x) = row.get_mut(token as usize) {
            *x = 0.0;
        }
    }
}

impl Processor for PlacedTokens {
    /// Tokens generated.
    type State = u32;

    fn init(&self, _: &[Token]) -> u32 {
        0
    }

    fn advance(&self, state: &mut u32, _: Token) {
        *state = state.saturating_add(1);
    }

    fn apply(&self, state: &u32, row: &mut [f32]) {
        if let (0, Some(first)) = (state, self.0.first) {
            force(row, &[first]);
        }
        match &self.0.last {
            Some((at, tokens)) if at == state => force(row, tokens),
            _ => {}
        }
        mask(row, &self.0.never);
        mask(row, self.begins(*state));
    }

    /// A rule that forces nothing changes no value.
    fn allows(&self, state: &u32, token: Token) -> Option<bool> {
        let forces = self.0.first.is_some() || self.0.last.is_some();
        (!forces).then(|| !self.0.never.contains(&token) && !self.begins(*state).contains(&token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rule: &PlacedTokens, count: usize) -> Vec<[f32; 4]> {
        let mut state = rule.init(&[3; 5]);
        let mut row = || {
            let mut row = [-1.0; 4];
            rule.apply(&state, &mut row);
            rule.advance(&mut state, 0);
            row
        };
        (0..count).map(|_| row()).collect()
    }

    const NO: f32 = f32::NEG_INFINITY;

    #[test]
    fn forced_tokens_stand_alone_and_cost_nothing() {
        let last = Some((2, vec![1, 3, 9]));
        let rule = PlacedTokens::new(Placed { first: Some(2), last, ..Placed::default() });
        assert_eq!(rows(&rule, 4), [[NO, NO, 0.0, NO], [-1.0; 4], [NO, 0.0, NO, 0.0], [-1.0; 4]]);
        assert_eq!(rule.allows(&1, 0), None);
    }

    #[test]
    fn suppressed_tokens_are_masked_where_they_are_named() {
        let begin = Some((1, vec![2]));
        let rule = PlacedTokens::new(Placed { never: vec![0, 9], begin, ..Placed::default() });
        assert_eq!(rows(&rule, 3), [[NO, -1.0, -1.0, -1.0], [NO, -1.0, NO, -1.0], [NO, -1.0, -1.0, -1.0]]);
        assert_eq!([0, 1, 2].map(|token| rule.allows(&1, token)), [Some(false), Some(true), Some(false)]);
        assert_eq!(rule.allows(&0, 2), Some(true));
    }

    #[test]
    fn what_is_suppressed_is_not_forced() {
        let rule = PlacedTokens::new(Placed { first: Some(1), never: vec![1], ..Placed::default() });
        assert_eq!(rows(&rule, 1), [[NO; 4]]);
    }
}

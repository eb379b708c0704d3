//! A penalty on tokens that the text already holds.

use super::Processor;
use draftwood_base::{Error, Result, Token};

/// Multiplies negative values of tokens that occur in the text, prompt included, by `penalty`, and divides the others.
///
/// Source: Keskar et al., "CTRL" (2019), arXiv 1909.05858; on log-probabilities as transformers does with beams.
#[derive(Debug, Clone, Copy)]
pub struct RepetitionPenalty {
    penalty: f32,
}

impl RepetitionPenalty {
    /// # Errors
    /// [`Error::InvalidArgument`] unless the penalty is positive and finite.
    pub fn new(penalty: f32) -> Result<Self> {
        match penalty > 0.0 && penalty.is_finite() {
            true => Ok(Self { penalty }),
            false => Err(Error::invalid("repetition_penalty", "positive and finite", penalty, "1 is none")),
        }
    }
}

impl Processor for RepetitionPenalty {
    /// The tokens of the text, ascending.
    type State = Vec<Token>;

    fn init(&self, ids: &[Token]) -> Vec<Token> {
        let mut seen = ids.to_vec();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    fn advance(&self, state: &mut Vec<Token>, token: Token) {
        if let Err(at) = state.binary_search(&token) {
            state.insert(at, token);
        }
    }

    fn apply(&self, state: &Vec<Token>, row: &mut [f32]) {
        for &token in state {
            if let Some(x) = row.get_mut(token as usize) {
                *x = if *x < 0.0 { *x * self.penalty } else { *x / self.penalty };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_of_the_text_is_penalised_once() {
        let rule = RepetitionPenalty::new(2.0).unwrap();
        let mut state = rule.init(&[2, 0, 2]);
        rule.advance(&mut state, 3);
        rule.advance(&mut state, 0);
        let mut row = [-1.0, -1.0, -3.0, 0.5, f32::NEG_INFINITY];
        rule.apply(&state, &mut row);
        assert_eq!(row, [-2.0, -1.0, -6.0, 0.25, f32::NEG_INFINITY]);
        assert_eq!(rule.allows(&state, 1), None);
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(RepetitionPenalty::new(bad).is_err());
        }
    }
}

//! What a search is asked for.

use draftwood_base::{Error, Result, Token};
use draftwood_sample::Params;
use std::sync::Arc;

/// Most beams of one search.
pub const MAX_BEAMS: u32 = 4096;

/// When a search with a full pool of hypotheses ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// When the best live beam could not enter the pool if it ended now (`early_stopping=False`).
    #[default]
    Heuristic,
    /// At once (`early_stopping=True`).
    WhenFull,
    /// When the best live beam could not enter the pool at any length (`early_stopping="never"`).
    Never,
}

/// Drawing candidates instead of taking the best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BeamSampling {
    /// Temperature and filters, applied to the log-probabilities.
    pub params: Params,
    /// Names the noise.
    pub seed: u64,
}

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

/// Everything that one search needs to know besides its rows.
#[derive(Debug, Clone)]
pub struct BeamConfig {
    /// B: most live beams.
    pub num_beams: u32,
    /// Hypotheses wanted.
    pub num_return: u32,
    /// Most tokens, the end token included.
    pub max_new_tokens: u32,
    /// Tokens before an end token may come.
    pub min_new_tokens: u32,
    /// Exponent of the length in `score`.
    pub length_penalty: f64,
    /// When a full pool ends the search.
    pub early_stopping: EarlyStopping,
    /// Tokens that end a text.
    pub end_tokens: Vec<Token>,
    /// Tokens that are never chosen, such as columns without a token.
    pub banned: TokenSet,
    /// Draw candidates.
    pub sampling: Option<BeamSampling>,
}

impl Default for BeamConfig {
    fn default() -> Self {
        Self {
            num_beams: 4,
            num_return: 1,
            max_new_tokens: 128,
            min_new_tokens: 0,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::default(),
            end_tokens: Vec::new(),
            banned: TokenSet::default(),
            sampling: None,
        }
    }
}

impl BeamConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<()> {
        let (beams, num_return) = (self.num_beams, self.num_return);
        let invalid = |what: &str, expected: String, got: String, hint: &str| {
            Err(Error::invalid(what, expected, got, hint))
        };
        if !(1..=MAX_BEAMS).contains(&beams) {
            return invalid("num_beams", format!("1 … {MAX_BEAMS}"), beams.to_string(), "4 is usual");
        }
        if !(1..=beams).contains(&num_return) {
            let expected = format!("1 … num_beams = {beams}");
            return invalid("num_return", expected, num_return.to_string(), "");
        }
        if self.max_new_tokens == 0 {
            return invalid("max_new_tokens", "at least 1".into(), "0".into(), "");
        }
        if self.min_new_tokens > self.max_new_tokens {
            let expected = format!("at most max_new_tokens = {}", self.max_new_tokens);
            return invalid("min_new_tokens", expected, self.min_new_tokens.to_string(), "");
        }
        if !self.length_penalty.is_finite() {
            let got = self.length_penalty.to_string();
            return invalid("length_penalty", "finite".into(), got, "0 ranks by the plain sum");
        }
        if let Some(sampling) = &self.sampling {
            sampling.params.validate()?;
            if sampling.params.is_greedy() {
                return invalid(
                    "temperature",
                    "above 0 with do_sample".into(),
                    "0".into(),
                    "do_sample=False takes the best beams",
                );
            }
        }
        Ok(())
    }

    /// One place for a token that goes on, and one for each end token: what a filter leaves per beam at least, and what
    /// is drawn per beam.
    pub(crate) fn drawn_per_beam(&self) -> usize {
        self.end_tokens.len().max(1) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_checked_by_name() {
        let ok = BeamConfig::default();
        assert!(ok.validate().is_ok());
        let greedy = BeamSampling { params: Params::default(), seed: 0 };
        let cases = [
            (BeamConfig { num_beams: 0, ..ok.clone() }, "num_beams must be 1 … 4096, got 0"),
            (BeamConfig { num_beams: 4097, ..ok.clone() }, "num_beams must be 1 … 4096, got 4097"),
            (BeamConfig { num_return: 0, ..ok.clone() }, "num_return must be 1 … num_beams = 4, got 0"),
            (BeamConfig { num_return: 5, ..ok.clone() }, "num_return must be 1 … num_beams = 4, got 5"),
            (BeamConfig { max_new_tokens: 0, ..ok.clone() }, "max_new_tokens must be at least 1, got 0"),
            (BeamConfig { length_penalty: f64::NAN, ..ok.clone() }, "length_penalty must be finite, got NaN"),
            (
                BeamConfig { sampling: Some(greedy), ..ok },
                "temperature must be above 0 with do_sample, got 0",
            ),
        ];
        for (config, text) in cases {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(text), "{error} is not {text}");
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = TokenSet::new(&[3, 64, 127, 3]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 64, 127]);
        assert!(!set.contains(2) && !set.contains(1_000_000));
        assert!(!TokenSet::default().contains(0));
    }
}

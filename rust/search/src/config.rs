//! What a search is asked for.

use crate::diversity::Diversity;
use crate::stops::Stops;
use draftwood_base::{Error, Result, Token};
use draftwood_logits::TokenSet;
use draftwood_sample::Params;

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
    /// Groups of beams, each with its own pool; `num_beams` and `num_return` are shared out among them evenly.
    pub num_groups: u32,
    /// What a group pays for resembling the groups before it; needed with several groups.
    pub diversity: Option<Diversity>,
    /// A token that takes the last one back: no part of the text, forbidden before the first one. A search then takes at
    /// most 4 · `max_new_tokens` steps.
    pub backspace: Option<Token>,
    /// Strings that end a text.
    pub stops: Option<Stops>,
    /// Record the best candidates of each step.
    pub keep_candidates: bool,
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
            num_groups: 1,
            diversity: None,
            backspace: None,
            stops: None,
            keep_candidates: false,
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
        let groups = self.num_groups;
        if groups == 0 || !beams.is_multiple_of(groups) {
            return invalid(
                "num_beam_groups",
                format!("a divisor of num_beams = {beams}"),
                groups.to_string(),
                "",
            );
        }
        if !num_return.is_multiple_of(groups) {
            let expected = format!("a multiple of num_beam_groups = {groups}");
            return invalid("num_return", expected, num_return.to_string(), "each group returns as many");
        }
        if groups > 1 && self.sampling.is_some() {
            let hint = "groups are diverse without drawing";
            return invalid("num_beam_groups", "1 with do_sample".into(), groups.to_string(), hint);
        }
        if let Some(diversity) = self.diversity.as_ref().filter(|d| !d.penalty.is_finite() || d.penalty < 0.0)
        {
            let got = diversity.penalty.to_string();
            return invalid("diversity_penalty", "0 or more, and finite".into(), got, "0.2 … 0.8 is usual");
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
        if let Some(token) = self.backspace {
            if self.end_tokens.contains(&token) || self.banned.contains(token) {
                let expected = "a token that neither ends texts nor is forbidden".into();
                return invalid("backspace_token_id", expected, token.to_string(), "");
            }
            if groups > 1 || self.sampling.is_some() || self.keep_candidates {
                let what = "backspace_token_id with groups, do_sample or keep_candidates";
                return invalid(what, "None".into(), token.to_string(), "");
            }
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

    /// Beams of a group.
    pub(crate) fn width(&self) -> usize {
        (self.num_beams / self.num_groups) as usize
    }

    /// Candidates per beam, ends aside, of which a step chooses.
    pub(crate) fn need(&self) -> usize {
        match (self.keep_candidates, self.backspace) {
            (true, _) => self.kept(),
            // Each beam may go back to a text that another one leads to.
            (false, Some(_)) => 2 * self.width(),
            (false, None) => self.width(),
        }
    }

    /// Candidates of a step that are recorded: as many as transformers looks at.
    pub(crate) fn kept(&self) -> usize {
        self.drawn_per_beam() * self.width()
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
            (
                BeamConfig { num_groups: 3, ..ok.clone() },
                "num_beam_groups must be a divisor of num_beams = 4, got 3",
            ),
            (
                BeamConfig { num_groups: 2, num_return: 3, ..ok.clone() },
                "num_return must be a multiple of num_beam_groups = 2, got 3",
            ),
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
}

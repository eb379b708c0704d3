//! What a caller asks for.

use crate::SessionConfig;
use draftwood_base::{Error, Result, Token};
use draftwood_logits::AnyProcessor;
use draftwood_sample::Params;
use draftwood_text::StopStrings;
use std::sync::Arc;

/// One submitted request. Never reused within a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u32);

/// A prompt and how to continue it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<Token>,
    /// What the encoder of an encoder–decoder reads: drafts look there first.
    pub source: Arc<[Token]>,
    /// Warpers of the next-token law.
    pub params: Params,
    /// Seed of the addressed noise; unused when greedy.
    pub seed: u64,
    /// Sample indices within the caller's request, one text each, all different: the sample words of the noise addresses. The prompt
    /// is read once for all of them.
    pub samples: Vec<u32>,
    /// Texts that may go on side by side: 1, or the number of beams; the number of samples counts by itself.
    pub width: u32,
    /// Most tokens to generate, at least 1.
    pub max_new_tokens: u32,
    /// Before this many tokens end tokens are masked and stop strings do not end.
    pub min_new_tokens: u32,
    /// Strings that end the text; they are not part of it.
    pub stops: StopStrings,
    /// Treat end tokens as ordinary ones.
    pub ignore_end: bool,
    /// Raw log-probabilities: of the chosen token, and of this many best ones.
    pub logprobs: Option<u32>,
    /// Tokens that come whatever the model says, at most `max_new_tokens`: their log-probabilities are what is asked for.
    pub forced: Vec<Token>,
    /// The token that takes the last generated one back: no part of the text, forbidden before the first one. The
    /// actions, it included, are at most 4 · `max_new_tokens`.
    pub backspace: Option<Token>,
    /// Drafts may come from other texts of this salt, never from those of another.
    pub salt: u64,
    /// Rules that change or forbid tokens before one is chosen.
    pub rules: Vec<AnyProcessor>,
    /// Rows of this request wait in [`crate::Session::verify`] for processors outside of this crate.
    pub foreign: bool,
}

impl Request {
    /// # Errors
    /// [`Error::InvalidArgument`] naming the field.
    pub(crate) fn validate(&self, config: &SessionConfig) -> Result<()> {
        self.params.validate()?;
        let len = self.prompt.len();
        if len == 0 {
            return Err(Error::invalid("prompt", "at least one token", "an empty prompt", ""));
        }
        if len >= config.max_context as usize {
            return Err(Error::invalid(
                "prompt",
                format!("shorter than the context of {} tokens", config.max_context),
                format!("{len} tokens"),
                "cut the prompt or load the model with a larger max_context",
            ));
        }
        if let Some(at) = self.prompt.iter().position(|&token| token >= config.vocab) {
            return Err(Error::invalid(
                format!("prompt token {at}"),
                format!("0 … {}", config.vocab - 1),
                self.prompt[at],
                "these ids may belong to another tokenizer",
            ));
        }
        if self.forced.len() > self.max_new_tokens as usize {
            let most = format!("at most max_new_tokens = {}", self.max_new_tokens);
            return Err(Error::invalid("the number of forced tokens", most, self.forced.len(), ""));
        }
        if self.width == 0 {
            return Err(Error::invalid("width", "at least 1", 0, ""));
        }
        if self.samples.is_empty() {
            return Err(Error::invalid("the number of samples", "at least 1", 0, ""));
        }
        if self.max_new_tokens == 0 {
            return Err(Error::invalid("max_new_tokens", "at least 1", 0, ""));
        }
        if self.min_new_tokens > self.max_new_tokens {
            let most = format!("at most max_new_tokens = {}", self.max_new_tokens);
            return Err(Error::invalid("min_new_tokens", most, self.min_new_tokens, ""));
        }
        if let Some(token) = self.backspace {
            if config.end_tokens.contains(&token) {
                let hint = "a token that takes one back cannot end the text";
                return Err(Error::invalid("backspace_token_id", "no end token", token, hint));
            }
            if !self.forced.is_empty() {
                return Err(Error::invalid("backspace_token_id with forced tokens", "None", token, ""));
            }
        }
        match self.logprobs {
            Some(k) if k > config.vocab => Err(Error::invalid(
                "logprobs",
                format!("at most the vocabulary size {}", config.vocab),
                k,
                "",
            )),
            _ => Ok(()),
        }
    }

    /// Texts that the request may have at once.
    pub(crate) fn texts(&self) -> u32 {
        self.width.max(self.samples.len() as u32)
    }

    /// Rows that all its texts share: those of the prompt, if it has samples. Beams may go back into it.
    pub(crate) fn shared(&self) -> u32 {
        if self.samples.len() > 1 { self.prompt.len() as u32 } else { 0 }
    }

    /// Rows that one of its texts may hold in the cache at once: every token but the last, and one draft tree.
    pub(crate) fn capacity(&self, config: &SessionConfig) -> u32 {
        let tokens = (self.prompt.len() as u32).saturating_add(self.max_new_tokens).min(config.max_context);
        tokens + config.tree_budget
    }
}

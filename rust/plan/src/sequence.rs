//! One running text.

use crate::past::Past;
use crate::request::{Request, RequestId};
use draftwood_base::{Error, SequenceId, Token};
use draftwood_logits::States;
use draftwood_text::TextStream;
use draftwood_tree::GrowingText;

/// What a text has cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SequenceStats {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub new_tokens: u32,
    /// Forwards that gave this text at least one token.
    pub steps: u32,
    /// Forwards that only cached a part of the prompt.
    pub prefill_steps: u32,
    /// Drafted nodes that were forwarded, roots not counted.
    pub drafted: u32,
    /// Drafted nodes that were accepted.
    pub accepted: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub id: SequenceId,
    pub request: RequestId,
    pub spec: Request,
    /// Prompt and output. Room for the whole request is taken at admission, so steps never move it.
    pub tokens: GrowingText,
    pub text: TextStream,
    /// What taking tokens back needs; only for requests with backspace.
    pub past: Option<Box<Past>>,
    /// What the request's rules remember of `tokens`.
    pub states: States,
    pub stats: SequenceStats,
    pub paused: bool,
    pub cancelled: bool,
    /// Samples that were cancelled while all share the prompt.
    pub dropped: Vec<u32>,
    /// The next step ends this text with `error`.
    pub failed: Option<Error>,
    /// Set within a commit: nothing of this text goes on.
    pub closing: bool,
}

impl Sequence {
    pub fn admit(id: SequenceId, request: RequestId, mut spec: Request, room: usize) -> Self {
        let mut tokens = std::mem::take(&mut spec.prompt);
        tokens.reserve_exact(room.saturating_sub(tokens.len()));
        let stats = SequenceStats { prompt_tokens: tokens.len() as u32, ..Default::default() };
        let text = TextStream::new(&spec.stops);
        let states = States::init(&spec.rules, &tokens);
        let past = spec.backspace.map(|token| Box::new(Past::new(token, spec.max_new_tokens)));
        Self {
            id,
            request,
            spec,
            tokens: GrowingText::new(tokens),
            text,
            past,
            states,
            stats,
            paused: false,
            cancelled: false,
            dropped: Vec::new(),
            failed: None,
            closing: false,
        }
    }

    /// A text that goes on beside this one from the same past.
    pub fn fork(&self, id: SequenceId) -> Self {
        Self {
            id,
            tokens: self.tokens.clone(),
            spec: self.spec.clone(),
            text: self.text.clone(),
            past: self.past.clone(),
            states: self.states.clone(),
            dropped: Vec::new(),
            failed: None,
            closing: false,
            ..*self
        }
    }

    /// Whether this text stands for several samples, which part when its prompt has been read.
    pub fn is_shared(&self) -> bool {
        self.spec.samples.len() > 1
    }

    /// One sample of a text that stands for several, as it is before its first token.
    pub fn part(&self, sample: u32) -> Self {
        let mut part = self.fork(self.id);
        part.spec.samples.clear();
        part.spec.samples.push(sample);
        part
    }

    /// Tokens that come next whatever the model says.
    pub fn forced(&self) -> &[Token] {
        self.spec.forced.get(self.stats.new_tokens as usize..).unwrap_or_default()
    }

    /// Tokens that may still come: the request's limit and the context's.
    pub fn remaining(&self, max_context: u32) -> u32 {
        let context = max_context.saturating_sub(self.tokens.len() as u32);
        self.spec.max_new_tokens.saturating_sub(self.stats.new_tokens).min(context)
    }
}

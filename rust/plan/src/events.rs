//! What a commit tells the callers.

use crate::SequenceStats;
use crate::request::RequestId;
use draftwood_base::{Error, SequenceId, Token};
use std::ops::Range;

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token or a stop string.
    Stop,
    /// `max_new_tokens`, or the context is full.
    Length,
    /// The caller asked.
    Cancelled,
    /// Every token was masked.
    Constraint,
    /// Logits were not finite, or a drafter or processor failed.
    Error,
}

impl FinishReason {
    /// The word that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Cancelled => "cancelled",
            FinishReason::Constraint => "constraint",
            FinishReason::Error => "error",
        }
    }
}

/// What exactly stopped a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// This end token.
    Token(Token),
    /// The stop string with this index in the request.
    String(u32),
    /// A greedy text that takes back has come to where it was before.
    Loop,
}

/// The end of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Why.
    pub reason: FinishReason,
    /// By what, for [`FinishReason::Stop`].
    pub stop: Option<StopReason>,
    /// The error, for [`FinishReason::Error`].
    pub error: Option<Error>,
}

/// News of one sequence. Ranges point into [`Events`].
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The request.
    pub request: RequestId,
    /// Which of the request's samples.
    pub sample: u32,
    /// The text as the step leaves it; requests that end before admission have none, nor do samples that end with the
    /// prompt that they share.
    pub sequence: Option<SequenceId>,
    /// Tokens that were told before and are taken back, and characters of their text; first of all.
    pub retracted: u32,
    /// Characters (code points) of earlier text that go with them.
    pub retracted_text: u32,
    /// New tokens.
    pub tokens: Range<usize>,
    /// New text that is safe to show.
    pub text: Range<usize>,
    /// Log-probabilities of the new tokens; empty when not asked for.
    pub chosen: Range<usize>,
    /// Entries of the best tokens; k per new token.
    pub top: Range<usize>,
    /// Set on the last event of a text.
    pub end: Option<End>,
    /// What the text has cost so far.
    pub stats: SequenceStats,
}

/// Raw log-probabilities of new tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logprobs<'a> {
    /// [t] of the chosen tokens.
    pub chosen: &'a [f32],
    /// [t · k] ids of the most probable tokens, best first.
    pub top_ids: &'a [Token],
    /// [t · k] their log-probabilities.
    pub top: &'a [f32],
}

/// The events of a step in a few flat buffers, reused from step to step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Events {
    pub(crate) items: Vec<Event>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) text: String,
    pub(crate) chosen: Vec<f32>,
    pub(crate) top_ids: Vec<Token>,
    pub(crate) top: Vec<f32>,
}

impl Events {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.items.clear();
        self.tokens.clear();
        self.text.clear();
        self.chosen.clear();
        self.top_ids.clear();
        self.top.clear();
    }

    /// The end of a text, (request, sample), that got no new token.
    pub(crate) fn tell_end(
        &mut self,
        text: (RequestId, u32),
        sequence: Option<SequenceId>,
        stats: SequenceStats,
        reason: FinishReason,
        error: Option<Error>,
    ) {
        self.tell_end_from(self.text.len(), text, sequence, stats, reason, error);
    }

    /// The same; what was held back of its text begins at `text_start`.
    pub(crate) fn tell_end_from(
        &mut self,
        text_start: usize,
        (request, sample): (RequestId, u32),
        sequence: Option<SequenceId>,
        stats: SequenceStats,
        reason: FinishReason,
        error: Option<Error>,
    ) {
        let (t, c, p) = (self.tokens.len(), self.chosen.len(), self.top.len());
        self.items.push(Event {
            request,
            sample,
            sequence,
            retracted: 0,
            retracted_text: 0,
            tokens: t..t,
            text: text_start..self.text.len(),
            chosen: c..c,
            top: p..p,
            end: Some(End { reason, stop: None, error }),
            stats,
        });
    }

    /// All events, in the order of the sequences.
    pub fn items(&self) -> &[Event] {
        &self.items
    }

    /// The new tokens of an event.
    pub fn tokens(&self, event: &Event) -> &[Token] {
        &self.tokens[event.tokens.clone()]
    }

    /// The new text of an event.
    pub fn text(&self, event: &Event) -> &str {
        &self.text[event.text.clone()]
    }

    /// The log-probabilities of an event; empty slices when not asked for.
    pub fn logprobs(&self, event: &Event) -> Logprobs<'_> {
        Logprobs {
            chosen: &self.chosen[event.chosen.clone()],
            top_ids: &self.top_ids[event.top.clone()],
            top: &self.top[event.top.clone()],
        }
    }
}

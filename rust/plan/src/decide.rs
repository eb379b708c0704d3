//! What a verdict means for its text: new tokens, text pieces, ends, events.

use crate::SessionConfig;
use crate::events::{End, Event, FinishReason, StopReason};
use crate::sequence::Sequence;
use crate::session::Session;
use crate::verify::{Halt, Verdict};
use draftwood_base::{Error, Token};
use draftwood_sample::RowFault;
use draftwood_tree::Survivor;

/// A sample on its way to a sequence of its own.
#[derive(Debug)]
pub(crate) struct Part {
    pub text: Sequence,
    /// The event that is to tell its sequence.
    pub event: usize,
}

/// A text that goes on.
pub(crate) struct Going {
    pub survivor: Survivor,
    /// Its tokens that are taken back.
    pub popped: u32,
    pub part: Option<Part>,
}

impl Session {
    /// Tells what a verdict means for its text: an event, and the survivor unless the text ends here. A sample that shares
    /// its prompt with others becomes a text of its own first.
    pub(crate) fn decide(&mut self, v: usize) -> Option<Going> {
        let Verdict { scheduled, sample, outcome, refused, popped, actions, rows } =
            &mut self.record.verdicts[v];
        let (tree, path) = (self.trees.tree(*scheduled), self.record.paths.row(v));
        let sequence = &mut self.running[self.scheduled[*scheduled].at];
        if sequence.cancelled || sequence.failed.is_some() {
            return None;
        }
        let mut part = None;
        let (events, config) = (&mut self.events, &self.config);
        let text = (sequence.request, *sample);
        if sequence.is_shared() {
            if let Some(at) = sequence.dropped.iter().position(|dropped| dropped == sample) {
                sequence.dropped.remove(at);
                events.tell_end(text, None, sequence.stats, FinishReason::Cancelled, None);
                return None;
            }
            if let Some(error) = refused.take() {
                events.tell_end(text, None, sequence.stats, FinishReason::Error, Some(error));
                return None;
            }
            part = Some(Part { text: sequence.part(*sample), event: events.items.len() });
        } else if let Some(error) = refused.take() {
            sequence.failed = Some(error);
            return None;
        }
        let shared = part.is_some();
        let sequence = part.as_mut().map_or(sequence, |part| &mut part.text);
        sequence.stats.steps += 1;
        sequence.stats.drafted += tree.len() as u32 - 1;
        let mut retracted_text = 0;
        if let Some(past) = sequence.past.as_deref_mut() {
            past.follow(sequence.stats.new_tokens, &self.record.actions[actions.clone()]);
            past.keep_rows(&self.record.rows[rows.clone()]);
        }
        if *popped > 0 {
            retracted_text = sequence.retract(*popped, self.usable);
        }
        let starts = (events.tokens.len(), events.text.len(), events.chosen.len(), events.top.len());
        let accepted = path[1..].iter().map(|&node| tree.tokens[node as usize]);
        let mut end = None;
        let mut added = 0;
        for token in accepted.chain(outcome.as_ref().ok().copied()) {
            events.tokens.push(token);
            added += 1;
            sequence.stats.new_tokens += 1;
            let shown = events.text.len();
            if let Some(past) = sequence.past.as_deref_mut() {
                past.keep_text(&sequence.text);
            }
            end = end_after(sequence, token, added, config, &mut events.text);
            if let Some(past) = sequence.past.as_deref_mut() {
                past.shown += events.text[shown..].chars().count() as u32;
            }
            if end.is_some() {
                break;
            }
        }
        sequence.stats.accepted += added.min(path.len() as u32 - 1);
        if let (None, Err(halt)) = (&end, &*outcome) {
            end = Some(end_by_halt(halt, sequence.tokens.len() + added as usize));
        }
        if end.is_none() && sequence.past.as_ref().is_some_and(|past| past.actions >= past.limit) {
            end = Some(End { reason: FinishReason::Length, stop: None, error: None });
        }
        if end.is_some() {
            sequence.text.finish(&mut events.text);
        }
        let k = sequence.spec.logprobs.unwrap_or(0) as usize;
        if sequence.spec.logprobs.is_some() {
            events.chosen.extend_from_slice(&self.record.chosen.row(v)[..added as usize]);
            for &(id, value) in &self.record.top.row(v)[..added as usize * k] {
                events.top_ids.push(id);
                events.top.push(value);
            }
        }
        let ended = end.is_some();
        events.items.push(Event {
            request: sequence.request,
            sample: *sample,
            sequence: (!shared).then_some(sequence.id),
            retracted: *popped,
            retracted_text,
            tokens: starts.0..events.tokens.len(),
            text: starts.1..events.text.len(),
            chosen: starts.2..events.chosen.len(),
            top: starts.3..events.top.len(),
            end,
            stats: sequence.stats,
        });
        let (leaf, next_token) = (*path.last()?, *outcome.as_ref().ok()?);
        let survivor = Survivor { source: sequence.id, leaf, next_token, score: 0.0 };
        (!ended).then_some(Going { survivor, popped: *popped, part })
    }
}

/// Shows a new token's bytes and says whether the text ends with it. `added` counts the tokens of this step so far, this
/// one included. When a limit and a stop fall together the stop is told.
fn end_after(
    sequence: &mut Sequence,
    token: Token,
    added: u32,
    config: &SessionConfig,
    shown: &mut String,
) -> Option<End> {
    let spec = &sequence.spec;
    let end = |reason, stop| Some(End { reason, stop, error: None });
    if !spec.ignore_end && config.end_tokens.contains(&token) {
        return end(FinishReason::Stop, Some(StopReason::Token(token)));
    }
    if let Some(bytes) = &config.token_bytes {
        sequence.text.suspend_stops(sequence.stats.new_tokens < spec.min_new_tokens);
        if let Some(string) = sequence.text.push(bytes.get(token), shown) {
            return end(FinishReason::Stop, Some(StopReason::String(string as u32)));
        }
    }
    let full = sequence.tokens.len() as u32 + added >= config.max_context;
    if full || sequence.stats.new_tokens >= spec.max_new_tokens {
        end(FinishReason::Length, None)
    } else {
        None
    }
}

fn end_by_halt(halt: &Halt, tokens: usize) -> End {
    let end = |reason, stop| End { reason, stop, error: None };
    match halt {
        Halt::Loop => end(FinishReason::Stop, Some(StopReason::Loop)),
        Halt::Spent => end(FinishReason::Length, None),
        Halt::Fault(RowFault::AllMasked) => end(FinishReason::Constraint, None),
        Halt::Fault(RowFault::NotFinite { token }) => End {
            reason: FinishReason::Error,
            stop: None,
            error: Some(Error::invalid(
                format!("the logits after {tokens} tokens"),
                "finite, or -inf for masked tokens",
                format!("NaN or +inf at vocabulary id {token}"),
                "the weights or the arithmetic type of the model may be broken",
            )),
        },
    }
}

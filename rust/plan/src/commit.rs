//! From chosen tokens to longer texts: ends, text pieces, kept rows, events.

use crate::SessionConfig;
use crate::events::{End, Event, FinishReason, StopReason};
use crate::sequence::Sequence;
use crate::session::{Phase, Session};
use crate::verify::Verdict;
use draftwood_base::{Error, Result, SequenceId, SlotId, Token};
use draftwood_sample::RowFault;
use draftwood_tree::{Finished, Forest, Survivor};

impl Session {
    /// Keeps what [`Session::verify`] accepted: cuts each text at its first end, appends its tokens, and tells the
    /// events. Rows to move, if any, are in [`Session::moves`] until the next [`Session::begin`].
    ///
    /// # Errors
    /// [`Error::Internal`] out of order.
    pub fn commit(&mut self) -> Result<()> {
        let Phase::Verified(_) = &self.phase else {
            return Err(Error::Internal("commit() must follow verify()".into()));
        };
        if self.waiting().is_some() {
            return Err(Error::Internal("commit() must follow settle() of all rows that wait".into()));
        }
        self.learn();
        let mut survivors = std::mem::take(&mut self.record.survivors);
        survivors.clear();
        for v in 0..self.record.verdicts.len() {
            survivors.extend(self.decide(v));
        }
        let done = self.keep(&survivors, &[], &[]);
        self.record.survivors = survivors;
        done
    }

    /// Lets the policy see which of the proposed nodes came true.
    fn learn(&mut self) {
        if self.scheduled.iter().any(|s| s.is_forced) {
            return; // Nothing was proposed that could have been wrong.
        }
        let (mut accepted, mut was_right) = (0, false);
        for (v, verdict) in self.record.verdicts.iter().enumerate() {
            let (path, i) = (self.record.paths.row(v), verdict.scheduled);
            let tree = self.trees.tree(i);
            accepted += path.len() as u32 - 1;
            let tokens = path[1..].iter().map(|&node| tree.tokens[node as usize]);
            was_right |= self
                .policy
                .learn(self.proposals.tree(i), tokens.chain(verdict.outcome.as_ref().ok().copied()));
        }
        self.policy.stepped(accepted, was_right, self.was_asked);
    }

    /// Keeps any set of paths: several survivors of a source fork it, none closes it. This is the commit of searches,
    /// which score paths themselves and end them by `finished`. Texts that are `closed` end too, though they are no part
    /// of the step. Returns the sequence of each survivor, in order.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a source, leaf or token that the step does not have.
    pub fn commit_paths(
        &mut self,
        survivors: &[Survivor],
        finished: &[Finished],
        closed: &[SequenceId],
    ) -> Result<Vec<SequenceId>> {
        let heads = survivors.iter().map(|s| (s.source, s.leaf, s.next_token));
        let ends = finished.iter().map(|f| (f.source, f.leaf, f.stop_token));
        for (source, leaf, token) in heads.chain(ends) {
            let tree = self.scheduled.iter().position(|s| s.is_read() && self.running[s.at].id == source);
            let Some(i) = tree else {
                return Err(Error::invalid(
                    "a survivor's source",
                    "a sequence read in this step",
                    source,
                    "",
                ));
            };
            let nodes = self.trees.tree(i).len() as u32;
            if leaf >= nodes {
                return Err(Error::invalid("a survivor's leaf", format!("0 … {}", nodes - 1), leaf, ""));
            }
            if token >= self.config.vocab {
                return Err(Error::invalid(
                    "a survivor's token",
                    format!("0 … {}", self.config.vocab - 1),
                    token,
                    "",
                ));
            }
        }
        self.keep(survivors, finished, closed)?;
        Ok(self.record.kept.clone())
    }

    /// Source and destination slots of accepted rows that are not in place yet. All sources are read before the first
    /// destination is written.
    pub fn moves(&self) -> (&[SlotId], &[SlotId]) {
        let moves = self.store.moves(0);
        (&moves.from, &moves.to)
    }

    /// The moves could not be done: texts fall back to the last row in place and feed the rest again.
    pub fn moves_failed(&mut self) {
        self.store.moves_failed();
    }

    /// Tells what a verdict means for its text: an event, and the survivor unless the text ends here.
    fn decide(&mut self, v: usize) -> Option<Survivor> {
        let Verdict { scheduled, outcome } = &self.record.verdicts[v];
        let (tree, path) = (self.trees.tree(*scheduled), self.record.paths.row(v));
        let sequence = &mut self.running[self.scheduled[*scheduled].at];
        if sequence.cancelled || sequence.failed.is_some() {
            return None;
        }
        sequence.stats.steps += 1;
        sequence.stats.drafted += tree.len() as u32 - 1;
        let (events, config) = (&mut self.events, &self.config);
        let starts = (events.tokens.len(), events.text.len(), events.chosen.len(), events.top.len());
        let accepted = path[1..].iter().map(|&node| tree.tokens[node as usize]);
        let mut end = None;
        let mut added = 0;
        for token in accepted.chain(outcome.as_ref().ok().copied()) {
            events.tokens.push(token);
            added += 1;
            sequence.stats.new_tokens += 1;
            end = end_after(sequence, token, added, config, &mut events.text);
            if end.is_some() {
                break;
            }
        }
        sequence.stats.accepted += added.min(path.len() as u32 - 1);
        if let (None, Err(fault)) = (&end, outcome) {
            end = Some(end_by_fault(fault, sequence.tokens.len() + added as usize));
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
            sequence: Some(sequence.id),
            tokens: starts.0..events.tokens.len(),
            text: starts.1..events.text.len(),
            chosen: starts.2..events.chosen.len(),
            top: starts.3..events.top.len(),
            end,
            stats: sequence.stats,
        });
        let (leaf, next_token) = (*path.last()?, *outcome.as_ref().ok()?);
        (!ended).then_some(Survivor { source: sequence.id, leaf, next_token, score: 0.0 })
    }

    /// Hands the paths to the store and makes the texts follow: the first survivor of a source goes on under its id,
    /// later ones fork it, sources without one close. Chunks of a prompt that were not read advance by themselves.
    fn keep(&mut self, survivors: &[Survivor], finished: &[Finished], closed: &[SequenceId]) -> Result<()> {
        let reservation = match std::mem::take(&mut self.phase) {
            Phase::Planned(reservation) | Phase::Verified(reservation) => reservation,
            Phase::Idle | Phase::Begun => return Err(Error::Internal("a commit must follow plan()".into())),
        };
        for end in finished {
            self.tell_finished(end);
        }
        let (scratch, record) = (&mut self.scratch, &mut self.record);
        record.kept_paths.clear();
        record.heads.clear();
        for s in &self.scheduled {
            let sequence = &mut self.running[s.at];
            sequence.closing = s.is_read() || sequence.cancelled || sequence.failed.is_some();
            if !sequence.closing {
                sequence.stats.prefill_steps += 1;
                record.kept_paths.advance(sequence.id);
                record.heads.push(Head { source: sequence.id, at: s.at, next: None });
            }
        }
        for survivor in survivors {
            let Some(i) = self.scheduled.iter().position(|s| self.running[s.at].id == survivor.source) else {
                return Err(Error::Internal(format!("sequence {} is not in the step", survivor.source)));
            };
            self.trees.tree(i).path_into(survivor.leaf as usize, &mut scratch.path);
            record.kept_paths.push(survivor.source, scratch.path.iter().copied());
            let at = self.scheduled[i].at;
            record.heads.push(Head { source: survivor.source, at, next: Some((i, survivor.next_token)) });
        }
        let committed = self.store.commit(reservation, &record.kept_paths, closed)?;
        record.ids.clear();
        record.ids.extend(committed.iter().map(|survivor| survivor.sequence));
        // Forks first: they start from the text as it was before its first survivor extends it.
        for p in 0..record.heads.len() {
            let (head, id) = (record.heads[p], record.ids[p]);
            if id != head.source {
                let mut fork = self.running[head.at].fork(id);
                fork.extend(&self.trees, record.kept_paths.path(p), head.next);
                self.running.push(fork);
            }
        }
        for p in 0..record.heads.len() {
            let (head, id) = (record.heads[p], record.ids[p]);
            if id == head.source {
                let sequence = &mut self.running[head.at];
                sequence.closing = false;
                sequence.extend(&self.trees, record.kept_paths.path(p), head.next);
            }
        }
        record.kept.clear();
        record.kept.extend(
            record.heads.iter().zip(&record.ids).filter(|(h, _)| h.next.is_some()).map(|(_, id)| *id),
        );
        self.drop_ended();
        self.running.retain(|sequence| !sequence.closing && !closed.contains(&sequence.id));
        Ok(())
    }

    fn tell_finished(&mut self, end: &Finished) {
        let Some(i) = self.scheduled.iter().position(|s| self.running[s.at].id == end.source) else { return };
        let (sequence, tree, events) =
            (&self.running[self.scheduled[i].at], self.trees.tree(i), &mut self.events);
        let (start, t, c, p) =
            (events.tokens.len(), events.text.len(), events.chosen.len(), events.top.len());
        tree.path_into(end.leaf as usize, &mut self.scratch.path);
        events.tokens.extend(self.scratch.path[1..].iter().map(|&node| tree.tokens[node as usize]));
        events.tokens.push(end.stop_token);
        events.items.push(Event {
            request: sequence.request,
            sequence: Some(sequence.id),
            tokens: start..events.tokens.len(),
            text: t..t,
            chosen: c..c,
            top: p..p,
            end: Some(End {
                reason: FinishReason::Stop,
                stop: Some(StopReason::Token(end.stop_token)),
                error: None,
            }),
            stats: sequence.stats,
        });
    }
}

/// A kept path on its way to the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    source: SequenceId,
    /// Index of the source in `running`.
    at: usize,
    /// Its tree in the step and the chosen token; none for a chunk of a prompt.
    next: Option<(usize, Token)>,
}

impl Sequence {
    fn extend(&mut self, trees: &Forest, path: &[u32], next: Option<(usize, Token)>) {
        if let Some((i, token)) = next {
            let tree = trees.tree(i);
            let from = self.tokens.len();
            self.tokens.extend(path[1..].iter().map(|&node| tree.tokens[node as usize]));
            self.tokens.push(token);
            for &token in &self.tokens[from..] {
                self.states.advance(&self.spec.rules, token);
            }
        }
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

fn end_by_fault(fault: &RowFault, tokens: usize) -> End {
    match fault {
        RowFault::AllMasked => End { reason: FinishReason::Constraint, stop: None, error: None },
        RowFault::NotFinite { token } => End {
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

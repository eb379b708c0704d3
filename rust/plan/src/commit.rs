//! From chosen tokens to longer texts: ends, text pieces, kept rows, events.

use crate::decide::Part;
use crate::events::{End, Event, FinishReason, StopReason};
use crate::sequence::Sequence;
use crate::session::{Phase, Session};
use crate::verify::Record;
use draftwood_base::{Error, Result, SequenceId, SlotId, Token};
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
        self.record.parts.clear();
        self.record.pops.clear();
        for v in 0..self.record.verdicts.len() {
            if let Some(going) = self.decide(v) {
                survivors.push(going.survivor);
                self.record.pops.push(going.popped);
                self.record.parts.push(going.part);
            }
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
            if v > 0 && self.record.verdicts[v - 1].scheduled == i {
                continue; // One sample speaks for all that share the row.
            }
            if verdict.popped > 0 {
                continue; // What comes next is no child of the root.
            }
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
        self.record.parts.clear();
        self.record.pops.clear();
        self.keep(survivors, finished, closed)?;
        Ok(self.record.kept.clone())
    }

    /// Takes the last `tokens` of a text back, between steps: the commit of searches with backspace. The token that is
    /// then the last one is fed again by the next step, since nobody keeps its row.
    ///
    /// # Errors
    /// [`Error::Internal`] within a step, or if fewer than `tokens` + 1 are there.
    pub fn retract(&mut self, sequence: SequenceId, tokens: u32) -> Result<()> {
        if !matches!(self.phase, Phase::Idle) {
            return Err(Error::Internal("retract() must follow a commit".into()));
        }
        let Some(text) = self.running.iter_mut().find(|text| text.id == sequence) else {
            return Ok(()); // Cancelled since.
        };
        let Some(left) = text.tokens.len().checked_sub(tokens as usize).filter(|&left| left > 0) else {
            return Err(Error::Internal(format!("sequence {sequence} has fewer than {tokens} tokens")));
        };
        let cached = self.store.len(sequence);
        self.store.retract(sequence, cached.saturating_sub(left as u32 - 1))?;
        text.tokens.truncate(left);
        Ok(())
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
        for (survivor, number) in survivors.iter().zip(0..) {
            let Some(i) = self.scheduled.iter().position(|s| self.running[s.at].id == survivor.source) else {
                return Err(Error::Internal(format!("sequence {} is not in the step", survivor.source)));
            };
            self.trees.tree(i).path_into(survivor.leaf as usize, &mut scratch.path);
            record.kept_paths.push(survivor.source, scratch.path.iter().copied());
            let at = self.scheduled[i].at;
            record.heads.push(Head {
                source: survivor.source,
                at,
                next: Some(Next { tree: i, token: survivor.next_token, survivor: number }),
            });
        }
        let committed = self.store.commit(reservation, &record.kept_paths, closed)?;
        record.ids.clear();
        record.ids.extend(committed.iter().map(|survivor| survivor.sequence));
        // Forks first: they start from the text as it was before its first survivor extends it.
        for p in 0..record.heads.len() {
            let (head, id) = (record.heads[p], record.ids[p]);
            if id != head.source {
                let mut fork = match record.take_part(head) {
                    Some(part) => {
                        self.events.items[part.event].sequence = Some(id);
                        Sequence { id, ..part.text }
                    }
                    None => self.running[head.at].fork(id),
                };
                fork.extend(&self.trees, record.kept_paths.path(p), head.next);
                self.running.push(fork);
            }
        }
        for p in 0..record.heads.len() {
            let (head, id) = (record.heads[p], record.ids[p]);
            if id == head.source {
                let sequence = &mut self.running[head.at];
                if let Some(part) = record.take_part(head) {
                    self.events.items[part.event].sequence = Some(id);
                    *sequence = part.text;
                }
                sequence.closing = false;
                sequence.extend(&self.trees, record.kept_paths.path(p), head.next);
                let popped = head.next.and_then(|next| record.pops.get(next.survivor));
                if let Some(&popped) = popped.filter(|&&popped| popped > 0) {
                    self.store.retract(id, popped)?;
                }
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
            sample: sequence.spec.samples[0],
            sequence: Some(sequence.id),
            retracted: 0,
            retracted_text: 0,
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
    /// None for a chunk of a prompt.
    next: Option<Next>,
}

/// What a kept path says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next {
    /// Which of the step's trees.
    tree: usize,
    /// The token after the path.
    token: Token,
    /// Which of the commit's survivors.
    survivor: usize,
}

impl Record {
    fn take_part(&mut self, head: Head) -> Option<Part> {
        self.parts.get_mut(head.next?.survivor)?.take()
    }
}

impl Sequence {
    fn extend(&mut self, trees: &Forest, path: &[u32], next: Option<Next>) {
        if let Some(Next { tree, token, .. }) = next {
            let tree = trees.tree(tree);
            let from = self.tokens.len();
            self.tokens.extend(path[1..].iter().map(|&node| tree.tokens[node as usize]));
            self.tokens.push(token);
            for &token in &self.tokens[from..] {
                self.states.advance(&self.spec.rules, token);
            }
        }
    }
}

//! Rows that wait for processors outside of this crate, and are settled one after the other.

use crate::request::RequestId;
use crate::retrace::Walk;
use crate::session::Session;
use crate::verify::{Halt, Verdict};
use draftwood_base::{Error, Result, Token};
use draftwood_logits::{RowResult, States, logprobs, mask};
use draftwood_sample::{Draw, RowFault};

/// A walk that stands at a node.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    /// Index into `scheduled`.
    pub scheduled: usize,
    pub sample: u32,
    pub first_row: usize,
    pub path: Vec<u32>,
    pub states: States,
    /// Takes the place of `path` and `states` in a text with backspace.
    pub walk: Option<Walk>,
}

impl Session {
    /// The sample whose row waits for processors outside of this crate. All must be settled before the commit.
    pub fn waiting(&self) -> Option<(RequestId, u32)> {
        let waiting = self.record.waiting.last()?;
        Some((self.running[self.scheduled[waiting.scheduled].at].request, waiting.sample))
    }

    /// Writes the row [V] that waits, after masks and own rules.
    ///
    /// # Errors
    /// [`Error::Internal`] if none waits, [`Error::InvalidArgument`] unless `out` has V values.
    pub fn write_waiting(&self, rows: &RowResult<'_>, out: &mut [f32]) -> Result<()> {
        let (waiting, row) = self.waiting_row(rows, out.len())?;
        let sequence = &self.running[self.scheduled[waiting.scheduled].at];
        let spec = &sequence.spec;
        out[..self.usable].copy_from_slice(&row[..self.usable]);
        out[self.usable..].fill(f32::NEG_INFINITY);
        if let Some(walk) = &waiting.walk {
            let (i, first_row) = (waiting.scheduled, waiting.first_row);
            self.write_walk(i, first_row, rows, walk, &mut out[..self.usable]);
            return Ok(());
        }
        mask(out, &self.holes);
        let ends: &[Token] = if spec.ignore_end { &[] } else { &self.config.end_tokens };
        if sequence.stats.new_tokens + (waiting.path.len() as u32) <= spec.min_new_tokens {
            mask(out, ends);
        }
        waiting.states.apply(&spec.rules, out, ends);
        Ok(())
    }

    /// Chooses the token of the row that waits from `row` [V], what the processors have made of it. Returns it, and
    /// whether the walk goes on below a drafted node, whose row waits then.
    ///
    /// # Errors
    /// As [`Session::write_waiting`].
    pub fn settle(&mut self, rows: &RowResult<'_>, row: &[f32]) -> Result<(Option<Token>, bool)> {
        if let Some(choice) = self.settle_walk(rows, row)? {
            return Ok(choice);
        }
        let (waiting, raw) = self.waiting_row(rows, row.len())?;
        let (i, depth) = (waiting.scheduled, waiting.path.len() as u32 - 1);
        let node = waiting.path.last().copied().unwrap_or(0);
        let sequence = &self.running[self.scheduled[i].at];
        let spec = &sequence.spec;
        let position = sequence.tokens.len() as u32 + depth;
        let draw = Draw { seed: spec.seed, sample: waiting.sample, position, slot: 0 };
        let choice = self.sampler.choose(&row[..self.usable], &spec.params, &draw);
        let Ok(choice) = choice else {
            self.close_waiting(choice.map(|choice| choice.token));
            return Ok((None, false));
        };
        if let Some(k) = spec.logprobs {
            let best = &mut self.scratch.best;
            self.record.chosen.push(logprobs(&raw[..self.usable], choice.token, k as usize, best));
            best.iter().for_each(|&pair| self.record.top.push(pair));
        }
        let is_end = !spec.ignore_end && self.config.end_tokens.contains(&choice.token);
        match self.trees.tree(i).child(node as usize, choice.token) {
            Some(child) if !is_end => {
                if let Some(waiting) = self.record.waiting.last_mut() {
                    waiting.path.push(child as u32);
                    waiting.states.advance(&spec.rules, choice.token);
                }
                Ok((Some(choice.token), true))
            }
            _ => {
                self.close_waiting(Ok(choice.token));
                Ok((Some(choice.token), false))
            }
        }
    }

    /// [`Session::settle`] for a text with backspace; nothing for another.
    fn settle_walk(&mut self, rows: &RowResult<'_>, row: &[f32]) -> Result<Option<(Option<Token>, bool)>> {
        self.waiting_row(rows, row.len())?;
        let waiting = self.record.waiting.last_mut();
        let Some((waiting, mut walk)) = waiting.and_then(|one| one.walk.take().map(|walk| (&*one, walk)))
        else {
            return Ok(None);
        };
        let (i, first_row) = (waiting.scheduled, waiting.first_row);
        let (token, end) = self.step_walk(i, first_row, rows, &mut walk, &row[..self.usable]);
        match end {
            Some(outcome) => {
                self.record.waiting.pop();
                self.end_walk(i, first_row, rows, &walk, outcome);
                Ok(Some((token, false)))
            }
            None => {
                if let Some(waiting) = self.record.waiting.last_mut() {
                    waiting.walk = Some(walk);
                }
                Ok(Some((token, true)))
            }
        }
    }

    /// Gives a sample up, whose row waits or was settled last: a processor has failed. It ends with `error`.
    pub fn refuse(&mut self, request: RequestId, sample: u32, error: Error) {
        if self.waiting() == Some((request, sample)) {
            self.close_waiting(Err(RowFault::AllMasked));
        }
        let (scheduled, running) = (&self.scheduled, &self.running);
        let mine =
            |v: &&mut Verdict| (running[scheduled[v.scheduled].at].request, v.sample) == (request, sample);
        if let Some(verdict) = self.record.verdicts.iter_mut().find(mine) {
            verdict.refused = Some(error);
        }
    }

    fn close_waiting(&mut self, outcome: std::result::Result<Token, RowFault>) {
        let record = &mut self.record;
        let Some(waiting) = record.waiting.pop() else { return };
        record.chosen.end_row();
        record.top.end_row();
        record.paths.extend_row(waiting.path.iter().copied());
        let Waiting { scheduled, sample, .. } = waiting;
        let rules = &self.running[self.scheduled[scheduled].at].spec.rules;
        let verdict = Verdict::new(scheduled, sample, outcome.map_err(Halt::Fault));
        record.verdicts.push(verdict.refused_by(rules));
    }

    fn waiting_row<'a>(&self, rows: &RowResult<'a>, len: usize) -> Result<(&Waiting, &'a [f32])> {
        let Some(waiting) = self.record.waiting.last() else {
            return Err(Error::Internal("no row waits for processors".into()));
        };
        let node = waiting.path.last().copied().unwrap_or(0) as usize;
        let vocab = self.config.vocab as usize;
        if waiting.first_row + node >= rows.rows() || len != vocab {
            return Err(Error::invalid("a processed row", format!("{vocab} values"), len, ""));
        }
        Ok((waiting, rows.row(waiting.first_row + node)))
    }
}

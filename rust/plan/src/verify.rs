//! From logit rows to chosen tokens.

use crate::commit::Head;
use crate::session::{Phase, Session};
use draftwood_base::{Error, Ragged, Result, SequenceId, Token};
use draftwood_logits::{RowResult, logprobs, mask};
use draftwood_sample::verify::walk;
use draftwood_sample::{Draw, RowFault};
use draftwood_store::Paths;
use draftwood_tree::Survivor;

/// The outcome of a step, one entry per sequence that was read.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub verdicts: Vec<Verdict>,
    /// Accepted nodes of each verdict, the root first.
    pub paths: Ragged<u32>,
    /// Log-probability of each chosen token of each verdict; empty rows when not asked for.
    pub chosen: Ragged<f32>,
    /// The best tokens of each visited row, k per chosen token.
    pub top: Ragged<(Token, f32)>,
    /// What goes on, filled by the commit.
    pub survivors: Vec<Survivor>,
    /// Paths on their way to the store, their nodes, and the ids that the store gave them.
    pub heads: Vec<Head>,
    pub kept_paths: Paths,
    pub ids: Vec<SequenceId>,
    /// Sequence of each survivor.
    pub kept: Vec<SequenceId>,
}

#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// Index into `scheduled`.
    pub scheduled: usize,
    pub outcome: std::result::Result<Token, RowFault>,
}

impl Session {
    /// Walks each tree from its root: one choice per visited node, down to the child that holds the chosen token
    /// (V1 when greedy, V2 when sampling: the choice never depends on the draft). Reads the rows of
    /// visited nodes only. A row that cannot be used ends its sequence, not the step.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the rows do not fit the plan, [`Error::Internal`] out of order.
    pub fn verify(&mut self, rows: &RowResult<'_>) -> Result<()> {
        let reservation = match std::mem::take(&mut self.phase) {
            Phase::Planned(reservation) => reservation,
            _ => return Err(Error::Internal("verify() must follow plan()".into())),
        };
        let RowResult::Full { rows: count, vocab: columns, .. } = rows;
        let (vocab, heads) = (self.config.vocab as usize, self.plan.head_rows.len());
        if (*count, *columns) != (heads, vocab) {
            return Err(Error::invalid(
                "the shape of the logits",
                format!("({heads}, {vocab}): one row per entry of plan.head_rows"),
                format!("({count}, {columns})"),
                "",
            ));
        }
        self.record.verdicts.clear();
        self.record.paths.clear();
        self.record.chosen.clear();
        self.record.top.clear();
        let mut first_row = 0;
        for i in 0..self.scheduled.len() {
            if self.scheduled[i].is_read() {
                self.walk_one(i, first_row, rows);
                first_row += self.trees.tree(i).len();
            }
        }
        self.phase = Phase::Verified(reservation);
        Ok(())
    }

    fn walk_one(&mut self, i: usize, first_row: usize, rows: &RowResult<'_>) {
        let sequence = &self.running[self.scheduled[i].at];
        let (spec, scratch, record) = (&sequence.spec, &mut self.scratch, &mut self.record);
        let (sampler, usable, holes) = (&mut self.sampler, self.usable, &self.holes);
        let ends: &[Token] = if spec.ignore_end { &[] } else { &self.config.end_tokens };
        let choose = |node: u32, depth: u32| {
            let row = &rows.row(first_row + node as usize)[..usable];
            let draw = Draw {
                seed: spec.seed,
                sample: spec.sample,
                position: sequence.tokens.len() as u32 + depth,
                slot: 0,
            };
            let held = sequence.stats.new_tokens + depth < spec.min_new_tokens;
            let choice = if holes.is_empty() && (!held || ends.is_empty()) {
                sampler.choose(row, &spec.params, &draw)
            } else {
                scratch.row.clear();
                scratch.row.extend_from_slice(row);
                mask(&mut scratch.row, holes);
                if held {
                    mask(&mut scratch.row, ends);
                }
                sampler.choose(&scratch.row, &spec.params, &draw)
            }?;
            if let Some(k) = spec.logprobs {
                let value = logprobs(row, choice.token, k as usize, &mut scratch.best);
                record.chosen.push(value);
                for &pair in &scratch.best {
                    record.top.push(pair);
                }
            }
            Ok(choice.token)
        };
        let walked = walk(self.trees.tree(i), choose, |token| ends.contains(&token), &mut scratch.path);
        record.chosen.end_row();
        record.top.end_row();
        record.paths.extend_row(scratch.path.iter().copied());
        record.verdicts.push(Verdict { scheduled: i, outcome: walked.map(|walk| walk.next_token) });
    }
}

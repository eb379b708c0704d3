//! From logit rows to chosen tokens.

use crate::commit::Head;
use crate::decide::Part;
use crate::request::RequestId;
use crate::retrace::Walk;
use crate::session::{Phase, Session};
use crate::waiting::Waiting;
use draftwood_base::{Error, Ragged, Result, SequenceId, Token};
use draftwood_logits::{AnyProcessor, RowResult, States, logprobs, mask};
use draftwood_sample::verify::walk;
use draftwood_sample::{Draw, RowFault};
use draftwood_store::Paths;
use draftwood_tree::Survivor;
use std::ops::Range;

/// The outcome of a step, one entry per sample of each sequence that was read.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub verdicts: Vec<Verdict>,
    /// Accepted nodes of each verdict, the root first.
    pub paths: Ragged<u32>,
    /// Log-probability of each chosen token of each verdict; empty rows when not asked for.
    pub chosen: Ragged<f32>,
    /// The best tokens of each visited row, k per chosen token.
    pub top: Ragged<(Token, f32)>,
    /// Of texts with backspace: what they chose, and the rows of their paths.
    pub actions: Vec<Token>,
    pub rows: Vec<f32>,
    /// What goes on, filled by the commit; the rows that each takes back, and the texts of samples that part in this step.
    pub survivors: Vec<Survivor>,
    pub pops: Vec<u32>,
    pub parts: Vec<Option<Part>>,
    /// Paths on their way to the store, their nodes, and the ids that the store gave them.
    pub heads: Vec<Head>,
    pub kept_paths: Paths,
    pub ids: Vec<SequenceId>,
    /// Sequence of each survivor.
    pub kept: Vec<SequenceId>,
    /// Sequences whose rows wait for processors outside of this crate, the next one last.
    pub waiting: Vec<Waiting>,
}

#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// Index into `scheduled`.
    pub scheduled: usize,
    /// Which of the sequence's samples; several while they share the prompt.
    pub sample: u32,
    pub outcome: std::result::Result<Token, Halt>,
    /// What a processor outside of this crate has raised.
    pub refused: Option<Error>,
    /// Tokens of the text that are taken back; nothing of the tree is accepted then.
    pub popped: u32,
    /// What a text with backspace has chosen, in [`Record::actions`], and the rows of its path, in [`Record::rows`].
    pub actions: Range<usize>,
    pub rows: Range<usize>,
}

impl Verdict {
    pub fn new(scheduled: usize, sample: u32, outcome: std::result::Result<Token, Halt>) -> Self {
        Self { scheduled, sample, outcome, refused: None, popped: 0, actions: 0..0, rows: 0..0 }
    }

    /// The same, refused if one of the rules that it obeyed has failed.
    pub fn refused_by(self, rules: &[AnyProcessor]) -> Self {
        Self { refused: AnyProcessor::check(rules).err(), ..self }
    }
}

/// Why a walk ends without a token.
#[derive(Debug, Clone)]
pub(crate) enum Halt {
    Fault(RowFault),
    /// A greedy text is where it has been before.
    Loop,
    /// No action is left.
    Spent,
}

/// What the executor says of the rows that are read.
enum Answers<'a> {
    Full(&'a RowResult<'a>),
    Best(&'a [i32]),
}

/// The greedy choice that a pair of [`Session::verify_best`] stands for.
fn of_best(token: i32, fault: i32) -> std::result::Result<Token, RowFault> {
    match (Token::try_from(fault), Token::try_from(token)) {
        (Ok(token), _) => Err(RowFault::NotFinite { token }),
        (_, Ok(token)) => Ok(token),
        _ => Err(RowFault::AllMasked),
    }
}

impl Session {
    /// Walks each tree from its root: one choice per visited node, down to the child that holds the chosen token
    /// (V1 when greedy, V2 when sampling: the choice never depends on the draft). Reads the rows of
    /// visited nodes only. A row that cannot be used ends its sequence, not the step.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the rows do not fit the plan, [`Error::Internal`] out of order.
    pub fn verify(&mut self, rows: &RowResult<'_>) -> Result<()> {
        let RowResult::Full { rows: count, vocab: columns, .. } = rows;
        let (vocab, heads) = (self.config.vocab as usize, self.plan.head_rows.len());
        let is_right = (*count, *columns) == (heads, vocab);
        self.verify_answers(&Answers::Full(rows), is_right, || {
            let expected = format!("({heads}, {vocab}): one row per entry of plan.head_rows");
            Error::invalid("the shape of the logits", expected, format!("({count}, {columns})"), "")
        })
    }

    /// Whether this step asks of its rows nothing but their largest logits, so that [`Session::verify_best`] will do: all
    /// its texts are greedy, without rules, log-probabilities or forced tokens, and every id is a token.
    pub fn wants_best(&self) -> bool {
        self.holes.is_empty()
            && self.usable == self.config.vocab as usize
            && self.scheduled.iter().filter(|s| s.is_read()).all(|s| {
                let sequence = &self.running[s.at];
                let spec = &sequence.spec;
                spec.params.is_greedy()
                    && spec.logprobs.is_none()
                    && spec.rules.is_empty()
                    && spec.backspace.is_none()
                    && !spec.foreign
                    && !s.is_forced
                    && sequence.stats.new_tokens >= spec.min_new_tokens
            })
    }

    /// [`Session::verify`] of a step that [`Session::wants_best`]: of each row that is read the token of its largest logit
    /// (ties to the lowest id; −1 if all are −inf), and the first token whose logit is NaN or +inf, or −1: [R'][2].
    ///
    /// # Errors
    /// As [`Session::verify`], and [`Error::Internal`] for a step that wants more.
    pub fn verify_best(&mut self, best: &[i32]) -> Result<()> {
        if !self.wants_best() {
            return Err(Error::Internal("verify_best() of a step that wants logits".into()));
        }
        let (vocab, heads) = (self.config.vocab as i32, self.plan.head_rows.len());
        let is_right = best.len() == 2 * heads && best.iter().all(|token| (-1..vocab).contains(token));
        self.verify_answers(&Answers::Best(best), is_right, || {
            let expected = format!("{heads} pairs of −1 … {}", vocab - 1);
            Error::invalid("the best tokens", expected, format!("{} values", best.len()), "")
        })
    }

    fn verify_answers(
        &mut self,
        rows: &Answers<'_>,
        is_right: bool,
        error: impl FnOnce() -> Error,
    ) -> Result<()> {
        let reservation = match std::mem::take(&mut self.phase) {
            Phase::Planned(reservation) => reservation,
            _ => return Err(Error::Internal("verify() must follow plan()".into())),
        };
        if !is_right {
            return Err(error());
        }
        self.record.verdicts.clear();
        self.record.paths.clear();
        self.record.chosen.clear();
        self.record.top.clear();
        self.record.actions.clear();
        self.record.rows.clear();
        self.record.waiting.clear();
        let mut first_row = 0;
        for i in 0..self.scheduled.len() {
            if self.scheduled[i].is_read() {
                let at = self.scheduled[i].at;
                for s in 0..self.running[at].spec.samples.len() {
                    let sequence = &self.running[at];
                    let sample = sequence.spec.samples[s];
                    if sequence.spec.foreign {
                        let states = sequence.states.clone();
                        let path = vec![0];
                        let walk = sequence.past.is_some().then(|| Walk::new(sequence, sample));
                        self.record.waiting.push(Waiting {
                            scheduled: i,
                            sample,
                            first_row,
                            path,
                            states,
                            walk,
                        });
                    } else if let (true, Answers::Full(full)) = (sequence.past.is_some(), rows) {
                        self.walk_back(i, sample, first_row, full);
                    } else {
                        self.walk_one(i, sample, first_row, rows);
                    }
                }
                first_row += self.trees.tree(i).len();
            }
        }
        self.phase = Phase::Verified(reservation);
        Ok(())
    }

    fn walk_one(&mut self, i: usize, sample: u32, first_row: usize, rows: &Answers<'_>) {
        let sequence = &self.running[self.scheduled[i].at];
        let (spec, scratch, record) = (&sequence.spec, &mut self.scratch, &mut self.record);
        let (sampler, usable, holes) = (&mut self.sampler, self.usable, &self.holes);
        let ends: &[Token] = if spec.ignore_end { &[] } else { &self.config.end_tokens };
        let (tree, rules) = (self.trees.tree(i), &spec.rules[..]);
        let mut states = if rules.is_empty() { States::default() } else { sequence.states.clone() };
        let choose = |node: u32, depth: u32| {
            let at = first_row + node as usize;
            let row = match rows {
                Answers::Full(rows) => &rows.row(at)[..usable],
                Answers::Best(best) => return of_best(best[2 * at], best[2 * at + 1]),
            };
            if depth > 0 {
                states.advance(rules, tree.tokens[node as usize]);
            }
            let draw =
                Draw { seed: spec.seed, sample, position: sequence.tokens.len() as u32 + depth, slot: 0 };
            let held = sequence.stats.new_tokens + depth < spec.min_new_tokens;
            let choice = if rules.is_empty() && holes.is_empty() && (!held || ends.is_empty()) {
                sampler.choose(row, &spec.params, &draw)
            } else {
                scratch.row.clear();
                scratch.row.extend_from_slice(row);
                mask(&mut scratch.row, holes);
                if held {
                    mask(&mut scratch.row, ends);
                }
                states.apply(rules, &mut scratch.row, ends);
                sampler.choose(&scratch.row, &spec.params, &draw)
            }?;
            let token = sequence.forced().get(depth as usize).copied().unwrap_or(choice.token);
            if let Some(k) = spec.logprobs {
                let value = logprobs(row, token, k as usize, &mut scratch.best);
                record.chosen.push(value);
                for &pair in &scratch.best {
                    record.top.push(pair);
                }
            }
            Ok(token)
        };
        let walked = walk(tree, choose, |token| ends.contains(&token), &mut scratch.path);
        record.chosen.end_row();
        record.top.end_row();
        record.paths.extend_row(scratch.path.iter().copied());
        let outcome = walked.map(|walk| walk.next_token).map_err(Halt::Fault);
        record.verdicts.push(Verdict::new(i, sample, outcome).refused_by(rules));
    }

    /// Of each sample that was read, the visited rows, root first, as indices into `plan.head_rows`: appended to `rows`,
    /// (request, sample) to `texts`. Valid between [`Session::verify`] and the commit.
    pub fn visited(&self, texts: &mut Vec<(RequestId, u32)>, rows: &mut Ragged<u32>) {
        for (v, verdict) in self.record.verdicts.iter().enumerate() {
            let before = (0..verdict.scheduled).filter(|&i| self.scheduled[i].is_read());
            let first: u32 = before.map(|i| self.trees.tree(i).len() as u32).sum();
            let sequence = &self.running[self.scheduled[verdict.scheduled].at];
            texts.push((sequence.request, verdict.sample));
            rows.extend_row(self.record.paths.row(v).iter().map(|node| first + node));
        }
    }
}

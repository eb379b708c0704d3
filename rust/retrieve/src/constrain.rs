//! One step of a search that may only say what the corpus says.

use crate::index::{Followers, Group, Rows};
use draftwood_base::{Error, Result, Token};
use draftwood_logits::Peaks;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Rows of a beam up to which its followers are listed instead of the model's tokens tested: about 4 µs.
pub const SCANNED_ROWS: u64 = 1024;
/// Tokens taken from a row of log-probabilities at first; four times as many when they do not last.
const FIRST: usize = 64;
/// Tokens tested at once.
const BATCH: usize = 16;
/// Tests of a beam in vain, after which its followers are listed.
pub(crate) const PATIENCE: usize = 256;

/// What a step asks of an index, part by part; a benchmark stands in between.
pub trait Answers {
    /// Number of parts.
    fn parts(&self) -> usize;
    /// As [`Index::children`](crate::index::Index::children).
    ///
    /// # Errors
    /// As there.
    fn children(&self, part: usize, rows: Rows, ids: &[Token], out: &mut Vec<Rows>) -> Result<()>;
    /// As [`Index::next`](crate::index::Index::next).
    ///
    /// # Errors
    /// As there.
    fn next(&self, part: usize, rows: Rows, out: &mut Followers) -> Result<()>;
    /// As [`Index::extend`](crate::index::Index::extend).
    ///
    /// # Errors
    /// As there.
    fn extend(&self, part: usize, rows: Rows, id: Token) -> Result<Rows>;
    /// As [`Index::document_ends`](crate::index::Index::document_ends).
    ///
    /// # Errors
    /// As there.
    fn document_ends(&self, part: usize, rows: Rows) -> Result<u32>;
}

impl Answers for Group {
    fn parts(&self) -> usize {
        self.parts().len()
    }

    fn children(&self, part: usize, rows: Rows, ids: &[Token], out: &mut Vec<Rows>) -> Result<()> {
        self.parts()[part].children(rows, ids, out)
    }

    fn next(&self, part: usize, rows: Rows, out: &mut Followers) -> Result<()> {
        self.parts()[part].next(rows, out)
    }

    fn extend(&self, part: usize, rows: Rows, id: Token) -> Result<Rows> {
        self.parts()[part].extend(rows, id)
    }

    fn document_ends(&self, part: usize, rows: Rows) -> Result<u32> {
        self.parts()[part].document_ends(rows)
    }
}

/// A continuation that the corpus allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The beam that it continues.
    pub beam: u32,
    /// Its token.
    pub token: Token,
    /// Score of the beam plus log-probability of the token.
    pub score: f32,
}

/// The best allowed continuations of several beams, exactly those of a top-k over masked scores, without a mask: the
/// model's likeliest tokens are tested one after the other, or the followers of a rare n-gram listed (SEAL, arXiv
/// 2204.10628, in time that does not depend on the vocabulary). Keeps its buffers from step to step.
#[derive(Debug)]
pub struct Constrained {
    scanned_rows: u64,
    beams: Vec<Beam>,
    followers: Followers,
    top: Vec<(Token, f32)>,
    ids: Vec<Token>,
    children: Vec<Rows>,
    heap: BinaryHeap<Next>,
    candidates: Vec<Candidate>,
    rows: Vec<Rows>,
}

/// What the step reads: `parts` rows per beam (as [`Group::find`] gives them), a score per beam, and log-probabilities
/// [beams, vocab], where −∞ and NaN are never candidates.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Rows of each beam's n-gram, part by part.
    pub rows: &'a [Rows],
    /// Scores of the beams.
    pub scores: &'a [f32],
    /// Log-probabilities of the next token, beam by beam.
    pub log_probs: &'a [f32],
    /// The token that ends a text: allowed where the n-gram ends a document.
    pub end: Option<Token>,
    /// Most candidates.
    pub k: usize,
}

impl Default for Constrained {
    fn default() -> Self {
        Self::new(SCANNED_ROWS)
    }
}

impl Constrained {
    /// With another limit than [`SCANNED_ROWS`]; it changes the time, not the answer.
    pub fn new(scanned_rows: u64) -> Self {
        Self {
            scanned_rows,
            beams: Vec::new(),
            followers: Followers::default(),
            top: Vec::new(),
            ids: Vec::new(),
            children: Vec::new(),
            heap: BinaryHeap::new(),
            candidates: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// The candidates of the last step, best first; of equal scores the lower beam, then the lower token.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The rows of the last step's candidates, `parts` for each; empty ones after the end token.
    pub fn rows(&self) -> &[Rows] {
        &self.rows
    }

    /// Finds the best `step.k` candidates.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for arrays whose sizes do not fit each other; as [`crate::index::Index::extend`].
    pub fn step(&mut self, index: &impl Answers, step: Step<'_>) -> Result<()> {
        let (parts, beams) = (index.parts(), step.scores.len());
        self.candidates.clear();
        self.rows.clear();
        self.heap.clear();
        if step.rows.len() != beams * parts {
            let expected = format!("{beams} beams × {parts} indexes");
            return Err(Error::invalid("the number of rows", expected, step.rows.len(), ""));
        }
        if beams == 0 {
            return Ok(());
        }
        if !step.log_probs.len().is_multiple_of(beams) {
            let expected = format!("a multiple of {beams}, the number of beams");
            return Err(Error::invalid(
                "the number of log-probabilities",
                expected,
                step.log_probs.len(),
                "",
            ));
        }
        self.beams.resize_with(beams.max(self.beams.len()), Beam::default);
        for beam in 0..beams {
            self.beams[beam].begin();
            self.advance(index, step, beam)?;
        }
        while self.candidates.len() < step.k {
            let Some(Next { score, beam, token }) = self.heap.pop() else { break };
            self.candidates.push(Candidate { beam, token, score });
            let beam = beam as usize;
            let ready = &mut self.beams[beam];
            if ready.listed {
                let from = &step.rows[beam * parts..(beam + 1) * parts];
                for (part, &rows) in from.iter().enumerate() {
                    self.rows.push(index.extend(part, rows, token)?);
                }
            } else {
                let at = (ready.next - 1) * parts;
                self.rows.extend_from_slice(&ready.rows[at..at + parts]);
            }
            self.advance(index, step, beam)?;
        }
        Ok(())
    }

    /// Puts the beam's next candidate into the heap, if it has one.
    fn advance(&mut self, index: &impl Answers, step: Step<'_>, beam: usize) -> Result<()> {
        let ready = &self.beams[beam];
        if ready.next == ready.found.len() && !ready.listed {
            self.refill(index, step, beam)?;
        }
        let ready = &mut self.beams[beam];
        if let Some(&(token, score)) = ready.found.get(ready.next) {
            ready.next += 1;
            self.heap.push(Next { score, beam: beam as u32, token });
        }
        Ok(())
    }

    /// Tests the beam's next tokens until one is allowed, or lists its followers when they are few or hard to hit.
    fn refill(&mut self, index: &impl Answers, step: Step<'_>, beam: usize) -> Result<()> {
        let parts = index.parts();
        let from = &step.rows[beam * parts..(beam + 1) * parts];
        let vocab = step.log_probs.len() / step.scores.len();
        let log_probs = &step.log_probs[beam * vocab..(beam + 1) * vocab];
        let count: u64 = from.iter().map(|rows| u64::from(rows.count())).sum();
        let Self { beams, followers, top, ids, children, scanned_rows, .. } = self;
        let ready = &mut beams[beam];
        ready.next = 0;
        ready.found.clear();
        ready.rows.clear();
        while count > *scanned_rows && ready.failed < PATIENCE {
            let batch = ready.likeliest(log_probs, step.scores[beam], top);
            if batch.is_empty() {
                return Ok(());
            }
            ready.tested = batch.end;
            ids.clear();
            ids.extend(ready.likely[batch.clone()].iter().map(|entry| entry.0));
            children.clear();
            for (part, &rows) in from.iter().enumerate() {
                index.children(part, rows, ids, children)?;
            }
            for i in 0..batch.len() {
                let (token, score) = ready.likely[batch.start + i];
                let each = || (0..parts).map(|part| children[part * batch.len() + i]);
                let ends = step.end == Some(token) && document_ends(index, from)?;
                if ends || each().any(|rows| !rows.is_empty()) {
                    ready.found.push((token, score));
                    ready.rows.extend(each());
                }
            }
            if !ready.found.is_empty() {
                ready.failed = 0;
                return Ok(());
            }
            ready.failed += batch.len();
        }
        ready.listed = true;
        let tested = ready.tested.checked_sub(1).map(|last| ready.likely[last]);
        let mut list = |token: Token| {
            let log_prob = log_probs.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
            let entry = (token, step.scores[beam] + log_prob);
            if log_prob > f32::NEG_INFINITY && tested.is_none_or(|last| order(&last, &entry).is_lt()) {
                ready.found.push(entry);
            }
        };
        for (part, &rows) in from.iter().enumerate() {
            index.next(part, rows, followers)?;
            followers.ids().iter().for_each(|&token| list(token));
        }
        if let Some(end) = step.end
            && document_ends(index, from)?
        {
            list(end);
        }
        ready.found.sort_unstable_by(order);
        ready.found.dedup_by_key(|entry| entry.0);
        Ok(())
    }
}

fn document_ends(index: &impl Answers, rows: &[Rows]) -> Result<bool> {
    for (part, &rows) in rows.iter().enumerate() {
        if index.document_ends(part, rows)? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Highest score first, of equals the lower token.
fn order(a: &(Token, f32), b: &(Token, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// One beam's tokens on their way to the heap.
#[derive(Debug, Default)]
struct Beam {
    /// Of its row, once tokens are tested.
    peaks: Peaks,
    /// The row's best tokens with the beam's score added, in [`order`].
    likely: Vec<(Token, f32)>,
    /// Those of `likely` whose place in the order is certain.
    certain: usize,
    tested: usize,
    /// Tests in vain since the last candidate.
    failed: usize,
    /// Allowed tokens that wait, and their rows unless they were listed.
    found: Vec<(Token, f32)>,
    rows: Vec<Rows>,
    next: usize,
    listed: bool,
}

impl Beam {
    fn begin(&mut self) {
        self.likely.clear();
        self.found.clear();
        self.rows.clear();
        (self.certain, self.tested, self.failed, self.next, self.listed) = (0, 0, 0, 0, false);
    }

    /// Which of `likely` come next, at most [`BATCH`]; takes more of the row when their place is not certain.
    fn likeliest(&mut self, log_probs: &[f32], score: f32, top: &mut Vec<(Token, f32)>) -> Range<usize> {
        let mut wanted = self.likely.len() * 4;
        if self.likely.is_empty() {
            self.peaks.read(log_probs);
            wanted = FIRST;
        }
        while self.tested == self.certain && (self.likely.is_empty() || self.likely.len() < log_probs.len()) {
            top.clear();
            self.peaks.top_k(log_probs, wanted.min(log_probs.len()), top);
            top.retain(|&(_, log_prob)| log_prob > f32::NEG_INFINITY);
            let all = top.len() < wanted || wanted >= log_probs.len();
            self.likely.clear();
            self.likely.extend(top.iter().map(|&(token, log_prob)| (token, score + log_prob)));
            // Adding the score may round different log-probabilities to one value: then the lower token comes first.
            self.likely.sort_unstable_by(order);
            let last = self.likely.last().map_or(f32::NEG_INFINITY, |entry| entry.1);
            self.certain = match all {
                true => self.likely.len(),
                // What was left out may equal the last value.
                false => self.likely.partition_point(|entry| entry.1 > last),
            };
            if all {
                break;
            }
            wanted *= 4;
        }
        self.tested..self.certain.min(self.tested + BATCH)
    }
}

/// A candidate in the heap.
#[derive(Debug)]
struct Next {
    score: f32,
    beam: u32,
    token: Token,
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then((other.beam, other.token).cmp(&(self.beam, self.token)))
    }
}
impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Next {}

//! Log-probabilities of given n-grams, several at once.

use crate::corpus_search::Onward;
use crate::log_rows::BeamRows;
use draftwood_base::{Error, Result, Token};

/// Reads n-grams after one prompt as a search whose choices are given: n-grams share their common beginnings, a level
/// at a time.
#[derive(Debug)]
pub struct KeyScorer {
    keys: Vec<Vec<Token>>,
    /// Keys in the order of their tokens.
    order: Vec<u32>,
    scores: Vec<f32>,
    /// Per live beam: which of `order` begin with its tokens.
    live: Vec<(usize, usize)>,
    depth: usize,
    onward: Vec<Onward>,
}

impl KeyScorer {
    /// A scorer that has read nothing: one beam.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no keys or an empty one.
    pub fn new(keys: Vec<Vec<Token>>) -> Result<Self> {
        if keys.is_empty() || keys.iter().any(Vec::is_empty) {
            return Err(Error::invalid(
                "the keys to score",
                "at least one, of at least one token",
                "none",
                "",
            ));
        }
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        order.sort_by(|&a, &b| keys[a as usize].cmp(&keys[b as usize]));
        let (scores, live) = (vec![0.0; keys.len()], vec![(0, keys.len())]);
        Ok(Self { keys, order, scores, live, depth: 0, onward: Vec::new() })
    }

    /// Number of live beams.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Whether every key has been read.
    pub fn is_done(&self) -> bool {
        self.live.is_empty()
    }

    /// The log-probability of each key; complete once the scorer is done. Sums of f32 in token order, as in a search.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Reads the rows of the live beams and tells which go on.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for another number of rows than beams, or rows with NaN or +∞.
    pub fn step(&mut self, rows: BeamRows<'_>) -> Result<&[Onward]> {
        rows.check(self.live.len())?;
        let checked = (0..self.live.len()).map(|beam| rows.row(beam)).collect::<Result<Vec<_>>>()?;
        self.onward.clear();
        let mut live = Vec::new();
        for (beam, row) in checked.into_iter().enumerate() {
            let (mut from, end) = self.live[beam];
            while from < end {
                let token = self.key(from)[self.depth];
                let to = from
                    + self.order[from..end]
                        .partition_point(|&key| self.keys[key as usize][self.depth] <= token);
                let log_prob = row.of(token);
                for &key in &self.order[from..to] {
                    self.scores[key as usize] += log_prob;
                }
                let longer = (from..to).find(|&i| self.key(i).len() > self.depth + 1).unwrap_or(to);
                if longer < to {
                    live.push((longer, to));
                    let score = self.scores[self.order[longer] as usize];
                    self.onward.push(Onward { beam: beam as u32, token, score });
                }
                from = to;
            }
        }
        self.live = live;
        self.depth += 1;
        Ok(&self.onward)
    }

    fn key(&self, i: usize) -> &[Token] {
        &self.keys[self.order[i] as usize]
    }
}

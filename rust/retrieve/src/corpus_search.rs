//! A beam search that says only what a corpus says, and remembers everything that it considered (SEAL).

use crate::constrain::{Constrained, Step};
use crate::index::{Group, Rows};
use crate::log_rows::BeamRows;
use draftwood_base::{Error, Result, Token};

/// What a [`CorpusSearch`] looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusSearchConfig {
    /// Most live beams; twice as many candidates are remembered per step.
    pub beam: usize,
    /// Most tokens of an n-gram.
    pub length: usize,
    /// Whether n-grams begin where documents do.
    pub anchored: bool,
    /// N-grams that end with these tokens are complete and not continued; empty for none.
    pub title_end: Vec<Token>,
    /// The model's end token: allowed where a document ends.
    pub end: Option<Token>,
    /// N-grams that occur so often or more rarely are not continued.
    pub stop_at_count: u64,
    /// As the paper's code has it, the start of the last document cannot be reached.
    pub without_last_document: bool,
}

/// An n-gram that was considered.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its tokens.
    pub ids: Vec<Token>,
    /// Sum of the model's log-probabilities along it.
    pub log_prob: f32,
    /// How often it occurs (at the start of documents, if anchored).
    pub count: u64,
    /// Whether it ends a title.
    pub is_complete: bool,
}

/// A beam that goes on: out of which one, with which token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Onward {
    /// The beam of the step before.
    pub beam: u32,
    /// Its new token.
    pub token: Token,
    /// Its score.
    pub score: f32,
}

/// The search of one prompt. It is fed one row per live beam and knows no cache.
///
/// Nothing is renormalised: the score is the sum of the log-probabilities that the unconstrained model gives. Every step
/// remembers the best `2 · beam` allowed continuations, whether they go on or not.
#[derive(Debug)]
pub struct CorpusSearch {
    config: CorpusSearchConfig,
    constrained: Constrained,
    nodes: Vec<Node>,
    live: Vec<Live>,
    rows: Vec<Rows>,
    depth: usize,
    first: Vec<f32>,
    log_probs: Vec<f32>,
    scores: Vec<f32>,
    onward: Vec<Onward>,
    /// The first tokens of the last document, where they cannot be reached.
    last: Vec<Token>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    parent: Option<u32>,
    token: Token,
    log_prob: f32,
    count: u64,
    is_complete: bool,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    node: Option<u32>,
    score: f32,
}

impl CorpusSearch {
    /// A search that has read nothing: one beam, the empty n-gram.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no beams or no length; as [`Group::find`].
    pub fn new(index: &Group, config: CorpusSearchConfig) -> Result<Self> {
        for (what, value) in [("beam", config.beam), ("length", config.length)] {
            if value == 0 {
                return Err(Error::invalid(what, "at least 1", 0, ""));
            }
        }
        let (mut last, mut rows) = (Vec::new(), Vec::new());
        if let Some(document) = index.documents().checked_sub(1)
            && config.without_last_document
            && config.anchored
        {
            index.needs_places("leaving the last document out")?;
            index.extract(document, 0, u32::try_from(config.length).unwrap_or(u32::MAX), &mut last)?;
        }
        index.find(&[], config.anchored, &mut rows)?;
        Ok(Self {
            constrained: Constrained::default(),
            nodes: Vec::new(),
            live: vec![Live { node: None, score: 0.0 }],
            rows,
            depth: 0,
            first: Vec::new(),
            log_probs: Vec::new(),
            scores: Vec::new(),
            onward: Vec::new(),
            last,
            config,
        })
    }

    /// Number of live beams.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Whether the search has ended.
    pub fn is_done(&self) -> bool {
        self.live.is_empty()
    }

    /// The log-probabilities [V] of the first token; empty before the first step.
    pub fn first(&self) -> &[f32] {
        &self.first
    }

    /// Moves every beam on by one token and tells which go on, best first; none after the last step.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for another number of rows than beams, or rows with NaN or +∞; as
    /// [`Constrained::step`]. The search is then as it was.
    pub fn step(&mut self, index: &Group, rows: BeamRows<'_>) -> Result<&[Onward]> {
        rows.check(self.live.len())?;
        rows.write(&mut self.log_probs)?;
        self.scores.clear();
        self.scores.extend(self.live.iter().map(|beam| beam.score));
        let hidden = usize::from(!self.last.is_empty());
        self.constrained.step(
            index,
            Step {
                rows: &self.rows,
                scores: &self.scores,
                log_probs: &self.log_probs,
                end: self.config.end,
                k: 2 * self.config.beam + hidden,
            },
        )?;
        if self.depth == 0 {
            self.first.clone_from(&self.log_probs);
        }
        self.depth += 1;
        self.keep(index.parts().len());
        Ok(&self.onward)
    }

    /// Remembers the candidates of the step and chooses the beams that go on.
    fn keep(&mut self, parts: usize) {
        let (mut live, mut rows, mut taken) = (Vec::new(), Vec::new(), 0);
        self.onward.clear();
        for (i, candidate) in self.constrained.candidates().iter().enumerate() {
            let parent = self.live[candidate.beam as usize].node;
            let its = &self.constrained.rows()[i * parts..(i + 1) * parts];
            let mut count = its.iter().map(|rows| u64::from(rows.count())).sum::<u64>();
            if count > 0 && self.depth <= self.last.len() && self.is_last(parent, candidate.token) {
                count -= 1;
            }
            let ends = self.config.end == Some(candidate.token);
            if taken == 2 * self.config.beam || (count == 0 && !ends) {
                continue;
            }
            taken += 1;
            // An end adds nothing to the n-gram before it, which is remembered already.
            if ends {
                continue;
            }
            let is_complete = self.completes(parent, candidate.token);
            let node = Some(self.nodes.len() as u32);
            let Onward { beam, token, score } =
                Onward { beam: candidate.beam, token: candidate.token, score: candidate.score };
            self.nodes.push(Node { parent, token, log_prob: score, count, is_complete });
            let goes_on =
                !is_complete && count > self.config.stop_at_count && self.depth < self.config.length;
            if goes_on && live.len() < self.config.beam {
                live.push(Live { node, score });
                rows.extend_from_slice(its);
                self.onward.push(Onward { beam, token, score });
            }
        }
        (self.live, self.rows) = (live, rows);
    }

    /// The tokens of a node, last first.
    fn back(&self, node: Option<u32>) -> impl Iterator<Item = Token> {
        let mut at = node;
        std::iter::from_fn(move || {
            let node = self.nodes[at? as usize];
            at = node.parent;
            Some(node.token)
        })
    }

    fn completes(&self, parent: Option<u32>, token: Token) -> bool {
        let end = &self.config.title_end;
        let path = std::iter::once(token).chain(self.back(parent));
        !end.is_empty() && self.depth > end.len() && end.iter().rev().copied().eq(path.take(end.len()))
    }

    /// Whether the n-gram begins the last document.
    fn is_last(&self, parent: Option<u32>, token: Token) -> bool {
        let path = std::iter::once(token).chain(self.back(parent));
        self.last[..self.depth].iter().rev().copied().eq(path)
    }

    /// Everything that was considered, in the order of the steps, best first within one.
    pub fn found(&self) -> Vec<Found> {
        let found = |(i, node): (usize, &Node)| {
            let mut ids: Vec<Token> = self.back(Some(i as u32)).collect();
            ids.reverse();
            Found { ids, log_prob: node.log_prob, count: node.count, is_complete: node.is_complete }
        };
        self.nodes.iter().enumerate().map(found).collect()
    }
}

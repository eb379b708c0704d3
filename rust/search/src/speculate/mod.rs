//! Speculative beams: several steps of a beam search from one forward.
//!
//! A plan holds, besides the rows of the live beams, rows of texts that they may become. After the forward, steps of the
//! search are **replayed** while the rows of all beams are known, so the search sees the very rows that it would have
//! seen one step at a time, and finds the same texts with the same scores.
//!
//! Drafts obey the rules of the search (`obey.rs`). Three things make it pay. Rows that were computed below a beam that
//! goes on are **kept**, with their place in the cache. One **draft beam** shares out a budget of rows over all beams
//! (`draft.rs`). And a row that is missing is not needed if its beam cannot go on anyway
//! ([`crate::BeamSearch::step_known`]).
//!
//! The cache sees **lanes**: texts of a session, each the path to one node. The rows of a step hang below the tips of
//! lanes; a lane without rows waits, because something below a beam has been computed there (`lanes.rs`).

mod costs;
mod draft;
mod kept;
mod lanes;
mod nodes;
mod obey;
mod predict;

use crate::{BeamSearch, Rows, TokenSet};
use costs::Hits;
pub use costs::StepCosts;
use draftwood_base::{Error, Result, Token};
use draftwood_logits::RowResult;
use kept::Kept;
pub use lanes::LaneChange;
use lanes::{Desired, Lane};
use nodes::{NIL, Nodes, Row};
use obey::Rules;
use predict::{LONGEST, Predictor};
use rustc_hash::FxHashMap;

/// What has been computed and guessed of one search's texts. It follows a [`BeamSearch`] from its first step.
///
/// Shapes: lanes: most texts of the session at once, at least B.
///
/// Cost: O(budget · B) per step besides the search's own, one pass over each row that is new, and V floats for each row
/// that is kept, at most 2 · budget + B of them.
#[derive(Debug)]
pub struct Speculation {
    nodes: Nodes,
    predictor: Predictor,
    width: usize,
    most_lanes: usize,
    /// Most tokens of a text.
    limit: u32,
    ends: Vec<Token>,
    banned: TokenSet,
    /// Node of each live beam.
    live: Vec<u32>,
    lanes: Vec<Lane>,
    /// Nodes whose row is known.
    known: Vec<u32>,
    kept: Kept,
    /// The likeliest tokens of nodes whose row is known.
    tops: FxHashMap<u32, Vec<(Token, f32)>>,
    /// Nodes of the top beam down to this one have taught the predictor.
    learned: u32,
    epoch: u32,
    desired: Vec<Desired>,
    order: Vec<u32>,
    /// Rows of the last draft beyond those of live beams.
    drafted: u32,
    /// Nodes of the last draft below the live beams, whether they were forwarded or not, and the depth of the last level.
    guesses: Vec<u32>,
    guessed_depth: u32,
    hits: Hits,
}

/// What a step has come to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Advance {
    /// Steps of the search.
    pub steps: u32,
    /// (lane, drafted node, next token) of each path that goes on.
    pub survivors: Vec<(u32, u32, Token)>,
    /// Lanes that were no part of the forward and end.
    pub closed: Vec<u32>,
    /// Rows of the forward that were drafts.
    pub drafted: u32,
}

/// How much a step drafts.
#[derive(Debug, Clone, Copy)]
pub struct Budget<'a> {
    /// Most rows of a search in a step.
    pub most: usize,
    /// What steps cost; without it, as many rows as there may be.
    pub costs: Option<&'a StepCosts>,
    /// Searches that share the step.
    pub searches: usize,
}

impl Speculation {
    /// Nothing is known yet: the one lane, `sequence`, has the prompt but for its last token.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty prompt or fewer lanes than beams.
    pub fn new(search: &BeamSearch, prompt: &[Token], lanes: usize, sequence: u32) -> Result<Self> {
        let config = search.config();
        if prompt.is_empty() || lanes < config.num_beams as usize {
            let expected = format!("a prompt, and at least {} lanes", config.num_beams);
            return Err(Error::invalid(
                "speculative beams",
                expected,
                format!("{} tokens, {lanes} lanes", prompt.len()),
                "",
            ));
        }
        let mut predictor = Predictor::default();
        let mut recent = Vec::with_capacity(LONGEST);
        for at in 1..prompt.len() {
            recent.clear();
            recent.extend(prompt[..at].iter().rev().take(LONGEST));
            predictor.learn(&recent, prompt[at]);
        }
        Ok(Self {
            nodes: Nodes::new(prompt),
            predictor,
            width: config.num_beams as usize,
            most_lanes: lanes,
            limit: config.max_new_tokens,
            ends: config.end_tokens.clone(),
            banned: config.banned.clone(),
            live: vec![0],
            lanes: vec![Lane { sequence, tip: NIL, tree: vec![0] }],
            known: Vec::new(),
            kept: Kept::default(),
            tops: FxHashMap::default(),
            learned: 0,
            epoch: 0,
            desired: Vec::new(),
            order: Vec::new(),
            drafted: 0,
            guesses: Vec::new(),
            guessed_depth: 0,
            hits: Hits::default(),
        })
    }

    /// Takes a forward: row `first` and the following ones of `fresh` are those of the tree of `lane`, for each (lane,
    /// first). Moves `search` on as far as rows are known, and drafts the next step within the budget (but a row for each
    /// beam without one in any case).
    ///
    /// # Errors
    /// As [`BeamSearch::step`]; [`Error::Internal`] for a lane that is not part of this search.
    pub fn advance(
        &mut self,
        search: &mut BeamSearch,
        fresh: RowResult<'_>,
        forwarded: &[(u32, u32)],
        budget: Budget<'_>,
    ) -> Result<Advance> {
        for &(sequence, first) in forwarded {
            let Some(lane) = self.lanes.iter().find(|lane| lane.sequence == sequence) else {
                return Err(Error::Internal(format!("sequence {sequence} is no lane of this search")));
            };
            if first as usize + lane.tree.len() > fresh.rows() {
                return Err(Error::Internal(format!("rows of sequence {sequence} are missing")));
            }
            for (j, &node) in lane.tree.iter().enumerate() {
                self.nodes.get_mut(node).row = Row::Fresh(first + j as u32);
                self.known.push(node);
            }
        }
        let steps = self.replay(search, fresh)?;
        let mut advance = Advance { steps, drafted: std::mem::take(&mut self.drafted), ..Advance::default() };
        self.desired.clear();
        let mut levels = Vec::new();
        if !search.is_done() {
            self.learn();
            let sums: Vec<f32> = search.sums().collect();
            let rows = match budget.costs {
                Some(costs) => costs.rows(self.width, self.hits.rate(), budget),
                None => budget.most,
            };
            let mut rules = Rules::of(search, &self.live);
            levels = self.draft(&sums, rows, fresh, &mut rules);
            self.guesses.clear();
            self.guesses.extend(levels[1..].iter().flatten());
            self.guessed_depth = search.length() + levels.len() as u32 - 1;
            self.spare(&levels, 2 * budget.most + self.width);
        } else {
            self.epoch += 1;
        }
        self.choose_lanes(&levels);
        self.keep_rows(fresh);
        self.plan_lanes(forwarded, &mut advance);
        Ok(advance)
    }

    /// Steps while rows are known.
    fn replay(&mut self, search: &mut BeamSearch, fresh: RowResult<'_>) -> Result<u32> {
        let mut steps = 0;
        while !search.is_done() {
            self.order.clear();
            self.order.extend(self.live.iter().map(|&node| match self.nodes.get(node).row {
                Row::Fresh(row) => row,
                Row::Kept(slot) => fresh.rows() as u32 + slot,
                Row::Unknown => Rows::UNKNOWN,
            }));
            let rows = self.kept.behind(fresh).in_order(&self.order)?;
            let Some(survivors) = search.step_known(&rows)? else { break };
            steps += 1;
            let nodes = &mut self.nodes;
            let live: Vec<u32> =
                survivors.iter().map(|s| nodes.child(self.live[s.row as usize], s.token)).collect();
            self.live = live;
            if search.length() <= self.guessed_depth && !search.is_done() {
                let expected = |node: &u32| self.guesses.contains(node);
                self.hits.learn(self.live.iter().all(expected));
            }
        }
        Ok(steps)
    }

    /// The predictor reads what the best beam has said.
    fn learn(&mut self) {
        let Some(&best) = self.live.first() else { return };
        let mut path = Vec::new();
        let mut at = best;
        // Of another beam only what it does not share with what was read before.
        while at != NIL && !self.nodes.is_below(self.learned, at) {
            path.push(at);
            at = self.nodes.get(at).parent;
        }
        let mut recent = [0; LONGEST];
        for &node in path.iter().rev() {
            let count = self.nodes.context(self.nodes.get(node).parent, &mut recent);
            self.predictor.learn(&recent[..count], self.nodes.get(node).token);
        }
        self.learned = best;
    }

    /// Drops known nodes beyond `most`, the deepest first, with what is below them.
    fn spare(&mut self, levels: &[Vec<u32>], most: usize) {
        let (epoch, mut count) = (self.epoch, 0);
        for (at, level) in levels.iter().enumerate() {
            for &node in level {
                let lost = at > 0 && self.nodes.get(self.nodes.get(node).parent).mark != epoch;
                if self.nodes.get(node).mark == epoch {
                    count += usize::from(self.nodes.is_known(node));
                    if at > 0 && (lost || count > most) {
                        self.nodes.get_mut(node).mark = epoch - 1;
                    }
                }
            }
        }
    }

    /// Copies the rows of nodes that are kept and forgets those of all others.
    fn keep_rows(&mut self, fresh: RowResult<'_>) {
        let mut known = std::mem::take(&mut self.known);
        known.retain(|&node| {
            let stays = self.nodes.get(node).mark == self.epoch;
            let row = match (self.nodes.get(node).row, stays) {
                (Row::Fresh(row), true) => Row::Kept(self.kept.keep(fresh.row(row as usize))),
                (row, true) => row,
                (row, false) => {
                    if let Row::Kept(slot) = row {
                        self.kept.release(slot);
                    }
                    self.tops.remove(&node);
                    Row::Unknown
                }
            };
            self.nodes.get_mut(node).row = row;
            stays
        });
        self.known = known;
    }
}

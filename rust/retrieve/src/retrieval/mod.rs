//! Drafts from a corpus.

mod config;
mod counted;
mod escape;
mod suffixes;

pub use config::{MAX_MATCH, RetrievalConfig, RetrievalOptions, RetrievalStyle};

use crate::index::{Followers, Group};
use crate::suffix::no_text;
use counted::{Counted, score};
use draftwood_base::{Result, SequenceId, Token};
use draftwood_tree::{Drafter, Forest, Grower, TreeRef, View};
use escape::Escape;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use suffixes::{Match, Suffixes, count_followers};

/// Drafts what follows the longest suffixes of the text in a corpus, as a tree weighted by counts; [`RetrievalStyle`]
/// says which suffixes speak.
///
/// A proposal is a function of the text's last tokens and the corpus. Per sequence only the rows of the suffixes that
/// occur are kept and extended by each appended token; of a new text its last `max_match` tokens are read.
///
/// Cost: one index step per appended token, suffix and index; about 1 µs per node and context, at most `max_rows` rows
/// read.
pub struct Retrieval {
    config: RetrievalConfig,
    index: Arc<Group>,
    texts: FxHashMap<SequenceId, Suffixes>,
    grower: Grower<Node>,
    buffers: Buffers,
    /// Trees of single suffixes, and the best one so far.
    trees: [Forest; 2],
    path_prob: Vec<f32>,
}

/// The node that this one was found at, the token that leads here, and how probable the path is.
#[derive(Debug, Clone, Copy)]
struct Node {
    from: u32,
    by: Option<Token>,
    path_prob: f32,
}

impl Node {
    const ROOT: Self = Self { from: 0, by: None, path_prob: 1.0 };
}

#[derive(Default)]
struct Buffers {
    followers: Followers,
    counted: Vec<(Token, u64)>,
}

impl Retrieval {
    /// A drafter over one or more indexes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for settings outside their range, or an index of the tiny tier.
    pub fn new(config: RetrievalConfig, index: Arc<Group>) -> Result<Self> {
        config.check()?;
        index.needs_places("drafting")?;
        Ok(Self {
            config,
            index,
            texts: FxHashMap::default(),
            grower: Grower::default(),
            buffers: Buffers::default(),
            trees: Default::default(),
            path_prob: Vec::new(),
        })
    }

    /// The settings.
    pub fn config(&self) -> RetrievalConfig {
        self.config
    }

    /// Number of sequences that state is kept for.
    pub fn open_sequences(&self) -> usize {
        self.texts.len()
    }

    /// One tree over all suffixes.
    fn escape(&mut self, view: &View<'_>, root: Token, matches: Vec<Match>, out: &mut Forest) -> Result<()> {
        let Self { index, config, buffers, grower, .. } = self;
        let mut source = Escape { index, config: *config, nodes: vec![matches], buffers, error: None };
        let depth = view.max_depth.min(config.max_depth);
        grower.grow(out, root, Node::ROOT, view.budget as usize, depth, &mut source);
        source.error.map_or(Ok(()), Err)
    }

    /// The tree of one suffix alone.
    fn counted(
        &mut self,
        view: &View<'_>,
        root: Token,
        suffix: &Match,
        budget: usize,
        path: bool,
        out: &mut Forest,
    ) -> Result<()> {
        let Self { index, config, buffers, grower, .. } = self;
        let mut source = Counted::new(index, *config, path, suffix, buffers);
        grower.grow(out, root, Node::ROOT, budget, view.max_depth.min(config.max_depth), &mut source);
        source.error.map_or(Ok(()), Err)
    }

    fn rest(&mut self, view: &View<'_>, root: Token, matches: &[Match], out: &mut Forest) -> Result<()> {
        for suffix in matches {
            // Occurrences at the ends of documents say nothing.
            let Buffers { followers, counted } = &mut self.buffers;
            count_followers(&self.index, &suffix.rows, self.config.max_rows, followers, counted)?;
            if !counted.is_empty() {
                return self.counted(view, root, suffix, view.budget as usize, false, out);
            }
        }
        push_root(root, out);
        Ok(())
    }

    /// Suffixes that occur equally often grow the same tree, the longest one with the largest budget: it stands for all.
    fn best_score(
        &mut self,
        view: &View<'_>,
        root: Token,
        matches: &[Match],
        (factor, offset, path): (f32, f32, bool),
        out: &mut Forest,
    ) -> Result<()> {
        let [mut tree, mut best] = std::mem::take(&mut self.trees);
        best.clear();
        let (mut highest, mut done) = (0.0, Ok(()));
        for suffix in matches {
            let tokens = (factor * suffix.length as f32 + offset).floor().max(0.0) as usize;
            tree.clear();
            let budget = (view.budget as usize).min(1 + tokens);
            done = self.counted(view, root, suffix, budget, path, &mut tree);
            if done.is_err() {
                break;
            }
            let score = score(tree.tree(0), &mut self.path_prob);
            if score > highest {
                highest = score;
                std::mem::swap(&mut tree, &mut best);
            }
        }
        match best.is_empty() {
            true => push_root(root, out),
            false => copy(best.tree(0), out),
        }
        self.trees = [tree, best];
        done
    }
}

fn push_root(root: Token, out: &mut Forest) {
    out.open(root);
    out.close();
}

fn copy(tree: TreeRef<'_>, out: &mut Forest) {
    out.open(tree.tokens[0]);
    for node in 1..tree.len() {
        out.push(tree.parents[node] as u32, tree.tokens[node], tree.prob[node]);
    }
    out.close();
}

impl Drafter for Retrieval {
    fn propose_batch(&mut self, views: &[View<'_>], forest: &mut Forest) -> Result<()> {
        for view in views {
            let Some(&root) = view.tokens.last() else { return Err(no_text(view, u32::MAX as usize)) };
            let RetrievalConfig { max_match, min_match, style, .. } = self.config;
            let text = self.texts.entry(view.sequence).or_default();
            text.follow(&self.index, &view.tokens, max_match)?;
            let mut matches = text.matches(max_match);
            match style {
                RetrievalStyle::Escape => self.escape(view, root, matches, forest)?,
                RetrievalStyle::Rest => {
                    matches.retain(|found| found.length >= min_match);
                    self.rest(view, root, &matches, forest)?;
                }
                RetrievalStyle::SuffixDecoding { factor, offset, path } => {
                    matches.retain(|found| found.length >= min_match);
                    self.best_score(view, root, &matches, (factor, offset, path), forest)?;
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, sequence: SequenceId) {
        self.texts.remove(&sequence);
    }
}

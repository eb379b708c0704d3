//! Several drafters as one.

use crate::suffix::no_text;
use draftwood_base::{Error, Locked, Result, SequenceId, Token};
use draftwood_tree::{Continuations, Drafter, Forest, Grower, TreeRef, View};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Most drafters of a [`Mix`].
pub const MAX_SOURCES: usize = 8;

/// What a source's record is worth after each further token: the last twenty count.
const DECAY: f32 = 0.95;
/// The record that a source begins with: so many hits of so many tokens.
const PRIOR: (f32, f32) = (0.5, 1.0);

const NIL: u32 = u32::MAX;

/// A drafter that several owners may ask.
pub type SharedDrafter = Arc<Locked<dyn Drafter>>;

/// Merges the trees of several drafters into the best one under the budget.
///
/// Every source drafts with the whole budget. A token's probability after a node is the mean of what the sources that
/// know the node and continue it say, weighted by their record: how much probability they gave to the tokens that
/// came, lately and in this text. The merged tree is grown by falling path probability.
///
/// The weights depend on where the steps ended, so a proposal is a function of the text and the steps before.
///
/// Cost: the sources' and about 0.2 µs per node.
pub struct Mix {
    sources: Vec<SharedDrafter>,
    forests: Vec<Forest>,
    texts: FxHashMap<SequenceId, Text>,
    grower: Grower<State>,
}

/// Per source: its node for a merged node, or none.
type State = [u32; MAX_SOURCES];

impl Mix {
    /// Over 1 … [`MAX_SOURCES`] drafters.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for another number.
    pub fn new(sources: Vec<SharedDrafter>) -> Result<Self> {
        if !(1..=MAX_SOURCES).contains(&sources.len()) {
            let expected = format!("1 … {MAX_SOURCES}");
            return Err(Error::invalid("the number of drafters", expected, sources.len(), ""));
        }
        let forests = vec![Forest::default(); sources.len()];
        Ok(Self { sources, forests, texts: FxHashMap::default(), grower: Grower::default() })
    }

    /// Number of drafters.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// The weights of the sources for a text, in their order, summing to 1; equal ones for a text that is not known.
    pub fn weights(&self, sequence: SequenceId) -> Vec<f32> {
        let count = self.sources.len();
        let Some(text) = self.texts.get(&sequence) else { return vec![1.0 / count as f32; count] };
        let total: f32 = text.trees.iter().map(|tree| tree.weight()).sum();
        text.trees.iter().map(|tree| tree.weight() / total).collect()
    }
}

impl Drafter for Mix {
    fn propose_batch(&mut self, views: &[View<'_>], forest: &mut Forest) -> Result<()> {
        for (source, forest) in self.sources.iter().zip(&mut self.forests) {
            forest.clear();
            source.lock()?.propose_batch(views, forest)?;
            if forest.len() != views.len() {
                let problem = format!("a drafter gave {} trees for {} texts", forest.len(), views.len());
                return Err(Error::Internal(problem));
            }
        }
        for (i, view) in views.iter().enumerate() {
            let Some(&root) = view.tokens.last() else { return Err(no_text(view, u32::MAX as usize)) };
            let text = self.texts.entry(view.sequence).or_insert_with(|| Text::new(self.sources.len()));
            text.learn(&view.tokens);
            text.length = view.tokens.len();
            for (tree, forest) in text.trees.iter_mut().zip(&self.forests) {
                tree.take(forest.tree(i));
            }
            let mut state = [NIL; MAX_SOURCES];
            state[..text.trees.len()].fill(0);
            let mut merged = Merged { trees: &text.trees };
            self.grower.grow(forest, root, state, view.budget as usize, view.max_depth, &mut merged);
        }
        Ok(())
    }

    fn close(&mut self, sequence: SequenceId) {
        self.texts.remove(&sequence);
        for source in &self.sources {
            // One that a fork has left in the middle keeps what it has.
            if let Ok(mut source) = source.lock() {
                source.close(sequence);
            }
        }
    }
}

/// The drafts of the step before, to see which of them came true.
struct Text {
    length: usize,
    trees: Vec<Tree>,
}

impl Text {
    fn new(sources: usize) -> Self {
        Self { length: 0, trees: (0..sources).map(|_| Tree::default()).collect() }
    }

    fn learn(&mut self, tokens: &[Token]) {
        let came = tokens.get(self.length..).unwrap_or_default();
        for tree in &mut self.trees {
            tree.judge(came);
        }
    }
}

/// A source's draft with its children linked, and its record.
struct Tree {
    tokens: Vec<Token>,
    prob: Vec<f32>,
    first_child: Vec<u32>,
    sibling: Vec<u32>,
    hits: f32,
    tokens_judged: f32,
}

impl Default for Tree {
    fn default() -> Self {
        let (hits, tokens_judged) = PRIOR;
        let (tokens, prob, first_child, sibling) = Default::default();
        Self { tokens, prob, first_child, sibling, hits, tokens_judged }
    }
}

impl Tree {
    fn take(&mut self, tree: TreeRef<'_>) {
        self.tokens.clear();
        self.tokens.extend_from_slice(tree.tokens);
        self.prob.clear();
        self.prob.extend_from_slice(tree.prob);
        self.first_child.clear();
        self.first_child.resize(tree.len(), NIL);
        self.sibling.clear();
        self.sibling.resize(tree.len(), NIL);
        // From the last to the first, so that the children come out in the order of the tree.
        for node in (1..tree.len()).rev() {
            let parent = tree.parents[node] as usize;
            self.sibling[node] = self.first_child[parent];
            self.first_child[parent] = node as u32;
        }
    }

    fn children(&self, node: u32) -> impl Iterator<Item = u32> {
        let mut next = self.first_child.get(node as usize).copied().unwrap_or(NIL);
        std::iter::from_fn(move || {
            let child = (next != NIL).then_some(next)?;
            next = self.sibling[child as usize];
            Some(child)
        })
    }

    fn weight(&self) -> f32 {
        self.hits / self.tokens_judged
    }

    /// Walks along the tokens that came, as far as the draft had an opinion.
    fn judge(&mut self, came: &[Token]) {
        let mut node = 0;
        for &token in came {
            if self.children(node).next().is_none() {
                return;
            }
            let child = self.children(node).find(|&child| self.tokens[child as usize] == token);
            let prob = child.map_or(0.0, |child| self.prob[child as usize]);
            self.hits = self.hits * DECAY + prob;
            self.tokens_judged = self.tokens_judged * DECAY + 1.0;
            match child {
                Some(child) => node = child,
                None => return,
            }
        }
    }
}

struct Merged<'a> {
    trees: &'a [Tree],
}

impl Continuations for Merged<'_> {
    type State = State;

    fn expand(&mut self, state: State, _: f32, out: &mut Vec<(Token, f32, State)>) {
        let start = out.len();
        let mut total = 0.0;
        for (s, tree) in self.trees.iter().enumerate() {
            let mut continues = false;
            for child in tree.children(state[s]) {
                continues = true;
                let (token, prob) = (tree.tokens[child as usize], tree.prob[child as usize] * tree.weight());
                match out[start..].iter_mut().find(|known| known.0 == token) {
                    Some((_, known, next)) => {
                        *known += prob;
                        next[s] = child;
                    }
                    None => {
                        let mut next = [NIL; MAX_SOURCES];
                        next[s] = child;
                        out.push((token, prob, next));
                    }
                }
            }
            if continues {
                total += tree.weight();
            }
        }
        for (_, prob, _) in &mut out[start..] {
            *prob /= total;
        }
    }
}

//! The texts of all beams as one tree of nodes, so that a fork costs nothing.

use crate::pool::{Ended, FinishReason};
use draftwood_base::Token;

/// A finished text.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Generated tokens, the end token included.
    pub tokens: Vec<Token>,
    /// What ranks it: the sum of `step_scores` over length ^ length penalty.
    pub score: f32,
    /// The sum of `step_scores` over length ^ length penalty; `score` is lower by the penalties of diverse groups.
    pub raw_score: f32,
    /// Why it ended.
    pub finish: FinishReason,
    /// The stop string that ended it; none for an end token.
    pub stop: Option<u32>,
    /// The group of beams that found it.
    pub group: u32,
    /// Log of the importance weight of a draw without replacement.
    pub log_weight: Option<f64>,
    /// Log-probability of each token, after processors.
    pub step_scores: Vec<f32>,
    /// The row that each token was chosen from, counted over the live beams of its step.
    pub beam_indices: Vec<u32>,
}

/// What became of a text at the step that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was a live beam of the next step.
    Lived,
    /// It was finished, and offered to the pool of hypotheses.
    Ended,
    /// It was looked at and not kept.
    Dropped,
}

/// One token of the tree of texts that a search has been through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatticeNode {
    /// The node of the text before the token; node 0 is the prompt, its own parent.
    pub parent: u32,
    /// The token.
    pub token: Token,
    /// The row that it was chosen from, counted over the live beams of its step.
    pub row: u32,
    /// The group of beams.
    pub group: u32,
    /// Log-probability of the token, after processors.
    pub step: f32,
    /// Whether the text lived or ended.
    pub fate: Fate,
}

/// Node 0 is the prompt.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    nodes: Vec<LatticeNode>,
}

pub(crate) const ROOT: u32 = 0;

impl Paths {
    /// Room for `nodes` tokens, so that a step need not grow.
    pub fn with_room(nodes: usize) -> Self {
        let mut all = Vec::with_capacity(nodes + 1);
        all.push(LatticeNode { parent: ROOT, token: 0, row: 0, group: 0, step: 0.0, fate: Fate::Lived });
        Self { nodes: all }
    }

    /// Adds a node.
    pub fn push(&mut self, node: LatticeNode) -> u32 {
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    /// Notes what became of a text.
    pub fn set_fate(&mut self, node: u32, fate: Fate) {
        self.nodes[node as usize].fate = fate;
    }

    /// All nodes but the dropped ones, parents first.
    pub fn lattice(&self) -> Vec<LatticeNode> {
        let mut place = vec![ROOT; self.nodes.len()];
        let mut kept = Vec::with_capacity(self.nodes.len());
        // A dropped text has no children.
        for (i, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.fate != Fate::Dropped) {
            place[i] = kept.len() as u32;
            kept.push(LatticeNode { parent: place[node.parent as usize], ..*node });
        }
        kept
    }

    /// The text without its last token.
    pub fn parent(&self, node: u32) -> u32 {
        self.nodes[node as usize].parent
    }

    /// The tokens of a text, last one first.
    pub fn tokens_upwards(&self, node: u32) -> impl Iterator<Item = Token> {
        self.upwards(node).map(|node| node.token)
    }

    fn upwards(&self, node: u32) -> impl Iterator<Item = LatticeNode> {
        let mut at = node;
        std::iter::from_fn(move || {
            let node = self.nodes[at as usize];
            (at != ROOT).then(|| {
                at = node.parent;
                node
            })
        })
    }

    pub fn hypothesis(&self, ended: &Ended) -> Hypothesis {
        let mut nodes: Vec<LatticeNode> = self.upwards(ended.node).collect();
        nodes.reverse();
        Hypothesis {
            tokens: nodes.iter().map(|n| n.token).collect(),
            score: ended.score,
            raw_score: ended.raw,
            finish: ended.finish,
            stop: ended.stop,
            group: 0,
            log_weight: None,
            step_scores: nodes.iter().map(|n| n.step).collect(),
            beam_indices: nodes.iter().map(|n| n.row).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_nodes_leave_the_lattice_and_parents_are_renumbered() {
        let mut paths = Paths::with_room(0);
        let node = |parent, token, fate| LatticeNode { parent, token, row: 0, group: 0, step: -1.0, fate };
        let a = paths.push(node(ROOT, 5, Fate::Lived));
        paths.push(node(ROOT, 6, Fate::Dropped));
        let b = paths.push(node(ROOT, 7, Fate::Dropped));
        let c = paths.push(node(a, 8, Fate::Lived));
        paths.set_fate(b, Fate::Lived);
        let d = paths.push(node(b, 9, Fate::Lived));
        paths.set_fate(d, Fate::Ended);
        paths.push(node(c, 4, Fate::Dropped));
        let found: Vec<_> = paths.lattice().iter().map(|n| (n.parent, n.token, n.fate)).collect();
        let (lived, ended) = (Fate::Lived, Fate::Ended);
        assert_eq!(found, [(0, 0, lived), (0, 5, lived), (0, 7, lived), (1, 8, lived), (2, 9, ended)]);
    }
}

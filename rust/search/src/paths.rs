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

#[derive(Debug, Clone, Copy)]
struct Node {
    parent: u32,
    token: Token,
    row: u32,
    step: f32,
}

/// Node 0 is the prompt.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    nodes: Vec<Node>,
}

pub(crate) const ROOT: u32 = 0;

impl Paths {
    /// Room for `nodes` tokens, so that a step need not grow.
    pub fn with_room(nodes: usize) -> Self {
        let mut all = Vec::with_capacity(nodes + 1);
        all.push(Node { parent: ROOT, token: 0, row: 0, step: 0.0 });
        Self { nodes: all }
    }

    /// Adds a token below `parent`.
    pub fn push(&mut self, parent: u32, token: Token, row: u32, step: f32) -> u32 {
        self.nodes.push(Node { parent, token, row, step });
        (self.nodes.len() - 1) as u32
    }

    /// The text without its last token.
    pub fn parent(&self, node: u32) -> u32 {
        self.nodes[node as usize].parent
    }

    /// The tokens of a text, last one first.
    pub fn tokens_upwards(&self, node: u32) -> impl Iterator<Item = Token> {
        self.upwards(node).map(|node| node.token)
    }

    fn upwards(&self, node: u32) -> impl Iterator<Item = Node> {
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
        let mut nodes: Vec<Node> = self.upwards(ended.node).collect();
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

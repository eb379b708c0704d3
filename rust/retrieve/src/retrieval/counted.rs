//! The continuations of one suffix alone, as REST and SuffixDecoding draft.

use super::suffixes::{Match, count_followers};
use super::{Buffers, Node, RetrievalConfig};
use crate::index::{Group, Rows};
use draftwood_base::{Error, Result, Token};
use draftwood_tree::{Continuations, TreeRef};

/// A node's probability is the share of the suffix's occurrences that go on along its path.
pub(super) struct Counted<'a> {
    pub index: &'a Group,
    pub config: RetrievalConfig,
    /// The most frequent follower alone.
    pub path: bool,
    /// Rows of the nodes that were expanded, those of the suffix first.
    nodes: Vec<Vec<Rows>>,
    pub buffers: &'a mut Buffers,
    /// The first one; growing then stops.
    pub error: Option<Error>,
}

impl<'a> Counted<'a> {
    pub fn new(
        index: &'a Group,
        config: RetrievalConfig,
        path: bool,
        suffix: &Match,
        buffers: &'a mut Buffers,
    ) -> Self {
        Self { index, config, path, nodes: vec![suffix.rows.clone()], buffers, error: None }
    }

    fn try_expand(&mut self, node: Node, floor: f32, out: &mut Vec<(Token, f32, Node)>) -> Result<()> {
        let at = match node.by {
            None => node.from,
            Some(token) => {
                let mut rows = self.nodes[node.from as usize].clone();
                for (part, rows) in self.index.parts().iter().zip(&mut rows) {
                    part.extend_all(std::slice::from_mut(rows), &[token])?;
                }
                self.nodes.push(rows);
                self.nodes.len() as u32 - 1
            }
        };
        let Buffers { followers, counted } = &mut *self.buffers;
        let all =
            count_followers(self.index, &self.nodes[at as usize], self.config.max_rows, followers, counted)?;
        let most = if self.path { 1 } else { usize::MAX };
        for &(id, count) in counted.iter().take(most) {
            let prob = (count as f64 / all as f64) as f32;
            let path_prob = node.path_prob * prob;
            if prob < floor || path_prob < self.config.min_prob {
                break;
            }
            out.push((id, prob, Node { from: at, by: Some(id), path_prob }));
        }
        Ok(())
    }
}

impl Continuations for Counted<'_> {
    type State = Node;

    fn expand(&mut self, node: Node, floor: f32, out: &mut Vec<(Token, f32, Node)>) {
        if self.error.is_none() {
            self.error = self.try_expand(node, floor, out).err();
        }
    }
}

/// Tokens of a tree that are expected to come true, if its probabilities are right.
pub(super) fn score(tree: TreeRef<'_>, path_prob: &mut Vec<f32>) -> f64 {
    path_prob.clear();
    path_prob.push(1.0);
    for node in 1..tree.len() {
        path_prob.push(path_prob[tree.parents[node] as usize] * tree.prob[node]);
    }
    path_prob[1..].iter().map(|&prob| f64::from(prob)).sum()
}

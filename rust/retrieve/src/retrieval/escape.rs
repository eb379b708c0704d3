//! Followers of the longest suffix first, what they leave to the shorter ones.

use super::suffixes::{Match, count_followers, extend};
use super::{Buffers, Node, RetrievalConfig};
use crate::index::Group;
use crate::ppm::{FOLLOWERS, hit_rate};
use draftwood_base::{Error, Result, Token};
use draftwood_tree::Continuations;

/// Contexts asked per node, the longest ones.
const CONTEXTS: usize = 4;

pub(super) struct Escape<'a> {
    pub index: &'a Group,
    pub config: RetrievalConfig,
    /// Matches of the nodes that were expanded, the end of the text first.
    pub nodes: Vec<Vec<Match>>,
    pub buffers: &'a mut Buffers,
    /// The first one; growing then stops.
    pub error: Option<Error>,
}

impl Escape<'_> {
    fn try_expand(&mut self, node: Node, floor: f32, out: &mut Vec<(Token, f32, Node)>) -> Result<()> {
        let at = match node.by {
            None => node.from,
            Some(token) => {
                let mut matches = self.nodes[node.from as usize].clone();
                extend(self.index, &mut matches, token)?;
                self.nodes.push(matches);
                self.nodes.len() as u32 - 1
            }
        };
        let Buffers { followers, counted } = &mut *self.buffers;
        let (first, mut left) = (out.len(), 1.0f32);
        let long_enough = |found: &&Match| found.length >= self.config.min_match;
        for found in self.nodes[at as usize].iter().filter(long_enough).take(CONTEXTS) {
            if node.path_prob * left < self.config.min_prob || left < floor {
                break;
            }
            count_followers(self.index, &found.rows, self.config.max_rows, followers, counted)?;
            counted.retain(|&(id, _)| out[first..].iter().all(|known| known.0 != id));
            counted.truncate(FOLLOWERS);
            let total: u64 = counted.iter().map(|&(_, count)| count).sum();
            if total == 0 {
                continue;
            }
            let hit = hit_rate(found.length as u32);
            for &(id, count) in counted.iter() {
                let prob = (count as f64 / total as f64) as f32 * left * hit;
                let path_prob = node.path_prob * prob;
                if path_prob >= self.config.min_prob {
                    out.push((id, prob, Node { from: at, by: Some(id), path_prob }));
                }
            }
            left *= 1.0 - hit;
        }
        Ok(())
    }
}

impl Continuations for Escape<'_> {
    type State = Node;

    fn expand(&mut self, node: Node, floor: f32, out: &mut Vec<(Token, f32, Node)>) {
        if self.error.is_none() {
            self.error = self.try_expand(node, floor, out).err();
        }
    }
}

//! Monte Carlo tree search over pairs of tokens, without chance: the rollouts take the heaviest follower.

use crate::trigram::{TrigramConfig, Weights};
use draftwood_base::Token;
use draftwood_tree::Forest;

/// Exploration of PUCT: `(C1 + ln((N + C2 + 1) / C2)) · weight · √N / (1 + n)`.
const C1: f32 = 32.0;
const C2: f32 = 8.0;
/// Most visited paths that become nodes of the draft.
const PATHS: usize = 24;

#[derive(Debug, Clone, Copy)]
struct Node {
    /// The last two tokens.
    pair: (Token, Token),
    parent: u32,
    depth: u32,
    /// Of its last trigram.
    weight: f32,
    visits: u32,
    score: f32,
    /// Its children, `first .. first + children`; not looked for yet if `first` is 0.
    first: u32,
    children: u32,
}

/// The search and its memory, reused from draft to draft.
#[derive(Debug, Default)]
pub(crate) struct Search {
    nodes: Vec<Node>,
    found: Vec<(Token, f32)>,
    best: Vec<u32>,
    /// Per node: its number in the draft.
    drafted: Vec<u32>,
}

impl Search {
    /// Searches from the last two tokens of a text.
    pub(crate) fn run(
        &mut self,
        pair: (Token, Token),
        config: TrigramConfig,
        max_depth: u32,
        weights: &Weights<'_>,
    ) {
        let depth = config.depth.min(max_depth);
        self.nodes.clear();
        self.add(pair, 0, 0, 0.0);
        for _ in 0..config.iterations {
            let (mut at, mut reward) = (0, 1.0);
            while self.nodes[at].depth < depth {
                if self.nodes[at].first == 0 {
                    self.expand(at, weights);
                    match self.nodes[at].children {
                        0 => break,
                        // Of children that nobody has visited the heaviest is the first.
                        _ => at = self.nodes[at].first as usize,
                    }
                    reward += self.nodes[at].weight;
                    break;
                }
                match self.select(at) {
                    Some(child) => at = child,
                    None => break,
                }
                reward += self.nodes[at].weight;
            }
            reward += self.roll_out(at, depth, weights);
            loop {
                let node = &mut self.nodes[at];
                node.visits += 1;
                node.score += reward;
                if at == 0 {
                    break;
                }
                at = node.parent as usize;
            }
            if self.nodes[0].children == 0 {
                return;
            }
        }
    }

    fn add(&mut self, pair: (Token, Token), parent: u32, depth: u32, weight: f32) {
        self.nodes.push(Node { pair, parent, depth, weight, visits: 0, score: 0.0, first: 0, children: 0 });
    }

    fn expand(&mut self, at: usize, weights: &Weights<'_>) {
        let Node { pair, depth, .. } = self.nodes[at];
        self.found.clear();
        weights.followers(pair, &mut self.found);
        self.nodes[at].first = self.nodes.len() as u32;
        self.nodes[at].children = self.found.len() as u32;
        for i in 0..self.found.len() {
            let (token, weight) = self.found[i];
            self.add((pair.1, token), at as u32, depth + 1, weight);
        }
    }

    /// The child with the best bound; the first one that was never visited, if there is one.
    fn select(&self, at: usize) -> Option<usize> {
        let Node { visits, first, children, .. } = self.nodes[at];
        let n = visits as f32;
        let explore = (C1 + ((n + C2 + 1.0) / C2).ln()) * n.sqrt();
        let bound = |child: &Node| match child.visits {
            0 => f32::INFINITY,
            visits => child.score / visits as f32 + explore * child.weight / (1 + visits) as f32,
        };
        let mut best: Option<(f32, usize)> = None;
        for child in first as usize..(first + children) as usize {
            let bound = bound(&self.nodes[child]);
            if best.is_none_or(|(highest, _)| bound > highest) {
                best = Some((bound, child));
            }
        }
        best.map(|(_, child)| child)
    }

    /// Weight of the heaviest path from a node to the depth limit, follower by follower.
    fn roll_out(&mut self, at: usize, limit: u32, weights: &Weights<'_>) -> f32 {
        let Node { mut pair, depth, .. } = self.nodes[at];
        let mut sum = 0.0;
        for _ in depth..limit {
            self.found.clear();
            weights.followers(pair, &mut self.found);
            let Some(&(token, weight)) = self.found.first() else { break };
            sum += weight;
            pair = (pair.1, token);
        }
        sum
    }

    /// Adds the tree of the most visited paths to `forest`: `budget` nodes at most, the root included.
    pub(crate) fn draft(
        &mut self,
        budget: usize,
        max_depth: u32,
        weights: &Weights<'_>,
        forest: &mut Forest,
    ) {
        self.best.clear();
        self.best.extend((1..self.nodes.len() as u32).filter(|&node| self.nodes[node as usize].visits > 0));
        // A parent is visited at least as often as its children and found before them.
        self.best.sort_by_key(|&node| std::cmp::Reverse(self.nodes[node as usize].visits));
        self.best.truncate(PATHS.min(budget - 1));
        self.drafted.clear();
        self.drafted.resize(self.nodes.len(), u32::MAX);
        self.drafted[0] = 0;
        forest.open(self.nodes[0].pair.1);
        for &node in &self.best {
            let Node { pair, parent, visits, .. } = self.nodes[node as usize];
            let share = visits as f32 / self.nodes[parent as usize].visits as f32;
            self.drafted[node as usize] = forest.push(self.drafted[parent as usize], pair.1, share);
        }
        let mut room = budget - 1 - self.best.len();
        for i in 0..self.best.len() {
            if room > 0 && self.extend(self.best[i], max_depth, weights, forest) {
                room -= 1;
            }
        }
        forest.close();
    }

    /// The heaviest follower of a drafted node becomes a node too, if it is none yet.
    fn extend(&mut self, node: u32, max_depth: u32, weights: &Weights<'_>, forest: &mut Forest) -> bool {
        let Node { pair, depth, visits, first, children, .. } = self.nodes[node as usize];
        self.found.clear();
        weights.followers(pair, &mut self.found);
        let Some(&(token, weight)) = self.found.first().filter(|_| depth < max_depth) else { return false };
        let mut left = 1.0;
        for child in first..first + children {
            if self.drafted[child as usize] != u32::MAX {
                left -= self.nodes[child as usize].visits as f32 / visits as f32;
                if self.nodes[child as usize].pair.1 == token {
                    return false;
                }
            }
        }
        let share = left * weight / self.found.iter().map(|follower| follower.1).sum::<f32>();
        if share > 0.0 {
            forest.push(self.drafted[node as usize], token, share.min(1.0));
        }
        share > 0.0
    }
}

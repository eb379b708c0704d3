//! Best-first growth of a tree under a node budget.

use crate::Forest;
use draftwood_base::Token;
use std::collections::BinaryHeap;

/// A source of scored continuations, such as the occurrences of an n-gram.
pub trait Continuations {
    /// What the source must remember about a node to continue it.
    type State: Copy;

    /// Appends the continuations of `state`: distinct tokens, each with its probability given the node and the state
    /// behind it.
    fn expand(&mut self, state: Self::State, out: &mut Vec<(Token, f32, Self::State)>);
}

/// Grows trees node by node, always the most probable known path next (Goldstein-style best-first search; the
/// same order as SuffixDecoding's tree mode, arXiv 2411.04975). Holds its heap and buffers between calls.
pub struct Grower<S> {
    frontier: BinaryHeap<Candidate>,
    states: Vec<S>,
    found: Vec<(Token, f32, S)>,
}

#[derive(Debug)]
struct Candidate {
    path_prob: f32,
    prob: f32,
    parent: u32,
    depth: u32,
    token: Token,
    state: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Most probable first; of equals the one found first, so that a draft is a function of the text alone.
        self.path_prob.total_cmp(&other.path_prob).then(other.state.cmp(&self.state))
    }
}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Candidate {}

impl<S: Copy> Default for Grower<S> {
    fn default() -> Self {
        Self { frontier: BinaryHeap::new(), states: Vec::new(), found: Vec::new() }
    }
}

impl<S: Copy> Grower<S> {
    /// Appends one closed tree of at most `budget` nodes (the root counts) and `max_depth` levels below the root.
    ///
    /// Nodes come out in order of falling path probability, so a prefix of the tree is the best tree of that size,
    /// and the likeliest path fills the first cache slots. Cost: O(budget · branching · log).
    pub fn grow(
        &mut self,
        forest: &mut Forest,
        root: Token,
        state: S,
        budget: usize,
        max_depth: u32,
        source: &mut impl Continuations<State = S>,
    ) {
        self.frontier.clear();
        self.states.clear();
        forest.open(root);
        let (mut nodes, mut at, mut depth, mut path_prob, mut from) = (1, 0u32, 0u32, 1.0f32, state);
        while nodes < budget {
            if depth < max_depth {
                self.found.clear();
                source.expand(from, &mut self.found);
                for &(token, prob, next) in &self.found {
                    let state = self.states.len() as u32;
                    self.states.push(next);
                    let path_prob = path_prob * prob;
                    self.frontier.push(Candidate {
                        path_prob,
                        prob,
                        parent: at,
                        depth: depth + 1,
                        token,
                        state,
                    });
                }
            }
            let Some(best) = self.frontier.pop() else { break };
            at = forest.push(best.parent, best.token, best.prob);
            (nodes, depth, path_prob, from) =
                (nodes + 1, best.depth, best.path_prob, self.states[best.state as usize]);
        }
        forest.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every node has the children 1 (p = 0.6) and 2 (p = 0.4).
    struct Binary;
    impl Continuations for Binary {
        type State = ();
        fn expand(&mut self, (): (), out: &mut Vec<(Token, f32, ())>) {
            out.extend([(1, 0.6, ()), (2, 0.4, ())]);
        }
    }

    #[test]
    fn takes_the_most_probable_paths_and_respects_both_limits() {
        let mut forest = Forest::default();
        let mut grower = Grower::default();
        grower.grow(&mut forest, 9, (), 6, 8, &mut Binary);
        grower.grow(&mut forest, 9, (), 64, 2, &mut Binary);
        grower.grow(&mut forest, 9, (), 1, 8, &mut Binary);
        // Path probabilities: 1 .6, 2 .4, 11 .36, then 12 and 21 tie at .24 and the one found first wins.
        let tree = forest.tree(0);
        assert_eq!((tree.tokens, tree.parents), (&[9, 1, 2, 1, 2, 1][..], &[-1, 0, 0, 1, 1, 2][..]));
        assert_eq!(forest.tree(1).len(), 7);
        assert_eq!(forest.tree(2).len(), 1);
    }
}

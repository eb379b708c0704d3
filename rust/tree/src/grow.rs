//! Best-first growth of a tree under a node budget.

use crate::Forest;
use draftwood_base::Token;

/// A source of scored continuations, such as the occurrences of an n-gram.
pub trait Continuations {
    /// What the source must remember about a node to continue it.
    type State: Copy;

    /// Appends the continuations of `state`: distinct tokens, each with its probability given the node and the state
    /// behind it. Those that are less probable than `floor` will not be grown and may be left out.
    fn expand(&mut self, state: Self::State, floor: f32, out: &mut Vec<(Token, f32, Self::State)>);
}

/// Grows trees node by node, always the most probable known path next (Goldstein-style best-first search; the
/// same order as SuffixDecoding's tree mode, arXiv 2411.04975). Holds its buffers between calls.
pub struct Grower<S> {
    /// [`rank`] of the candidates that may still be taken, the best one last; never more than the budget has room for.
    frontier: Vec<u64>,
    candidates: Vec<Candidate<S>>,
    found: Vec<(Token, f32, S)>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate<S> {
    path_prob: f32,
    prob: f32,
    parent: u32,
    depth: u32,
    token: Token,
    state: S,
}

/// Most probable first; of equals the one found first, so that a draft is a function of the text alone.
#[inline]
fn rank(path_prob: f32, number: u32) -> u64 {
    // The order of `total_cmp`, as that of unsigned integers.
    let bits = path_prob.to_bits();
    let ordered = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(ordered) << 32 | u64::from(!number)
}

impl<S: Copy> Default for Grower<S> {
    fn default() -> Self {
        Self { frontier: Vec::new(), candidates: Vec::new(), found: Vec::new() }
    }
}

impl<S: Copy> Grower<S> {
    /// Appends one closed tree of at most `budget` nodes (the root counts) and `max_depth` levels below the root.
    ///
    /// Nodes come out in order of falling path probability, so a prefix of the tree is the best tree of that size,
    /// and the likeliest path fills the first cache slots. Cost: O(budget · branching) and as many moves of 8 bytes
    /// within `budget` of them.
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
        self.candidates.clear();
        forest.open(root);
        let (mut room, mut at) = (budget.saturating_sub(1), 0);
        let mut from = Candidate { path_prob: 1.0f32, prob: 1.0, parent: 0, depth: 0, token: root, state };
        while room > 0 {
            if from.depth < max_depth {
                self.found.clear();
                source.expand(from.state, self.floor(room, from.path_prob), &mut self.found);
                self.consider(room, at, from.path_prob, from.depth + 1);
            }
            let Some(best) = self.frontier.pop() else { break };
            from = self.candidates[!(best as u32) as usize];
            at = forest.push(from.parent, from.token, from.prob);
            room -= 1;
        }
        forest.close();
    }

    /// What a continuation of a path needs at least to be among the best ones that there is room for. A little less, so
    /// that the rounding of a product decides nothing.
    fn floor(&self, room: usize, path_prob: f32) -> f32 {
        match self.frontier.first() {
            Some(&worst) if self.frontier.len() == room => {
                self.candidates[!(worst as u32) as usize].path_prob / path_prob * 0.9999
            }
            _ => 0.0,
        }
    }

    /// Enters what was found below a node among the `room` best candidates.
    fn consider(&mut self, room: usize, parent: u32, path_prob: f32, depth: u32) {
        for &(token, prob, state) in &self.found {
            let path_prob = path_prob * prob;
            let new = rank(path_prob, self.candidates.len() as u32);
            let full = self.frontier.len() == room;
            if full && new < self.frontier[0] {
                continue;
            }
            self.candidates.push(Candidate { path_prob, prob, parent, depth, token, state });
            let place = self.frontier.partition_point(|&known| known < new);
            if full {
                self.frontier.copy_within(1..place, 0);
                self.frontier[place - 1] = new;
            } else {
                self.frontier.insert(place, new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every node has the children 1 (p = 0.6) and 2 (p = 0.4).
    struct Binary;
    impl Continuations for Binary {
        type State = ();
        fn expand(&mut self, (): (), _: f32, out: &mut Vec<(Token, f32, ())>) {
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

    /// Continuations drawn from the path's number, some with equal probabilities; `drops` leaves out what may be.
    struct Drawn {
        seed: u64,
        drops: bool,
    }

    fn drawn(seed: u64, path: u64) -> Vec<(Token, f32, u64)> {
        let mix = |i: u64| (seed ^ path.wrapping_mul(31) ^ i << 7).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        (0..mix(0) % 6).map(|i| (i as Token, (mix(i + 1) % 9) as f32 / 16.0, path * 7 + i + 1)).collect()
    }

    impl Continuations for Drawn {
        type State = u64;
        fn expand(&mut self, path: u64, floor: f32, out: &mut Vec<(Token, f32, u64)>) {
            out.extend(drawn(self.seed, path).into_iter().filter(|one| !self.drops || one.1 >= floor));
        }
    }

    proptest::proptest! {
        /// All candidates in a list, of which the best one is searched each time.
        #[test]
        fn the_best_paths_are_those_of_a_plain_search(seed: u64, budget in 1usize..40, max_depth in 0u32..6) {
            let (mut nodes, mut parents, mut prob) = (vec![9], vec![-1], vec![1.0]);
            let mut candidates: Vec<(f32, Token, f32, u64, usize, u32)> = Vec::new();
            let (mut at, mut from) = (0, (1.0, 9, 1.0, 0, 0, 0));
            while nodes.len() < budget {
                if from.5 < max_depth {
                    let found = drawn(seed, from.3).into_iter();
                    candidates.extend(found.map(|(token, p, path)| (from.0 * p, token, p, path, at, from.5 + 1)));
                }
                let best = candidates.iter().map(|one| one.0).max_by(f32::total_cmp);
                let Some(best) = best.and_then(|best| candidates.iter().position(|one| one.0 == best)) else { break };
                from = candidates.remove(best);
                at = nodes.len();
                nodes.push(from.1);
                parents.push(from.4 as i32);
                prob.push(from.2);
            }
            for drops in [false, true] {
                let (mut forest, mut grower) = (Forest::default(), Grower::default());
                grower.grow(&mut forest, 9, 0, budget, max_depth, &mut Drawn { seed, drops });
                let tree = forest.tree(0);
                proptest::prop_assert_eq!((tree.tokens, tree.parents), (&nodes[..], &parents[..]));
                proptest::prop_assert_eq!(tree.prob, &prob[..]);
            }
        }
    }
}

//! How often drafted nodes are accepted, by what their drafter says of them.

/// Upper ends of the classes of predicted probability.
const EDGES: [f32; 12] = [0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95, 1.0];
/// Depths that are told apart: 1, 2, and deeper.
const DEPTHS: usize = 3;
/// Without predictions: depths and ranks among siblings that are told apart.
const BARE: (usize, usize) = (8, 4);
/// What an observation is worth after each further one of its class.
const DECAY: f32 = 0.98;
/// The same without predictions, where the class is all that is known, so it must follow the text.
const BARE_DECAY: f32 = 0.9;
/// The predictions are trusted like so many acceptances.
const PRIOR_HITS: f32 = 1.0;
/// A first child without prediction is taken to be accepted so often, its siblings half as often each, until seen.
const BARE_PRIOR: f32 = 0.5;
const BARE_PRIOR_TRIALS: f32 = 2.0;

/// A node as its drafter proposed it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drafted {
    /// Probability given its parent; NaN when the drafter told none.
    pub prob: f32,
    /// 1 for a child of the root.
    pub depth: u32,
    /// Siblings before it.
    pub rank: u32,
}

/// Learns from every proposal what share of the nodes came true whose parent came true, also of those that were not
/// forwarded: the next token is known either way.
#[derive(Debug, Clone)]
pub(crate) struct Acceptance {
    told: [[Tally; EDGES.len()]; DEPTHS],
    bare: [[Tally; BARE.1]; BARE.0],
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    hits: f32,
    /// Sum of what was predicted; number of trials without predictions.
    expected: f32,
}

impl Default for Acceptance {
    fn default() -> Self {
        let bare = std::array::from_fn(|_| {
            std::array::from_fn(|rank| {
                let hits = BARE_PRIOR * 0.5f32.powi(rank as i32) * BARE_PRIOR_TRIALS;
                Tally { hits, expected: BARE_PRIOR_TRIALS }
            })
        });
        Self { told: Default::default(), bare }
    }
}

impl Acceptance {
    /// Probability that the node is accepted given its parent is, 0 … 1.
    pub fn expect(&self, node: Drafted) -> f32 {
        if node.prob.is_nan() {
            let Tally { hits, expected } = self.bare[bare_depth(node)][bare_rank(node)];
            return hits / expected;
        }
        let Tally { hits, expected } = self.told[told_depth(node)][class(node.prob)];
        (node.prob * (hits + PRIOR_HITS) / (expected + PRIOR_HITS)).min(1.0)
    }

    /// The node's parent came true; `hit` says whether the node did.
    pub fn learn(&mut self, node: Drafted, hit: bool) {
        let bare = node.prob.is_nan();
        let (tally, decay, expected) = if bare {
            (&mut self.bare[bare_depth(node)][bare_rank(node)], BARE_DECAY, 1.0)
        } else {
            (&mut self.told[told_depth(node)][class(node.prob)], DECAY, node.prob)
        };
        tally.hits = tally.hits * decay + f32::from(u8::from(hit));
        tally.expected = tally.expected * decay + expected;
    }
}

fn class(prob: f32) -> usize {
    EDGES.iter().position(|&edge| prob <= edge).unwrap_or(EDGES.len() - 1)
}

fn told_depth(node: Drafted) -> usize {
    (node.depth as usize).clamp(1, DEPTHS) - 1
}

fn bare_depth(node: Drafted) -> usize {
    (node.depth as usize).clamp(1, BARE.0) - 1
}

fn bare_rank(node: Drafted) -> usize {
    (node.rank as usize).min(BARE.1 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(prob: f32) -> Drafted {
        Drafted { prob, depth: 1, rank: 0 }
    }

    #[test]
    fn predictions_are_believed_until_they_prove_wrong() {
        let mut acceptance = Acceptance::default();
        assert_eq!(acceptance.expect(node(0.3)), 0.3);
        for i in 0..200 {
            acceptance.learn(node(0.3), i % 10 == 0);
        }
        let learned = acceptance.expect(node(0.3));
        assert!((0.06..0.15).contains(&learned), "one of ten came true, expected {learned}");
        assert!(acceptance.expect(node(0.28)) < learned, "within a class order is kept");
        assert_eq!(acceptance.expect(node(0.9)), 0.9, "other predictions are not concerned");
        assert_eq!(acceptance.expect(Drafted { depth: 2, ..node(0.3) }), 0.3);
    }

    #[test]
    fn without_predictions_depth_and_rank_stand_in() {
        let mut acceptance = Acceptance::default();
        let at = |depth, rank| Drafted { prob: f32::NAN, depth, rank };
        assert_eq!([0, 1, 2].map(|rank| acceptance.expect(at(1, rank))), [0.5, 0.25, 0.125]);
        for _ in 0..30 {
            acceptance.learn(at(1, 0), false);
            acceptance.learn(at(1, 1), true);
        }
        assert!(acceptance.expect(at(1, 0)) < 0.1 && acceptance.expect(at(1, 1)) > 0.8);
        for _ in 0..5 {
            acceptance.learn(at(1, 0), true);
        }
        assert!(acceptance.expect(at(1, 0)) > 0.3, "a text that begins to repeat is noticed soon");
    }

    #[test]
    fn never_more_than_certain() {
        let mut acceptance = Acceptance::default();
        (0..100).for_each(|_| acceptance.learn(node(0.9), true));
        assert!(acceptance.expect(node(0.95)) <= 1.0);
    }
}

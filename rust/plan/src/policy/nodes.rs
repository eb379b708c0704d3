//! The proposed nodes of a step in order of probability, and trees cut to the first of them.

use super::acceptance::{Acceptance, Drafted};
use draftwood_tree::{Forest, TreeRef};

const CUT: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// Probability that its path is accepted.
    pub reach: f32,
    tree: u32,
    node: u32,
}

/// Vectors that every step refills.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    /// All drafted nodes of the step, the likeliest first, parents before their children.
    pub listed: Vec<Node>,
    /// Reach and description of the nodes of the tree that was described last.
    pub described: Vec<(f32, Drafted)>,
    children: Vec<u32>,
    numbers: Vec<u32>,
}

impl Nodes {
    /// Lists the drafted nodes of all trees.
    pub fn list(&mut self, proposals: &Forest, acceptance: &Acceptance) {
        self.listed.clear();
        for tree in 0..proposals.len() {
            self.describe(proposals.tree(tree), acceptance);
            let nodes = self.described.iter().enumerate().skip(1);
            let listed =
                nodes.map(|(node, &(reach, _))| Node { reach, tree: tree as u32, node: node as u32 });
            self.listed.extend(listed);
        }
        // Of equals the earlier node: it may be the parent.
        self.listed.sort_unstable_by(|a, b| {
            b.reach.total_cmp(&a.reach).then((a.tree, a.node).cmp(&(b.tree, b.node)))
        });
    }

    /// Describes the nodes of a tree, root included.
    pub fn describe(&mut self, tree: TreeRef<'_>, acceptance: &Acceptance) {
        self.described.clear();
        self.children.clear();
        self.children.resize(tree.len(), 0);
        self.described.push((1.0, Drafted { prob: 1.0, depth: 0, rank: 0 }));
        for node in 1..tree.len() {
            let parent = tree.parents[node] as usize;
            let (reach, above) = self.described[parent];
            let rank = self.children[parent];
            self.children[parent] += 1;
            let drafted = Drafted { prob: tree.prob[node], depth: above.depth + 1, rank };
            self.described.push((reach * acceptance.expect(drafted), drafted));
        }
    }

    /// Copies to `trees` the first `count` of the listed nodes of `proposals`, in the order of their trees.
    pub fn cut(&mut self, proposals: &Forest, count: usize, trees: &mut Forest) {
        self.listed.truncate(count);
        self.listed.sort_unstable_by_key(|node| (node.tree, node.node));
        let mut next = self.listed.iter().peekable();
        for tree in 0..proposals.len() {
            let kept =
                |node: usize| next.next_if(|n| (n.tree, n.node) == (tree as u32, node as u32)).is_some();
            copy(proposals.tree(tree), kept, &mut self.numbers, trees);
        }
    }

    /// Copies all.
    pub fn copy(&mut self, proposals: &Forest, trees: &mut Forest) {
        (0..proposals.len()).for_each(|i| copy(proposals.tree(i), |_| true, &mut self.numbers, trees));
    }
}

fn copy(tree: TreeRef<'_>, mut kept: impl FnMut(usize) -> bool, numbers: &mut Vec<u32>, trees: &mut Forest) {
    trees.open(tree.tokens[0]);
    numbers.clear();
    numbers.push(0);
    for node in 1..tree.len() {
        let parent = numbers[tree.parents[node] as usize];
        numbers.push(if kept(node) && parent != CUT {
            trees.push(parent, tree.tokens[node], tree.prob[node])
        } else {
            CUT
        });
    }
    trees.close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Per tree: parent (as a share of the nodes before), probability.
    fn forests() -> impl Strategy<Value = Forest> {
        let prob = prop_oneof![Just(f32::NAN), Just(1.0f32), 0.0f32..=1.0];
        let tree = prop::collection::vec((any::<prop::sample::Index>(), prob), 0..40);
        prop::collection::vec(tree, 0..6).prop_map(|trees| {
            let mut forest = Forest::default();
            for tree in trees {
                forest.open(7);
                for (i, (parent, prob)) in tree.into_iter().enumerate() {
                    forest.push(parent.index(i + 1) as u32, 100 + i as u32, prob);
                }
                forest.close();
            }
            forest
        })
    }

    proptest! {
        #[test]
        fn any_prefix_in_order_of_probability_is_a_forest_of_trees(
            forest in forests(), hits in prop::collection::vec((0.0f32..=1.0, 1u32..4, any::<bool>()), 0..60),
            share in 0.0f64..=1.0,
        ) {
            let mut acceptance = Acceptance::default();
            for (prob, depth, hit) in hits {
                acceptance.learn(Drafted { prob, depth, rank: 0 }, hit);
                acceptance.learn(Drafted { prob: f32::NAN, depth, rank: 0 }, hit);
            }
            let (mut nodes, mut trees) = (Nodes::default(), Forest::default());
            nodes.list(&forest, &acceptance);
            let all = nodes.listed.len();
            prop_assert!(nodes.listed.iter().all(|node| (0.0..=1.0).contains(&node.reach)));
            prop_assert!(nodes.listed.windows(2).all(|pair| pair[0].reach >= pair[1].reach));
            let count = (share * all as f64) as usize;
            nodes.cut(&forest, count, &mut trees);
            prop_assert_eq!(trees.len(), forest.len());
            // Tokens name the nodes: none is lost, and each hangs where it hung.
            let kept: usize = (0..trees.len()).map(|i| trees.tree(i).len() - 1).sum();
            prop_assert_eq!(kept, count);
            for i in 0..trees.len() {
                let (cut, whole) = (trees.tree(i), forest.tree(i));
                for node in 1..cut.len() {
                    let parent = cut.tokens[cut.parents[node] as usize];
                    let origin = whole.tokens.iter().position(|&token| token == cut.tokens[node]).unwrap();
                    prop_assert_eq!(whole.tokens[whole.parents[origin] as usize], parent);
                }
            }
            trees.clear();
            nodes.copy(&forest, &mut trees);
            prop_assert_eq!(format!("{trees:?}"), format!("{forest:?}"));
        }
    }
}

//! `Mix`: the merged tree against an enumeration of all paths, and what it learns.

#[path = "support/propose.rs"]
mod propose;
mod support;

use draftwood_base::{Locked, Result, SequenceId, Token};
use draftwood_retrieve::{
    Mix, NGram, NGramConfig, SharedDrafter, Suffix, SuffixConfig, Trigram, TrigramConfig, TrigramTable,
};
use draftwood_tree::{Drafter, Forest, TreeRef, View};
use propose::propose;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use support::{check_tree, texts};

/// Proposes the same below every text: (parent, token, probability) per node.
#[derive(Clone)]
struct Fixed(Vec<(u32, Token, f32)>, Arc<Mutex<Vec<SequenceId>>>);

impl Fixed {
    fn new(nodes: &[(u32, Token, f32)]) -> Self {
        Self(nodes.to_vec(), Arc::default())
    }
}

impl Drafter for Fixed {
    fn propose_batch(&mut self, views: &[View<'_>], forest: &mut Forest) -> Result<()> {
        for view in views {
            forest.open(*view.tokens.last().unwrap());
            self.0.iter().for_each(|&(parent, token, prob)| {
                forest.push(parent, token, prob);
            });
            forest.close();
        }
        Ok(())
    }

    fn close(&mut self, sequence: SequenceId) {
        self.1.lock().unwrap().push(sequence);
    }
}

fn shared(drafter: impl Drafter + 'static) -> SharedDrafter {
    Arc::new(Locked::new(drafter))
}

/// All nodes by their paths.
fn paths(tree: TreeRef<'_>) -> BTreeMap<Vec<Token>, f32> {
    let mut all = BTreeMap::new();
    for node in 1..tree.len() {
        let mut path = Vec::new();
        tree.path_into(node, &mut path);
        all.insert(path[1..].iter().map(|&n| tree.tokens[n as usize]).collect(), tree.prob[node]);
    }
    all
}

/// Weighted means over the sources that know a path's parent and continue it.
fn mixture(sources: &[BTreeMap<Vec<Token>, f32>], weights: &[f32]) -> BTreeMap<Vec<Token>, f32> {
    let mut mixed = BTreeMap::new();
    for path in sources.iter().flat_map(BTreeMap::keys) {
        let parent = &path[..path.len() - 1];
        let speaks =
            |s: &&(&BTreeMap<Vec<Token>, f32>, &f32)| s.0.keys().any(|p| p[..p.len() - 1] == *parent);
        let speaking: Vec<_> = sources.iter().zip(weights).collect();
        let speaking: Vec<_> = speaking.iter().filter(|s| speaks(s)).collect();
        let said: f32 = speaking.iter().map(|s| s.1 * s.0.get(path).copied().unwrap_or(0.0)).sum();
        mixed.insert(path.clone(), said / speaking.iter().map(|s| s.1).sum::<f32>());
    }
    mixed
}

fn three() -> Vec<SharedDrafter> {
    vec![
        shared(NGram::new(NGramConfig { max_ngram: 3, min_prob: 0.001 }).unwrap()),
        shared(Suffix::new(SuffixConfig { min_prob: 0.001, ..SuffixConfig::default() }).unwrap()),
        shared(Trigram::new(TrigramConfig::default(), TrigramTable::default()).unwrap()),
    ]
}

proptest! {
    #[test]
    fn equals_an_enumeration_of_all_paths(text in texts(), budget in 1u32..40, max_depth in 0u32..9) {
        let trees: Vec<_> = three()
            .iter()
            .map(|source| paths(propose(&mut *source.lock().unwrap(), 0, &text, budget, max_depth).tree(0)))
            .collect();
        let expected = mixture(&trees, &[1.0; 3]);
        let forest = propose(&mut Mix::new(three()).unwrap(), 0, &text, budget, max_depth);
        let got = paths(forest.tree(0));
        for (path, prob) in &got {
            prop_assert!((prob - expected[path]).abs() < 1e-5, "{path:?}: {prob} and {}", expected[path]);
        }
        // What was left out is no more probable than what was taken.
        let whole = |path: &Vec<Token>| -> f32 {
            (1..=path.len()).map(|length| expected[&path[..length]]).product()
        };
        prop_assert_eq!(got.len(), expected.len().min(budget as usize - 1));
        let least = got.keys().map(whole).fold(1.0, f32::min);
        for path in expected.keys().filter(|path| !got.contains_key(*path)) {
            prop_assert!(whole(path) <= least * 1.0001);
        }
    }

    #[test]
    fn every_tree_is_valid_while_it_learns(text in texts(), budget in 1u32..40, steps in 1usize..6) {
        let mut mix = Mix::new(three()).unwrap();
        let mut length = 0;
        while length < text.len() {
            length = (length + steps).min(text.len());
            let said = &text[..length];
            let forest = propose(&mut mix, 0, said, budget, 12);
            check_tree(forest.tree(0), said[length - 1], budget, 12, |step| {
                said.windows(2).any(|pair| pair == step)
            })?;
            let weights = mix.weights(SequenceId(0));
            prop_assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            prop_assert!(weights.iter().all(|&weight| weight > 0.0));
        }
    }
}

#[test]
fn a_mix_of_one_is_that_one() {
    let text: Vec<Token> = (0..40).chain(3..9).chain(3..7).collect();
    let alone = propose(&mut Suffix::new(SuffixConfig::default()).unwrap(), 0, &text, 20, 20);
    let suffix = shared(Suffix::new(SuffixConfig::default()).unwrap());
    let mixed = propose(&mut Mix::new(vec![suffix]).unwrap(), 0, &text, 20, 20);
    assert_eq!((mixed.tree(0).tokens, mixed.tree(0).parents), (alone.tree(0).tokens, alone.tree(0).parents));
}

#[test]
fn the_one_that_is_right_gains_weight() {
    //  liar: 5 (0.9)      honest: 6 (0.6) ── 7 (0.5)
    let (liar, honest) = (Fixed::new(&[(0, 5, 0.9)]), Fixed::new(&[(0, 6, 0.6), (1, 7, 0.5)]));
    let mut mix = Mix::new(vec![shared(liar.clone()), shared(honest)]).unwrap();
    let mut text = vec![1, 6];
    let forest = propose(&mut mix, 0, &text, 2, 8);
    assert_eq!(forest.tree(0).tokens, [6, 5]);
    assert_eq!(forest.tree(0).prob[1], 0.45);
    for _ in 0..10 {
        text.push(6);
        propose(&mut mix, 0, &text, 2, 8);
    }
    let weights = mix.weights(SequenceId(0));
    assert!(weights[1] > 0.9, "{weights:?}");
    let forest = propose(&mut mix, 0, &text, 4, 8);
    assert_eq!(forest.tree(0).tokens, [6, 6, 7, 5]);
    // A text of its own begins anew, and closing reaches the sources.
    mix.close(SequenceId(0));
    assert_eq!(mix.weights(SequenceId(0)), [0.5, 0.5]);
    assert_eq!(*liar.1.lock().unwrap(), [SequenceId(0)]);
}

#[test]
fn the_number_of_drafters_is_bounded() {
    let many = |count| Mix::new(vec![shared(Fixed::new(&[])); count]);
    assert_eq!(many(8).unwrap().sources(), 8);
    for count in [0, 9] {
        let error = many(count).err().unwrap().to_string();
        assert!(error.starts_with("the number of drafters must be 1 … 8, got "), "{error}");
    }
}

//! Texts and checks that the tests of the drafters share.

use draftwood_base::Token;
use draftwood_tree::{TreeRef, validate};
use proptest::prelude::*;

/// Random texts with repeats: small alphabets, and pieces copied from what came before.
pub fn texts() -> impl Strategy<Value = Vec<Token>> {
    (1u32..40, prop::collection::vec((any::<u32>(), 0usize..12), 1..60)).prop_map(|(alphabet, pieces)| {
        let mut text = Vec::new();
        for (seed, length) in pieces {
            text.push(seed % alphabet);
            let from = seed as usize % text.len();
            (from..from + length).for_each(|i| text.push(text[i]));
        }
        text
    })
}

/// A tree as every drafter must give it; `seen` says whether a step (parent's token, own token) is known.
pub fn check_tree(
    tree: TreeRef<'_>,
    root: Token,
    budget: u32,
    max_depth: u32,
    seen: impl Fn(&[Token; 2]) -> bool,
) -> Result<(), TestCaseError> {
    let tokens: Vec<i64> = tree.tokens.iter().map(|&token| i64::from(token)).collect();
    let parents: Vec<i64> = tree.parents.iter().map(|&parent| i64::from(parent)).collect();
    prop_assert!(validate(&tokens, &parents, 1 << 20, root, budget as usize).is_ok());
    let mut depths = Vec::new();
    tree.depths_into(&mut depths);
    prop_assert!(depths.iter().all(|&depth| depth <= max_depth));
    let mut shares = vec![0.0f32; tree.len()];
    for node in 1..tree.len() {
        let parent = tree.parents[node] as usize;
        let step = [tree.tokens[parent], tree.tokens[node]];
        prop_assert!(seen(&step), "{step:?} does not occur");
        prop_assert!(tree.prob[node] > 0.0 && tree.prob[node] <= 1.0, "{}", tree.prob[node]);
        shares[parent] += tree.prob[node];
    }
    prop_assert!(shares.iter().all(|&share| share <= 1.0 + 1e-5), "children share {shares:?}");
    Ok(())
}

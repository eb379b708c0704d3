//! Texts that are known by their number: whatever happens to them, drafts are those of a drafter that reads them anew.

use draftwood_base::{SequenceId, Token};
use draftwood_retrieve::{
    NGram, NGramConfig, Outputs, OutputsConfig, Suffix, SuffixConfig, Trigram, TrigramConfig, TrigramTable,
};
use draftwood_tree::{Drafter, Forest, GrowingText, TextRef, View};
use proptest::prelude::*;

fn drafters() -> Vec<Box<dyn Drafter>> {
    let past = [1, 2, 3, 1, 2, 0, 3, 2, 1, 1, 0];
    let mut outputs = Outputs::new(OutputsConfig::default()).unwrap();
    outputs.share(0, &past);
    let corpus = TrigramTable::new([&past[..]]);
    vec![
        Box::new(NGram::new(NGramConfig::default()).unwrap()),
        Box::new(Suffix::new(SuffixConfig::default()).unwrap()),
        Box::new(Trigram::new(TrigramConfig { iterations: 20, depth: 3 }, corpus).unwrap()),
        Box::new(outputs),
    ]
}

/// Tokens, parents and probabilities of the draft.
type Draft = (Vec<Token>, Vec<i32>, Vec<f32>);

fn draft(drafter: &mut dyn Drafter, sequence: u32, tokens: TextRef<'_>) -> Draft {
    let sequence = SequenceId(sequence);
    let view = View { sequence, tokens, source: &[], budget: 12, max_depth: 5, salt: 0 };
    let mut forest = Forest::default();
    drafter.propose_batch(&[view], &mut forest).unwrap();
    let tree = forest.tree(0);
    (tree.tokens.to_vec(), tree.parents.to_vec(), tree.prob.to_vec())
}

#[derive(Debug, Clone)]
enum Action {
    /// Tokens come.
    Grow(Vec<Token>),
    /// Tokens are taken back; the text may then become as long as before, and another one.
    TakeBack(usize),
    /// A copy goes on under another sequence, or takes this one's place.
    Fork(u32),
    /// Another text under the same sequence.
    Replace(Vec<Token>),
    /// Two sequences exchange their texts.
    Swap(u32),
    /// The next view comes without a number.
    Foreign,
}

fn actions() -> impl Strategy<Value = Vec<(u32, Action)>> {
    let tokens = || prop::collection::vec(0 as Token..4, 1..6);
    let action = prop_oneof![
        4 => tokens().prop_map(Action::Grow),
        2 => (1usize..5).prop_map(Action::TakeBack),
        1 => (0u32..3).prop_map(Action::Fork),
        1 => tokens().prop_map(Action::Replace),
        1 => (0u32..3).prop_map(Action::Swap),
        1 => Just(Action::Foreign),
    ];
    prop::collection::vec((0u32..3, action), 1..30)
}

proptest! {
    #[test]
    fn drafts_are_those_of_a_text_read_anew(actions in actions()) {
        let mut kept = drafters();
        let mut texts: Vec<GrowingText> = (0..3).map(|i| GrowingText::new(vec![i, 1, 2, i, 1])).collect();
        for (at, action) in actions {
            let (mut foreign, text) = (false, at as usize);
            match action {
                Action::Grow(tokens) => texts[text].extend(tokens),
                Action::TakeBack(tokens) => {
                    let left = texts[text].len().saturating_sub(tokens).max(1);
                    texts[text].truncate(left);
                }
                Action::Fork(to) => texts[to as usize] = texts[text].clone(),
                Action::Replace(tokens) => texts[text] = GrowingText::new(tokens),
                Action::Swap(with) => texts.swap(text, with as usize),
                Action::Foreign => foreign = true,
            }
            for (drafter, mut fresh) in kept.iter_mut().zip(drafters()) {
                let tokens = if foreign { (&texts[text][..]).into() } else { texts[text].as_ref() };
                let expected = draft(&mut *fresh, 0, (&texts[text][..]).into());
                prop_assert_eq!(draft(&mut **drafter, at, tokens), expected);
            }
        }
    }
}

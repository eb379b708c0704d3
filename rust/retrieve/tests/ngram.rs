//! `NGram` against a scan of the text, and what every draft must be.

#[path = "support/propose.rs"]
mod propose;
#[path = "support/rates.rs"]
mod rates;
mod support;

use draftwood_base::{SequenceId, Token};
use draftwood_retrieve::{MAX_NGRAM, NGram, NGramConfig};
use draftwood_tree::{Continuations, Drafter, Forest, Grower, View};
use propose::propose;
use proptest::prelude::*;
use rates::Rates;
use support::{check_tree, texts};

const FOLLOWERS: usize = 8;

fn fresh(max_ngram: usize, min_prob: f32) -> NGram {
    NGram::new(NGramConfig { max_ngram, min_prob }).unwrap()
}

/// The same definition by scanning the text for every context of every node.
struct Scan<'a> {
    text: &'a [Token],
    max_ngram: usize,
    min_prob: f32,
    rates: Rates,
    /// Per node state: its path from the root, its longest context, its path probability.
    states: Vec<(Vec<Token>, usize, f32)>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a [Token], max_ngram: usize, min_prob: f32) -> Self {
        let mut rates = Rates::default();
        for (time, &token) in text.iter().enumerate() {
            let before =
                Scan { text: &text[..time], max_ngram, min_prob, rates: Rates::default(), states: vec![] };
            let followers = |n: usize| {
                let found = before.followers(&text[time - n..time]);
                (n, found.into_iter().map(|(token, _)| token).collect())
            };
            let contexts: Vec<_> = (1..=max_ngram.min(time)).rev().map(followers).collect();
            rates.learn(&contexts, token);
        }
        Self { text, max_ngram, min_prob, rates, states: vec![(Vec::new(), max_ngram, 1.0)] }
    }

    /// (token, count) of what followed `context`, the freshest first.
    fn followers(&self, context: &[Token]) -> Vec<(Token, u32)> {
        let mut found: Vec<(Token, u32)> = Vec::new();
        for end in (context.len()..self.text.len()).rev() {
            if self.text[..end].ends_with(context) {
                match found.iter_mut().find(|f| f.0 == self.text[end]) {
                    Some(follower) => follower.1 += 1,
                    None => found.push((self.text[end], 1)),
                }
            }
        }
        found.truncate(FOLLOWERS);
        found
    }
}

impl Continuations for Scan<'_> {
    type State = usize;

    fn expand(&mut self, state: usize, _: f32, out: &mut Vec<(Token, f32, usize)>) {
        let (path, longest, path_prob) = self.states[state].clone();
        let whole: Vec<Token> = self.text.iter().chain(&path).copied().collect();
        let (mut left, mut known) = (1.0f32, Vec::new());
        for n in (1..=longest.min(whole.len())).rev() {
            if path_prob * left < self.min_prob {
                break;
            }
            let mut new = self.followers(&whole[whole.len() - n..]);
            new.retain(|f| !known.contains(&f.0));
            if new.is_empty() {
                continue;
            }
            let hit = self.rates.hit(n, path.len());
            let share = left * hit / new.iter().map(|f| f.1).sum::<u32>() as f32;
            for (token, count) in new {
                known.push(token);
                let prob = count as f32 * share;
                if path_prob * prob >= self.min_prob {
                    let mut next = path.clone();
                    next.push(token);
                    self.states.push((next, self.max_ngram.min(n + 1), path_prob * prob));
                    out.push((token, prob, self.states.len() - 1));
                }
            }
            left *= 1.0 - hit;
        }
    }
}

fn by_scan(text: &[Token], max_ngram: usize, min_prob: f32, budget: u32, max_depth: u32) -> Forest {
    let mut forest = Forest::default();
    let mut scan = Scan::new(text, max_ngram, min_prob);
    let root = *text.last().unwrap();
    Grower::default().grow(&mut forest, root, 0, budget as usize, max_depth, &mut scan);
    forest
}

proptest! {
    #[test]
    fn equals_a_scan_of_the_text(
        text in texts(), max_ngram in 1usize..=8, min_prob in prop::sample::select(vec![0.0f32, 0.001, 0.01, 0.2]),
        budget in 1u32..80, max_depth in 0u32..10,
    ) {
        let forest = propose(&mut fresh(max_ngram, min_prob), 0, &text, budget, max_depth);
        prop_assert_eq!(forest, by_scan(&text, max_ngram, min_prob, budget, max_depth));
    }

    #[test]
    fn growing_a_text_equals_reading_it_at_once(
        text in texts(), other in texts(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
    ) {
        let mut grown = fresh(3, 0.001);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len()) + 1).collect();
        cuts.sort_unstable();
        for cut in cuts {
            let forest = propose(&mut grown, 7, &text[..cut], 32, 16);
            prop_assert_eq!(&forest, &propose(&mut fresh(3, 0.001), 7, &text[..cut], 32, 16));
            // Another sequence in between changes nothing.
            propose(&mut grown, 8, &other, 32, 16);
        }
    }

    #[test]
    fn another_text_under_the_same_id_is_noticed(
        text in texts(), at in any::<prop::sample::Index>(), token in 0u32..3, keep in any::<prop::sample::Index>(),
    ) {
        let mut drafter = fresh(3, 0.001);
        propose(&mut drafter, 0, &text, 32, 16);
        let mut edited = text.clone();
        edited[at.index(text.len())] = token;
        edited.truncate(keep.index(text.len()) + 1);
        let forest = propose(&mut drafter, 0, &edited, 32, 16);
        prop_assert_eq!(forest, propose(&mut fresh(3, 0.001), 0, &edited, 32, 16));
    }

    #[test]
    fn every_tree_is_valid_and_within_its_limits(
        text in texts(), max_ngram in 1usize..=MAX_NGRAM, budget in 1u32..80, max_depth in 0u32..10,
    ) {
        let forest = propose(&mut fresh(max_ngram, 0.0), 0, &text, budget, max_depth);
        check_tree(forest.tree(0), *text.last().unwrap(), budget, max_depth, |step| {
            // Each step of a path has been taken somewhere before, never at the end of the text itself.
            text.windows(2).any(|pair| pair == step)
        })?;
    }
}

#[test]
fn longer_contexts_and_more_and_fresher_followers_come_first() {
    //                 1 2 → 3,    1 2 → 4 twice,          2 → 5 alone
    let text = [1, 2, 3, 9, 1, 2, 4, 8, 1, 2, 4, 7, 6, 2, 5, 6, 1, 2];
    let forest = propose(&mut fresh(3, 0.01), 0, &text, 4, 1);
    //  2 ─┬─ 4   followed "1 2" twice
    //     ├─ 3   followed it once
    //     └─ 5   followed "2" only
    assert_eq!((forest.tree(0).tokens, forest.tree(0).parents), (&[2, 4, 3, 5][..], &[-1, 0, 0, 0][..]));
    let once_each = [1, 3, 1, 4, 1];
    assert_eq!(propose(&mut fresh(3, 0.01), 0, &once_each, 3, 1).tree(0).tokens, [1, 4, 3]);
}

#[test]
fn a_repeated_passage_is_drafted_whole() {
    let text: Vec<Token> = (0..50).chain(10..14).collect();
    let forest = propose(&mut fresh(3, 0.0), 0, &text, 9, 32);
    let tree = forest.tree(0);
    let mut path = Vec::new();
    tree.path_into(tree.len() - 1, &mut path);
    let drafted: Vec<Token> = path.iter().map(|&node| tree.tokens[node as usize]).collect();
    assert_eq!(drafted, (13..22).collect::<Vec<_>>());
}

#[test]
fn a_text_that_repeats_nothing_has_no_draft() {
    let text: Vec<Token> = (0..100).collect();
    let mut drafter = fresh(3, 0.0);
    assert_eq!(propose(&mut drafter, 0, &text, 64, 8).tree(0).tokens, [99]);
    // One token alone would match only itself.
    assert_eq!(propose(&mut drafter, 1, &[5], 64, 8).tree(0).tokens, [5]);
    assert_eq!(propose(&mut drafter, 1, &[5, 5], 3, 8).tree(0).tokens, [5, 5, 5]);
}

#[test]
fn one_token_over_and_over_costs_no_more() {
    let text = vec![3; 100_000];
    let forest = propose(&mut fresh(3, 1e-6), 0, &text, 64, 100);
    assert_eq!(forest.tree(0).len(), 64, "nothing else ever came, so the draft goes on");
    assert!(forest.tree(0).tokens.iter().all(|&token| token == 3));
}

#[test]
fn views_keep_their_order_and_closing_frees() {
    let (mut drafter, mut forest) = (fresh(3, 0.01), Forest::default());
    let view = |sequence, tokens: &'static [Token]| View {
        sequence: SequenceId(sequence),
        tokens: tokens.into(),
        source: &[],
        budget: 2,
        max_depth: 9,
        salt: 0,
    };
    drafter.propose_batch(&[view(1, &[4, 5, 4]), view(0, &[1, 2, 1])], &mut forest).unwrap();
    assert_eq!((forest.tree(0).tokens, forest.tree(1).tokens), (&[4, 5][..], &[1, 2][..]));
    assert_eq!(drafter.open_sequences(), 2);
    drafter.close(SequenceId(0));
    drafter.close(SequenceId(9));
    assert_eq!(drafter.open_sequences(), 1);
}

#[test]
fn bad_settings_and_empty_views_are_named() {
    let error =
        |max_ngram, min_prob| NGram::new(NGramConfig { max_ngram, min_prob }).err().unwrap().to_string();
    assert!(error(0, 0.1).starts_with("max_ngram must be 1 … 16, got 0; "), "{}", error(0, 0.1));
    assert!(error(17, 0.1).starts_with("max_ngram must be 1 … 16, got 17; "));
    assert!(error(3, f32::NAN).starts_with("min_prob must be a probability, 0 … 1, got NaN; "));
    assert!(error(3, -0.1).contains("got -0.1"));
    assert!(error(3, 1.5).contains("got 1.5"));
    let view =
        View { sequence: SequenceId(4), tokens: (&[]).into(), source: &[], budget: 4, max_depth: 4, salt: 0 };
    let error = fresh(3, 0.1).propose_batch(&[view], &mut Forest::default()).unwrap_err().to_string();
    assert!(error.starts_with("the number of tokens of sequence 4 must be 1 … "), "{error}");
}

proptest! {
    #[test]
    fn a_source_comes_before_the_text(source in texts(), text in texts(), cut in 0usize..99) {
        let (whole, mut drafter) = ([&source[..], &text].concat(), fresh(3, 0.0));
        // The text grows, so that the source is read once and kept.
        for tokens in [&text[..=cut % text.len()], &text] {
            let mut found = Forest::default();
            let view = View { sequence: SequenceId(1), tokens: tokens.into(), source: &source, budget: 24, max_depth: 6, salt: 0 };
            drafter.propose_batch(&[view], &mut found).unwrap();
            let expected = propose(&mut fresh(3, 0.0), 1, &whole[..source.len() + tokens.len()], 24, 6);
            prop_assert_eq!(found, expected);
        }
        // Another source under the same number is another text.
        let view = View { sequence: SequenceId(1), tokens: (&text).into(), source: &[], budget: 24, max_depth: 6, salt: 0 };
        let mut found = Forest::default();
        drafter.propose_batch(&[view], &mut found).unwrap();
        prop_assert_eq!(found, propose(&mut fresh(3, 0.0), 1, &text, 24, 6));
    }
}

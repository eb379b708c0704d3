//! `Trigram` against the definition step by step, and a tree search over paths.

#[path = "support/propose.rs"]
mod propose;
mod support;

use draftwood_base::{SequenceId, Token};
use draftwood_retrieve::{Trigram, TrigramConfig, TrigramTable};
use draftwood_tree::{Drafter, Forest, View};
use propose::propose;
use proptest::prelude::*;
use std::collections::BTreeMap;
use support::{check_tree, texts};

fn fresh(config: TrigramConfig, corpus: &[Vec<Token>]) -> Trigram {
    Trigram::new(config, TrigramTable::new(corpus.iter().map(Vec::as_slice))).unwrap()
}

type Weights = BTreeMap<(Token, Token), BTreeMap<Token, f32>>;

/// Shares of the corpus, then the window of every step.
fn weights(corpus: &[Vec<Token>], text: &[Token]) -> Weights {
    let mut counts: BTreeMap<(Token, Token), BTreeMap<Token, u32>> = BTreeMap::new();
    for three in corpus.iter().flat_map(|document| document.windows(3)) {
        *counts.entry((three[0], three[1])).or_default().entry(three[2]).or_default() += 1;
    }
    let mut weights = Weights::new();
    for (pair, followers) in counts {
        let total: u32 = followers.values().sum();
        let mut best: Vec<(Token, u32)> = followers.into_iter().collect();
        best.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        best.truncate(12);
        weights.insert(
            pair,
            best.into_iter().map(|(token, count)| (token, count as f32 / total as f32)).collect(),
        );
    }
    let mut units: BTreeMap<[Token; 3], u32> = BTreeMap::new();
    for length in 1..=text.len() {
        for three in text[length.saturating_sub(16)..length].windows(3) {
            *units.entry([three[0], three[1], three[2]]).or_default() += 1;
        }
    }
    for ([a, b, c], units) in units {
        let weight = weights.entry((a, b)).or_default().entry(c).or_default();
        *weight = (0.04 * units as f32 + *weight).min(3.0);
    }
    weights
}

/// A tree search whose nodes are paths.
struct Paths<'a> {
    weights: &'a Weights,
    last: (Token, Token),
    depth: usize,
    /// Path → (visits, score), of the paths that were found.
    nodes: BTreeMap<Vec<Token>, (u32, f32)>,
    /// All paths in the order in which they were found.
    order: Vec<Vec<Token>>,
}

impl Paths<'_> {
    /// Followers, the heaviest first, of equals the lower id.
    fn followers(&self, path: &[Token]) -> Vec<(Token, f32)> {
        let whole: Vec<Token> = [self.last.0, self.last.1].iter().chain(path).copied().collect();
        let pair = (whole[whole.len() - 2], whole[whole.len() - 1]);
        let known = self.weights.get(&pair).cloned().unwrap_or_default();
        let mut followers: Vec<_> = known.into_iter().collect();
        followers.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        followers
    }

    fn visits(&self, path: &[Token]) -> u32 {
        self.nodes.get(path).map_or(0, |node| node.0)
    }

    fn round(&mut self) {
        let (mut path, mut reward) = (Vec::new(), 1.0f32);
        while path.len() < self.depth {
            let followers = self.followers(&path);
            let Some(&(heaviest, weight)) = followers.first() else { break };
            if !self.nodes.contains_key([&path[..], &[heaviest]].concat().as_slice()) {
                for (token, _) in followers {
                    let child = [&path[..], &[token]].concat();
                    self.nodes.insert(child.clone(), (0, 0.0));
                    self.order.push(child);
                }
                path.push(heaviest);
                reward += weight;
                break;
            }
            let n = self.visits(&path) as f32;
            let explore = (32.0 + ((n + 8.0 + 1.0) / 8.0f32).ln()) * n.sqrt();
            let mut best = (f32::NEG_INFINITY, 0, 0.0);
            for (token, weight) in followers {
                let (visits, score) = self.nodes[[&path[..], &[token]].concat().as_slice()];
                let bound = if visits == 0 {
                    f32::INFINITY
                } else {
                    score / visits as f32 + explore * weight / (1 + visits) as f32
                };
                if bound > best.0 {
                    best = (bound, token, weight);
                }
            }
            path.push(best.1);
            reward += best.2;
        }
        let mut ahead = path.clone();
        let mut sum = 0.0;
        while ahead.len() < self.depth {
            let Some(&(token, weight)) = self.followers(&ahead).first() else { break };
            ahead.push(token);
            sum += weight;
        }
        reward += sum;
        for length in 0..=path.len() {
            let node = self.nodes.entry(path[..length].to_vec()).or_default();
            *node = (node.0 + 1, node.1 + reward);
        }
    }
}

fn by_paths(
    weights: &Weights,
    text: &[Token],
    config: TrigramConfig,
    budget: usize,
    max_depth: usize,
) -> Forest {
    let mut forest = Forest::default();
    forest.open(text[text.len() - 1]);
    if text.len() > 1 && budget > 1 && max_depth > 0 {
        let last = (text[text.len() - 2], text[text.len() - 1]);
        let depth = max_depth.min(config.depth as usize);
        let mut paths = Paths { weights, last, depth, nodes: BTreeMap::new(), order: Vec::new() };
        (0..config.iterations).for_each(|_| paths.round());
        let mut best: Vec<&Vec<Token>> = paths.order.iter().filter(|path| paths.visits(path) > 0).collect();
        best.sort_by_key(|path| std::cmp::Reverse(paths.visits(path)));
        best.truncate(24.min(budget - 1));
        let number = |path: &[Token]| best.iter().position(|p| p[..] == *path).map_or(0, |i| i as u32 + 1);
        for path in &best {
            let (&token, parent) = path.split_last().unwrap();
            let share = paths.visits(path) as f32 / paths.visits(parent) as f32;
            forest.push(number(parent), token, share);
        }
        let mut nodes = 1 + best.len();
        for path in &best {
            let followers = paths.followers(path);
            let Some(&(token, weight)) = followers.first() else { continue };
            let drafted: Vec<&&Vec<Token>> =
                best.iter().filter(|p| p.len() == path.len() + 1 && p.starts_with(path)).collect();
            if nodes == budget || path.len() == max_depth || drafted.iter().any(|p| p.last() == Some(&token))
            {
                continue;
            }
            let mut left = 1.0f32;
            // In the order in which they were found.
            for found in paths.order.iter().filter(|p| drafted.contains(&p)) {
                left -= paths.visits(found) as f32 / paths.visits(path) as f32;
            }
            let share = left * weight / followers.iter().map(|f| f.1).sum::<f32>();
            if share > 0.0 {
                forest.push(number(path), token, share.min(1.0));
                nodes += 1;
            }
        }
    }
    forest.close();
    forest
}

fn configs() -> impl Strategy<Value = TrigramConfig> {
    (1u32..60, 1u32..6).prop_map(|(iterations, depth)| TrigramConfig { iterations, depth })
}

proptest! {
    #[test]
    fn equals_the_definition(
        corpus in prop::collection::vec(texts(), 0..3), text in texts(), config in configs(),
        budget in 1u32..50, max_depth in 0u32..8,
    ) {
        let forest = propose(&mut fresh(config, &corpus), 0, &text, budget, max_depth);
        let expected = by_paths(&weights(&corpus, &text), &text, config, budget as usize, max_depth as usize);
        prop_assert_eq!(forest, expected);
    }

    #[test]
    fn growing_a_text_equals_reading_it_at_once(
        corpus in prop::collection::vec(texts(), 0..2), text in texts(), other in texts(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
    ) {
        let config = TrigramConfig::default();
        let mut grown = fresh(config, &corpus);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len()) + 1).collect();
        cuts.sort_unstable();
        for cut in cuts {
            let forest = propose(&mut grown, 7, &text[..cut], 32, 16);
            prop_assert_eq!(&forest, &propose(&mut fresh(config, &corpus), 7, &text[..cut], 32, 16));
            propose(&mut grown, 8, &other, 32, 16);
        }
    }

    #[test]
    fn every_tree_is_valid_and_within_its_limits(
        corpus in prop::collection::vec(texts(), 0..3), text in texts(), budget in 1u32..80, max_depth in 0u32..10,
    ) {
        let forest = propose(&mut fresh(TrigramConfig::default(), &corpus), 0, &text, budget, max_depth);
        check_tree(forest.tree(0), *text.last().unwrap(), budget, max_depth, |step| {
            corpus.iter().chain([&text]).any(|said| said.windows(2).any(|pair| pair == step))
        })?;
    }
}

#[test]
fn the_corpus_speaks_first_and_the_text_overrules_it() {
    let corpus = vec![vec![1, 2, 3], vec![1, 2, 3], vec![1, 2, 4], vec![9, 9]];
    let config = TrigramConfig::default();
    let first = |text: &[Token]| propose(&mut fresh(config, &corpus), 0, text, 2, 1).tree(0).tokens.to_vec();
    assert_eq!(first(&[7, 1, 2]), [2, 3]);
    assert_eq!(first(&[1, 2, 4, 1, 2, 4, 8, 8, 8, 8, 8, 8, 8, 1, 2]), [2, 4]);
    // Nothing is known, or there is no pair yet.
    assert_eq!(first(&[7, 7]), [7]);
    assert_eq!(first(&[1]), [1]);
}

#[test]
fn closing_frees_and_bad_settings_are_named() {
    let mut drafter = fresh(TrigramConfig::default(), &[]);
    propose(&mut drafter, 3, &[1, 2, 1, 2], 4, 4);
    assert_eq!(drafter.open_sequences(), 1);
    drafter.close(SequenceId(3));
    assert_eq!(drafter.open_sequences(), 0);
    let error = |iterations, depth| {
        Trigram::new(TrigramConfig { iterations, depth }, TrigramTable::default()).err().unwrap().to_string()
    };
    assert!(error(0, 4).starts_with("iterations must be 1 … 10000, got 0"));
    assert!(error(5, 17).starts_with("depth must be 1 … 16, got 17"));
    let view =
        View { sequence: SequenceId(4), tokens: (&[]).into(), source: &[], budget: 4, max_depth: 4, salt: 0 };
    let error = drafter.propose_batch(&[view], &mut Forest::default()).unwrap_err().to_string();
    assert!(error.starts_with("the number of tokens of sequence 4 must be 1 … "), "{error}");
}

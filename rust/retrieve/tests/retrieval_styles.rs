//! `Retrieval` as REST and as SuffixDecoding, against tries of all substrings of the documents.

#[path = "support/cases.rs"]
mod cases;
#[path = "support/propose.rs"]
mod propose;
mod support;

use cases::at_least;
use draftwood_base::Token;
use draftwood_retrieve::index::{Corpus, Group, Index, Tier};
use draftwood_retrieve::{Retrieval, RetrievalConfig, RetrievalStyle};
use draftwood_tree::TreeRef;
use propose::propose;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use support::{check_tree, texts};

type Documents = Vec<Vec<Token>>;
/// How often every substring of the documents occurs, up to some length: a suffix tree, nothing shared.
type Trie = HashMap<Vec<Token>, u64>;

fn trie(documents: &Documents, deepest: usize) -> Trie {
    let mut trie = Trie::new();
    for document in documents {
        for start in 0..document.len() {
            for end in start + 1..=document.len().min(start + deepest) {
                *trie.entry(document[start..end].to_vec()).or_default() += 1;
            }
        }
    }
    trie
}

fn drafter(config: RetrievalConfig, documents: &Documents, each: usize) -> Retrieval {
    let index = |part: &[Vec<Token>]| {
        let mut corpus = Corpus::default();
        part.iter().for_each(|document| corpus.push(document).unwrap());
        Index::build_in_memory(&corpus, Tier::Standard).unwrap()
    };
    let parts = documents.chunks(each).map(index).collect();
    Retrieval::new(config, Arc::new(Group::new(parts).unwrap())).unwrap()
}

/// Documents, and a text of pieces of them.
fn cases() -> impl Strategy<Value = (Documents, Vec<Token>)> {
    let pieces = prop::collection::vec((any::<usize>(), any::<usize>(), 1usize..12), 1..6);
    (prop::collection::vec(texts(), 1..5), pieces).prop_map(|(mut documents, pieces)| {
        documents.iter_mut().for_each(|document| document.truncate(50));
        let mut text = Vec::new();
        for (d, at, length) in pieces {
            let document = &documents[d % documents.len()];
            text.extend(document.iter().skip(at % document.len()).take(length));
        }
        (documents, text)
    })
}

/// The path of every node but the root.
fn paths(tree: TreeRef<'_>) -> Vec<Vec<Token>> {
    let mut paths: Vec<Vec<Token>> = vec![Vec::new()];
    for node in 1..tree.len() {
        let mut path = paths[tree.parents[node] as usize].clone();
        path.push(tree.tokens[node]);
        paths.push(path);
    }
    paths.split_off(1)
}

fn followed(trie: &Trie, path: &[Token]) -> Vec<(Token, u64)> {
    let tokens: BTreeSet<Token> = trie.keys().map(|substring| substring[0]).collect();
    let count = |token| trie.get(&[path, &[token]].concat()).copied();
    let mut found: Vec<_> = tokens.into_iter().filter_map(|token| Some((token, count(token)?))).collect();
    found.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    found
}

/// One tree of SuffixDecoding: the likeliest candidate next, until the tokens or the candidates are used up. Nodes as
/// (parent, token, probability given it), and their score.
fn grow(trie: &Trie, suffix: &[Token], tokens: usize, deepest: usize, min_prob: f32, path: bool) -> Draft {
    let (mut nodes, mut score) = (Vec::new(), 0.0f64);
    // Probability of the path, the path, its parent's number, probability given the parent.
    let mut candidates: Vec<(f32, Vec<Token>, usize, f32)> = Vec::new();
    let (mut at, mut from, mut from_prob) = (0, Vec::new(), 1.0f32);
    loop {
        if from.len() < deepest {
            let here = [suffix, &from].concat();
            let most = if path { 1 } else { usize::MAX };
            for (token, count) in followed(trie, &here).into_iter().take(most) {
                let prob = (count as f64 / trie[&here] as f64) as f32;
                if from_prob * prob >= min_prob {
                    candidates.push((from_prob * prob, [&from[..], &[token]].concat(), at, prob));
                }
            }
        }
        let best = candidates.iter().map(|one| one.0).max_by(f32::total_cmp);
        let best = best.and_then(|best| candidates.iter().position(|one| one.0 == best));
        let (Some(best), true) = (best, nodes.len() < tokens) else { return (nodes, score) };
        let (path_prob, path, parent, prob) = candidates.remove(best);
        nodes.push((parent as i32, path[path.len() - 1], prob));
        score += f64::from(path_prob);
        (at, from, from_prob) = (nodes.len(), path, path_prob);
    }
}

type Draft = (Vec<(i32, Token, f32)>, f64);

proptest! {
    #![proptest_config(at_least(2000))]

    #[test]
    fn rest_keeps_the_heaviest_nodes_of_the_continuations_of_the_longest_hit(
        (documents, text) in cases(), each in 1usize..5, budget in 1u32..80, max_depth in 1u32..12,
        shortest in 1usize..4,
    ) {
        let config = RetrievalConfig { min_match: shortest, ..RetrievalConfig::REST };
        let forest = propose(&mut drafter(config, &documents, each), 0, &text, budget, max_depth);
        let (tree, root) = (forest.tree(0), text[text.len() - 1]);
        prop_assert!(tree.len() <= budget as usize);
        check_tree(tree, root, budget, max_depth.min(10), |_| true)?;
        let trie = trie(&documents, 26);
        let hit = (shortest..=16.min(text.len())).rev().map(|n| &text[text.len() - n..]);
        let hit = hit.into_iter().find(|suffix| !followed(&trie, suffix).is_empty());
        let Some(hit) = hit else {
            prop_assert_eq!(tree.len(), 1);
            return Ok(());
        };
        // All continuations by a scan, cut at the depth, and how many of them pass each node.
        let mut weights = Trie::new();
        for document in &documents {
            for end in hit.len()..=document.len() {
                if document[..end].ends_with(hit) {
                    let continuation = &document[end..document.len().min(end + max_depth.min(10) as usize)];
                    (1..=continuation.len()).for_each(|n| *weights.entry(continuation[..n].to_vec()).or_default() += 1);
                }
            }
        }
        let drafted = paths(tree);
        prop_assert_eq!(drafted.len(), weights.len().min(budget as usize - 1));
        let heaviness: Vec<u64> = drafted.iter().map(|path| weights[path]).collect();
        prop_assert!(heaviness.is_sorted_by(|a, b| a >= b), "{:?}", heaviness);
        let left = weights.iter().filter(|(path, _)| !drafted.contains(path)).map(|(_, &weight)| weight).max();
        prop_assert!(heaviness.last().copied().unwrap_or(u64::MAX) >= left.unwrap_or(0) || budget == 1);
        for (node, path) in (1..).zip(&drafted) {
            prop_assert!(path.len() == 1 || drafted.contains(&path[..path.len() - 1].to_vec()));
            let above = if path.len() == 1 { trie[hit] } else { weights[&path[..path.len() - 1]] };
            prop_assert_eq!(tree.prob[node], (weights[path] as f64 / above as f64) as f32);
        }
    }

    #[test]
    fn suffix_decoding_drafts_what_a_counted_suffix_tree_drafts(
        (documents, text) in cases(), each in 1usize..5, budget in 1u32..40, max_depth in 1u32..9,
        factor in prop::sample::select(vec![0.0f32, 0.5, 1.0, 2.0]), offset in prop::sample::select(vec![-1.0f32, 0.0, 2.5]),
        path: bool, min_prob in prop::sample::select(vec![0.0f32, 0.1, 0.4]), longest in 1usize..12, shortest in 1usize..3,
    ) {
        let style = RetrievalStyle::SuffixDecoding { factor, offset, path };
        let (max_match, min_match) = (longest, shortest.min(longest));
        let config = RetrievalConfig { style, max_match, min_match, min_prob, ..RetrievalConfig::SUFFIX_DECODING };
        let forest = propose(&mut drafter(config, &documents, each), 0, &text, budget, max_depth);
        let trie = trie(&documents, 22);
        let (mut best, mut highest) = (Vec::new(), 0.0);
        for m in min_match..=max_match.min(text.len()) {
            let suffix = &text[text.len() - m..];
            if !trie.contains_key(suffix) {
                break;
            }
            let tokens = (factor * m as f32 + offset).floor().max(0.0) as usize;
            let (nodes, score) =
                grow(&trie, suffix, tokens.min(budget as usize - 1), max_depth as usize, min_prob, path);
            if score >= highest {
                (best, highest) = (nodes, score);
            }
        }
        let tree = forest.tree(0);
        let found: Vec<_> = (1..tree.len()).map(|i| (tree.parents[i], tree.tokens[i], tree.prob[i])).collect();
        prop_assert_eq!(found, best);
        prop_assert!(!path || (1..tree.len()).all(|i| tree.parents[i] as usize == i - 1));
    }
}

#[test]
fn the_styles_differ_as_their_papers_do() {
    // "8 9 1 2" goes on with 3 once, "1 2" with 4 thrice.
    let documents = vec![vec![8, 9, 1, 2, 3, 5, 6, 7], vec![1, 2, 4, 6], vec![1, 2, 4, 7], vec![1, 2, 4, 7]];
    let text = [8, 9, 1, 2];
    let draft = |config, budget| {
        let forest = propose(&mut drafter(config, &documents, 2), 0, &text, budget, 32);
        (forest.tree(0).tokens[1..].to_vec(), forest.tree(0).parents[1..].to_vec())
    };
    assert_eq!(draft(RetrievalConfig::REST, 64), (vec![3, 5, 6, 7], vec![0, 1, 2, 3]), "the first hit alone");
    assert_eq!(draft(RetrievalConfig::REST, 3).0, [3, 5]);
    assert_eq!(
        draft(RetrievalConfig::SUFFIX_DECODING, 64).0,
        [3, 5, 6, 7],
        "four tokens are matched, so four drafted"
    );
    let (tokens, _) = draft(RetrievalConfig::ESCAPE, 64);
    assert!(tokens.contains(&3) && tokens.contains(&4), "{tokens:?}");
    let style = RetrievalStyle::SuffixDecoding { factor: 0.5, offset: 0.0, path: true };
    assert_eq!(draft(RetrievalConfig { style, ..RetrievalConfig::SUFFIX_DECODING }, 64).0, [3, 5]);
    let style = RetrievalStyle::SuffixDecoding { factor: 0.0, offset: 1.0, path: false };
    assert_eq!(
        draft(RetrievalConfig { style, ..RetrievalConfig::SUFFIX_DECODING }, 64).0,
        [3],
        "of equals the longest"
    );
}

//! SEAL's ranking against its formulas written out over all documents.

#[path = "support/group.rs"]
mod group;

use draftwood_base::Token;
use draftwood_retrieve::index::{Group, Tier};
use draftwood_retrieve::{
    Hit, Key, SealConfig, Unigrams, best_unigrams, key_weights, rank, rank_found, rank_weighted,
};
use group::{Documents, group as group_in};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// In one of the tiers that know places: they find documents in two ways.
fn group(documents: &Documents, each: usize) -> Group {
    let tier = [Tier::Standard, Tier::Compact, Tier::Fast][documents.concat().len() % 3];
    group_in(documents, each, tier)
}

/// Offsets of a key in a document.
fn offsets(document: &[Token], key: &Key) -> Vec<usize> {
    let all = (0..(document.len() + 1).saturating_sub(key.ids.len()))
        .filter(|&at| document[at..].starts_with(&key.ids));
    all.filter(|&at| at == 0 || !key.anchored).collect()
}

fn odds(log_prob: f64, count: usize, tokens: usize, config: SealConfig) -> f64 {
    let p = (log_prob - 1e-10).exp();
    let prior = (count as f64 + config.smoothing) / (tokens as f64 + config.smoothing);
    (p * (1.0 - prior) / (prior * (1.0 - p))).ln().max(0.0)
}

/// Weight of each key by the formulas of the paper.
fn weights(documents: &Documents, keys: &[Key], config: SealConfig) -> Vec<f64> {
    let tokens = documents.concat().len();
    let count = |key: &Key| documents.iter().map(|document| offsets(document, key).len()).sum();
    let least = keys.iter().map(|key| key.log_prob).fold(0.0, f64::min);
    let weight = |key: &Key| {
        let penalty = (1.0 - config.length_penalty).powi(key.ids.len() as i32 - 1);
        if config.use_fm_index_frequency {
            odds(key.log_prob * penalty, count(key), tokens, config)
        } else {
            (key.log_prob - least + 0.1).max(0.0) * penalty
        }
    };
    keys.iter().map(|key| weight(key).powf(config.score_exponent)).collect()
}

struct Score {
    sum: f64,
    best: f64,
    keys: Vec<u32>,
}

/// Keys from the heaviest on; `full` counts frequent keys, repeats that fill positions, and unigrams.
fn score(
    documents: &Documents,
    document: &[Token],
    keys: &[Key],
    weights: &[f64],
    unigrams: &BTreeMap<Token, f64>,
    config: SealConfig,
    full: bool,
) -> Option<Score> {
    let mut order: Vec<usize> = (0..keys.len()).filter(|&key| weights[key] > 0.0).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
    // The paper's code looks for free places behind the n-gram; they may lie outside of the document.
    let behind = |key: usize| if config.compat && !full { keys[key].ids.len() } else { 0 };
    let mut covered = vec![false; 3 * document.len()];
    let mut used: BTreeSet<Token> = BTreeSet::new();
    let (mut score, mut matched) = (Score { sum: 0.0, best: 0.0, keys: Vec::new() }, false);
    for key in order {
        let ids = &keys[key].ids;
        let count: usize = documents.iter().map(|document| offsets(document, &keys[key]).len()).sum();
        let dropped = config.skip_frequent_keys.is_some_and(|most| count as u64 > most && !config.compat);
        if (!full && count as u64 > config.max_hits) || dropped {
            continue;
        }
        let mut added = false;
        for at in offsets(document, &keys[key]) {
            matched = true;
            score.best = score.best.max(weights[key]);
            if !full && config.allow_overlaps {
                covered.fill(false);
            }
            let at = at + behind(key);
            if covered[at..at + ids.len()].contains(&true) || (added && !full) {
                continue;
            }
            covered[at..at + ids.len()].fill(true);
            if !added {
                let set: BTreeSet<Token> = ids.iter().copied().collect();
                let new = set.difference(&used).count() as f64 / set.len() as f64;
                score.sum += weights[key] * (1.0 - config.beta + config.beta * new);
                used.extend(ids);
                score.keys.push(key as u32);
                added = true;
            }
        }
    }
    if full {
        let left: BTreeSet<Token> = document
            .iter()
            .zip(&covered)
            .filter(|(_, covered)| !**covered)
            .map(|(&token, _)| token)
            .collect();
        for token in left {
            let damp = if used.contains(&token) { 1.0 - config.beta } else { 1.0 };
            score.sum += unigrams.get(&token).copied().unwrap_or(0.0) * damp;
        }
    }
    matched.then_some(score)
}

/// Weights of single tokens: the likeliest ones' log-odds without the exponent; nothing for keys, tokens that are no text
/// and tokens that the corpus does not hold.
fn unigram_weights(
    documents: &Documents,
    keys: &[Key],
    unigrams: Unigrams<'_>,
    config: SealConfig,
) -> BTreeMap<Token, f64> {
    let all = documents.concat();
    let mut top: Vec<(f32, Token)> = unigrams.log_probs.iter().copied().zip(0..).collect();
    top.sort_by(|a, b| b.0.total_cmp(&a.0));
    top.truncate(config.use_top_k_unigrams);
    top.retain(|&(_, token)| !keys.iter().any(|key| key.ids == [token]));
    top.retain(|(_, token)| !unigrams.special.contains(token));
    let count = |token: Token| all.iter().filter(|&&id| id == token).count();
    let weight = |(log_prob, token): (f32, Token)| {
        let count = count(token);
        (count > 0).then(|| (token, odds(f64::from(log_prob), count, all.len(), config)))
    };
    top.into_iter().filter_map(weight).collect()
}

fn by_formulas(documents: &Documents, keys: &[Key], unigrams: Unigrams<'_>, config: SealConfig) -> Vec<Hit> {
    let weights = weights(documents, keys, config);
    let unigrams = unigram_weights(documents, keys, unigrams, config);
    let total = |score: &Score| (1.0 - config.single_key) * score.sum + config.single_key * score.best;
    let mut first: Vec<(f64, usize)> = Vec::new();
    for (d, document) in documents.iter().enumerate() {
        first.extend(
            score(documents, document, keys, &weights, &unigrams, config, false).map(|s| (total(&s), d)),
        );
    }
    first.sort_by(|a, b| b.0.total_cmp(&a.0));
    first.truncate(config.fully_score);
    let mut hits = Vec::new();
    for (_, d) in first {
        let score = score(documents, &documents[d], keys, &weights, &unigrams, config, true).unwrap();
        let keys = score.keys.iter().map(|&key| (key, 0.0)).collect();
        hits.push(Hit { document: d as u64, score: total(&score), keys });
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.document.cmp(&b.document)));
    hits.truncate(config.hits);
    hits
}

fn cases() -> impl Strategy<Value = (Documents, Vec<Key>, Vec<f32>)> {
    let document = prop::collection::vec(0u32..9, 1..25);
    let pick = (any::<usize>(), any::<usize>(), 1usize..5, any::<bool>(), -9.0f64..-0.001);
    (
        prop::collection::vec(document, 1..7),
        prop::collection::vec(pick, 1..12),
        prop_oneof![Just(Vec::new()), prop::collection::vec(-8.0f32..-0.01, 9)],
    )
        .prop_map(|(documents, picks, unigrams)| {
            let mut keys: Vec<Key> = Vec::new();
            for (d, at, length, anchored, log_prob) in picks {
                let document = &documents[d % documents.len()];
                let at = if anchored { 0 } else { at % document.len() };
                let ids: Vec<Token> = document.iter().skip(at).take(length).copied().collect();
                // One log-probability per n-gram, as a model has it.
                if !keys.iter().any(|key| key.ids == ids) {
                    keys.push(Key { ids, anchored, log_prob });
                }
            }
            (documents, keys, unigrams)
        })
}

fn configs() -> impl Strategy<Value = SealConfig> {
    let part = || prop::sample::select(vec![0.0, 0.3, 0.8, 1.0]);
    let quirks = (any::<bool>(), any::<bool>(), prop::option::of(1u64..6));
    (
        any::<bool>(),
        part(),
        part(),
        prop::sample::select(vec![0.0, 0.2]),
        1u64..20,
        1usize..9,
        0usize..12,
        quirks,
    )
        .prop_map(
            |(frequency, beta, single_key, length_penalty, max_hits, fully_score, unigrams, quirks)| {
                SealConfig {
                    compat: quirks.0,
                    allow_overlaps: quirks.1,
                    skip_frequent_keys: quirks.2,
                    use_fm_index_frequency: frequency,
                    beta,
                    single_key,
                    length_penalty,
                    max_hits,
                    fully_score,
                    use_top_k_unigrams: unigrams,
                    smoothing: 0.5,
                    ..SealConfig::default()
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1500)))]
    #[test]
    fn equals_the_formulas(
        (documents, keys, log_probs) in cases(), config in configs(), each in 1usize..7,
        special in prop::collection::vec(0u32..11, 0..4),
    ) {
        let index = group(&documents, each);
        for (got, expected) in key_weights(&index, &keys, config).unwrap().iter().zip(weights(&documents, &keys, config)) {
            prop_assert!((got - expected).abs() <= 1e-7 * (1.0 + expected), "{got} and {expected}");
        }
        let config = SealConfig { fully_score: 100, ..config };
        let unigrams = Unigrams { log_probs: &log_probs, special: &special };
        let got = rank(&index, &keys, unigrams, config).unwrap();
        let expected = by_formulas(&documents, &keys, unigrams, config);
        prop_assert_eq!(got.len(), expected.len());
        let scores: BTreeMap<u64, f64> = expected.iter().map(|hit| (hit.document, hit.score)).collect();
        for hit in &got {
            let expected = scores[&hit.document];
            prop_assert!((hit.score - expected).abs() <= 1e-6 * (1.0 + expected), "{hit:?}: {expected}");
        }
        prop_assert!(got.windows(2).all(|pair| pair[0].score >= pair[1].score));
        // Fewer fully scored documents are the best ones of the first stage.
        let few = SealConfig { fully_score: 2, ..config };
        let close = |a: &Hit, b: &Hit| (a.score - b.score).abs() <= 1e-6 * (1.0 + b.score);
        let (got, expected) = (rank(&index, &keys, unigrams, few).unwrap(), by_formulas(&documents, &keys, unigrams, few));
        prop_assert_eq!(got.len(), expected.len());
        let same = got.iter().zip(&expected).all(|(a, b)| a.document == b.document && close(a, b));
        prop_assert!(same || has_ties(&documents, &keys, few), "{got:?} and {expected:?}");
        // The best single tokens are as many as the keys.
        let mut singles: Vec<_> = unigram_weights(&documents, &keys, unigrams, config).into_iter().collect();
        singles.retain(|&(_, weight)| weight > 0.0);
        singles.sort_by(|a, b| b.1.total_cmp(&a.1));
        singles.truncate(keys.len());
        let best = best_unigrams(&index, &keys, unigrams, config).unwrap();
        prop_assert_eq!(best.len(), singles.len());
        for ((key, got), (token, expected)) in best.iter().zip(singles) {
            prop_assert!((got - expected).abs() <= 1e-6 * (1.0 + expected), "{key:?}: {got}, {token}: {expected}");
            prop_assert!(!special.contains(&key.ids[0]));
        }
    }
}

/// Whether rounding may decide which documents are scored in full.
fn has_ties(documents: &Documents, keys: &[Key], config: SealConfig) -> bool {
    let weights = weights(documents, keys, config);
    let none = BTreeMap::new();
    let mut totals: Vec<f64> = documents
        .iter()
        .filter_map(|document| score(documents, document, keys, &weights, &none, config, false))
        .map(|score| (1.0 - config.single_key) * score.sum + config.single_key * score.best)
        .collect();
    totals.sort_by(f64::total_cmp);
    totals.windows(2).any(|pair| (pair[0] - pair[1]).abs() <= 1e-6 * (1.0 + pair[1]))
}

fn key(ids: &[Token], log_prob: f64) -> Key {
    Key { ids: ids.to_vec(), anchored: false, log_prob }
}

#[test]
fn what_the_parameters_mean() {
    //                        0 1 2 3  4 5
    let documents = vec![vec![1, 2, 9, 1, 2, 3], vec![3, 3, 3], vec![7, 8]];
    let index = group(&documents, 2);
    let keys = [key(&[1, 2], -0.01), key(&[2, 3], -0.2), key(&[3], -0.3)];
    let plain = SealConfig { beta: 0.0, smoothing: 0.1, ..SealConfig::default() };
    let weights = key_weights(&index, &keys, plain).unwrap();
    assert!(weights[0] > weights[1] && weights[1] > weights[2] && weights[2] > 0.0, "{weights:?}");
    // "1 2" twice counts once; "2 3" overlaps its second occurrence, so "3" stands for itself.
    let hits = rank(&index, &keys, Unigrams::default(), plain).unwrap();
    assert_eq!(hits[0].keys, [(0, weights[0]), (2, weights[2])]);
    assert_eq!((hits[0].score, hits[1].score), (weights[0] + weights[2], weights[2]));
    assert_eq!(hits.iter().map(|hit| hit.document).collect::<Vec<_>>(), [0, 1]);
    let single = rank(&index, &keys, Unigrams::default(), SealConfig { single_key: 1.0, ..plain }).unwrap();
    assert_eq!((single[0].score, single[1].score), (weights[0], weights[2]));
    // A title counts at the start only, the last document included.
    let title = Key { anchored: true, ..key(&[3, 3], -0.1) };
    let hits = rank(&index, &[title, Key { anchored: true, ..key(&[7], -0.5) }], Unigrams::default(), plain)
        .unwrap();
    assert_eq!(hits.iter().map(|hit| hit.document).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn the_best_unigrams_are_as_many_as_the_keys_and_none_of_them() {
    let documents = vec![vec![1, 2, 3, 4], vec![5, 6, 7, 7]];
    let index = group(&documents, 1);
    let config = SealConfig { smoothing: 0.1, ..SealConfig::default() };
    let keys = [key(&[1, 2], -0.1), key(&[5], -0.2)];
    // The likeliest one does not occur: it would be as improbable in the corpus as a token can be.
    let log_probs = [-0.001f32, -0.4, -9.0, -0.3, -0.3, -0.01, -9.0, -0.1];
    let best = |special| {
        let found =
            best_unigrams(&index, &keys, Unigrams { log_probs: &log_probs, special }, config).unwrap();
        found.into_iter().map(|(key, weight)| (key.ids[0], weight)).collect::<Vec<_>>()
    };
    let odds = |log_prob: f32, count| odds(f64::from(log_prob), count, 8, config);
    for (special, expected) in [
        (&[][..], [(7, odds(-0.1, 2)), (3, odds(-0.3, 1))]),
        (&[7, 0, 3], [(4, odds(-0.3, 1)), (1, odds(-0.4, 1))]),
    ] {
        for (got, expected) in best(special).iter().zip(expected) {
            assert!(got.0 == expected.0 && (got.1 - expected.1).abs() < 1e-9, "{got:?} and {expected:?}");
        }
        assert_eq!(best(special).len(), 2);
    }
    assert_eq!(best_unigrams(&index, &keys, Unigrams::default(), config).unwrap(), []);
    // A ranking of what a search has found adds them on demand.
    let unigrams = Unigrams { log_probs: &log_probs, special: &[] };
    let best = best_unigrams(&index, &keys, unigrams, config).unwrap();
    let found = rank_found(&index, keys.to_vec(), unigrams, true, config).unwrap();
    let mut all = keys.to_vec();
    all.extend(best.iter().map(|one| one.0.clone()));
    let mut weights = key_weights(&index, &keys, config).unwrap();
    weights.extend(best.iter().map(|one| one.1));
    assert_eq!((&found.added[..], &found.weights), (&all[2..], &weights));
    assert_eq!(found.hits, rank_weighted(&index, &all, &weights, unigrams, config).unwrap());
    assert!(found.hits[1].keys.iter().any(|&(key, _)| key == 2), "{:?}", found.hits);
    let found = rank_found(&index, keys.to_vec(), unigrams, false, config).unwrap();
    assert_eq!((found.added.len(), found.weights.len()), (0, 2));
    assert_eq!(found.hits, rank(&index, &keys, unigrams, config).unwrap());
    let error = rank_weighted(&index, &keys, &[1.0], Unigrams::default(), config).unwrap_err().to_string();
    assert!(error.starts_with("the number of weights must be 2, got 1"), "{error}");
}

#[test]
fn keys_that_make_no_sense_are_named() {
    let index = group(&vec![vec![1, 2]], 1);
    let error =
        |key| rank(&index, &[key], Unigrams::default(), SealConfig::default()).unwrap_err().to_string();
    assert!(error(key(&[1], 0.5)).starts_with("the log-probability of key 0 must be at most 0, got 0.5"));
    assert!(error(key(&[1], f64::NAN)).contains("got NaN"));
    assert!(error(key(&[], -1.0)).starts_with("the tokens of key 0 must be at least 1, got 0"));
    assert_eq!(rank(&index, &[], Unigrams::default(), SealConfig::default()).unwrap(), []);
}

proptest! {
    /// Compact indexes are asked for places, standard ones for documents, most of which need not be read.
    #[test]
    fn documents_that_are_not_read_are_not_among_the_best(
        documents in prop::collection::vec(prop::collection::vec(0u32..12, 0..30), 4..60),
        keys in prop::collection::btree_map(prop::collection::vec(0u32..12, 1..5), 0.01f64..9.0, 1..30),
        config in configs(), parts in 1usize..3,
    ) {
        let (ids, weights): (Vec<_>, Vec<f64>) = keys.into_iter().unzip();
        let keys: Vec<Key> = ids.into_iter().map(|ids| Key { ids, anchored: false, log_prob: -1.0 }).collect();
        let config = SealConfig { max_hits: 30, ..config };
        let ranked = |tier: Tier| {
            let each = documents.len().div_ceil(parts);
            rank_weighted(&group_in(&documents, each, tier), &keys, &weights, Unigrams::default(), config).unwrap()
        };
        let (compact, standard) = (ranked(Tier::Compact), ranked(Tier::Standard));
        prop_assert_eq!(compact, standard);
    }
}

//! Superposed decoding against its formulas, with counts from scans over the documents.

#[path = "support/group.rs"]
mod group;

use draftwood_base::Token;
use draftwood_logits::RowResult;
use draftwood_retrieve::index::{Group, Tier};
use draftwood_retrieve::{BeamRows, Superposed, SuperposedConfig};
use group::{Documents, group};
use proptest::prelude::*;

const VOCAB: usize = 9;

/// Logits that depend on what the row holds.
fn model(mixture: &[(Token, f32)], depth: usize) -> Vec<f32> {
    let fold = |state: u32, value: u32| (state ^ value).wrapping_mul(0x9E37_79B1).rotate_left(13);
    let mixed = mixture.iter().map(|&(token, weight)| fold(token, (weight * 64.0).round() as u32));
    let mut state = mixed.fold(depth as u32 + 7, fold);
    (0..VOCAB)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 * 2.0 / (1 << 24) as f32
        })
        .collect()
}

fn count(documents: &Documents, ids: &[Token]) -> f64 {
    documents.iter().flat_map(|d| d.windows(ids.len())).filter(|window| *window == ids).count() as f64
}

/// One draft: tokens, score, whether it has finished.
type Reference = (Vec<Token>, f64, bool);

/// The formulas, a step at a time. Returns the drafts, best first, and the rows that were asked for.
fn reference(documents: &Documents, prompt: &[Token], c: &SuperposedConfig) -> (Vec<Reference>, usize) {
    let (mut live, mut finished): (Vec<Reference>, Vec<Reference>) = (vec![(vec![], 0.0, false)], vec![]);
    for depth in 0..c.length {
        let best = live.iter().map(|draft| draft.1).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = live.iter().map(|draft| (draft.1 - best).exp()).sum();
        let gamma = |token| {
            let its = live.iter().filter(|draft| draft.0.last() == Some(&token));
            its.map(|draft| (draft.1 - best).exp() / sum).sum::<f64>() as f32
        };
        let mut mixture: Vec<(Token, f32)> = Vec::new();
        for draft in &live {
            if let Some(&token) = draft.0.last().filter(|&&token| mixture.iter().all(|part| part.0 != token))
            {
                mixture.push((token, gamma(token)));
            }
        }
        let row = model(&mixture, depth);
        let mut top: Vec<Token> = (0..VOCAB as Token).filter(|token| !c.banned.contains(token)).collect();
        top.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
        top.truncate(c.tokens);
        let scaled = |token: Token| f64::from(row[token as usize]) / c.temperature;
        let all: f64 = top.iter().map(|&token| scaled(token).exp()).sum();
        let mut candidates: Vec<Reference> = Vec::new();
        for (ids, score, _) in &live {
            let text = [prompt, ids].concat();
            let q = |token: Token| -> f64 {
                let mut q = 0.0;
                for (order, weight) in (2..).zip(&c.orders) {
                    if let Some(context) = text.len().checked_sub(order - 1).map(|at| &text[at..]) {
                        let times = count(documents, context);
                        if times > 0.0 {
                            q += weight * count(documents, &[context, &[token]].concat()) / times;
                        }
                    }
                }
                q
            };
            let unknown = top.iter().all(|&token| q(token) == 0.0);
            for &token in &top {
                let log_p = (scaled(token).exp() / all).ln();
                let added = match c.alpha {
                    0.0 => log_p,
                    alpha if unknown => (1.0 - alpha) * log_p - 200.0,
                    alpha => (1.0 - alpha) * log_p + alpha * q(token).ln(),
                };
                if added > f64::NEG_INFINITY {
                    candidates.push(([&ids[..], &[token]].concat(), score + added, c.ends.contains(&token)));
                }
            }
        }
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
        finished.extend(candidates.iter().take(c.drafts).filter(|draft| draft.2).cloned());
        finished.sort_by(|a, b| b.1.total_cmp(&a.1));
        live = candidates.into_iter().filter(|draft| !draft.2).take(c.drafts).collect();
        if finished.len() >= c.drafts || live.is_empty() || depth + 1 == c.length {
            if finished.len() < c.drafts {
                finished.extend(live);
                finished.sort_by(|a, b| b.1.total_cmp(&a.1));
            }
            finished.truncate(c.drafts);
            return (finished, depth + 1);
        }
    }
    unreachable!("a length of at least one")
}

/// Runs the search; the number of rows that it was fed comes with it.
fn run(index: Option<&Group>, prompt: &[Token], config: &SuperposedConfig) -> (Superposed, usize) {
    let mut search = Superposed::new(index, prompt, config.clone()).unwrap();
    let mut depth = 0;
    while !search.is_done() {
        let mixture = search.mixture();
        if depth > 0 {
            let sum: f32 = mixture.iter().map(|part| part.1).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{mixture:?}");
        }
        let row = model(&mixture, depth);
        let rows =
            BeamRows { values: RowResult::full(&row, 1, VOCAB).unwrap(), order: &[0], are_logits: true };
        let onward = search.step(index, rows).unwrap();
        assert_eq!(onward.is_none(), search.is_done());
        depth += 1;
    }
    (search, depth)
}

prop_compose! {
    fn corpora()(
        documents in prop::collection::vec(prop::collection::vec(0..VOCAB as Token, 0..30), 1..8),
        each in 1usize..4,
    ) -> (Documents, usize) {
        (documents, each)
    }
}

prop_compose! {
    fn configs()(
        drafts in 1usize..5,
        length in 1usize..9,
        tokens in 1usize..VOCAB + 2,
        temperature in 0.2f64..2.0,
        alpha in prop_oneof![Just(0.0), 0.1f64..0.9],
        orders in prop::collection::vec(0.01f64..0.3, 1..6),
        ends in prop::collection::vec(0..VOCAB as Token, 0..3),
        banned in prop::collection::vec(0..VOCAB as Token, 0..3),
    ) -> SuperposedConfig {
        SuperposedConfig { drafts, length, tokens, temperature, alpha, orders, ends, banned }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(600)))]

    #[test]
    fn drafts_and_scores_equal_the_formulas(
        (documents, each) in corpora(),
        prompt in prop::collection::vec(0..VOCAB as Token, 0..6),
        config in configs(),
    ) {
        let index = group(&documents, each, Tier::Tiny);
        let (search, rows) = run(Some(&index), &prompt, &config);
        let (expected, steps) = reference(&documents, &prompt, &config);
        prop_assert_eq!(rows, steps);
        let found = search.drafts();
        prop_assert_eq!(found.len(), expected.len());
        for (found, (ids, score, is_finished)) in found.iter().zip(&expected) {
            prop_assert_eq!(&found.ids, ids);
            prop_assert!((found.score - score).abs() < 1e-6, "{} {}", found.score, score);
            prop_assert_eq!(found.is_finished, *is_finished);
            prop_assert!((found.steps.iter().sum::<f64>() - found.score).abs() < 1e-9);
            prop_assert_eq!((found.steps.len(), found.parents.len()), (ids.len(), ids.len()));
        }
    }

    #[test]
    fn one_draft_without_a_corpus_is_greedy(config in configs()) {
        let config = SuperposedConfig { drafts: 1, alpha: 0.0, ..config };
        let (search, rows) = run(None, &[], &config);
        let (mut greedy, mut mixture) = (Vec::new(), Vec::new());
        for depth in 0..config.length {
            let row = model(&mixture, depth);
            let allowed = (0..VOCAB as Token).filter(|token| !config.banned.contains(token));
            let Some(best) = allowed.reduce(|a, b| if row[b as usize] > row[a as usize] { b } else { a }) else {
                break;
            };
            greedy.push(best);
            mixture = vec![(best, 1.0)];
            if config.ends.contains(&best) {
                break;
            }
        }
        prop_assert_eq!(rows, greedy.len());
        prop_assert_eq!(&search.drafts()[0].ids, &greedy);
    }
}

#[test]
fn drafts_that_end_alike_are_one_token_of_weight_one() {
    // Both drafts of the second step are best continued by 0.
    let config = SuperposedConfig {
        drafts: 2,
        length: 3,
        tokens: 2,
        temperature: 1.0,
        alpha: 0.0,
        orders: vec![],
        ends: vec![],
        banned: vec![],
    };
    let mut search = Superposed::new(None, &[], config).unwrap();
    for (row, expected) in [([2.0, 1.9, 0.0], 2), ([9.0, 0.0, 0.0], 1)] {
        let values = RowResult::full(&row, 1, 3).unwrap();
        search.step(None, BeamRows { values, order: &[0], are_logits: true }).unwrap();
        assert_eq!(search.mixture().len(), expected);
    }
    assert_eq!(search.mixture(), [(0, 1.0)]);
    let ids: Vec<_> = search.drafts().into_iter().map(|draft| (draft.ids, draft.parents)).collect();
    assert_eq!(ids, [(vec![0, 0], vec![0, 0]), (vec![1, 0], vec![0, 1])]);
}

#[test]
fn what_means_nothing_is_refused() {
    let good = SuperposedConfig {
        drafts: 2,
        length: 3,
        tokens: 2,
        temperature: 0.1,
        alpha: 0.5,
        orders: vec![0.1],
        ends: vec![],
        banned: vec![],
    };
    let index = group(&vec![vec![1, 2, 3]], 1, Tier::Tiny);
    let refused = |config: SuperposedConfig, index: Option<&Group>, what: &str| {
        let words = Superposed::new(index, &[1], config).unwrap_err().to_string();
        assert!(words.starts_with(what), "{words}");
    };
    refused(SuperposedConfig { drafts: 0, ..good.clone() }, Some(&index), "drafts must be at least 1");
    refused(SuperposedConfig { length: 0, ..good.clone() }, Some(&index), "length must be at least 1");
    refused(SuperposedConfig { tokens: 0, ..good.clone() }, Some(&index), "top_k must be at least 1");
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(
            SuperposedConfig { temperature, ..good.clone() },
            Some(&index),
            "temperature must be above 0",
        );
    }
    for alpha in [-0.1, 1.0, f64::NAN] {
        refused(SuperposedConfig { alpha, ..good.clone() }, Some(&index), "alpha must be from 0 to below 1");
    }
    refused(good.clone(), None, "alpha must be 0 without an index");
    for orders in [vec![], vec![0.0], vec![-1.0], vec![f64::NAN], vec![0.1; 16]] {
        refused(SuperposedConfig { orders, ..good.clone() }, Some(&index), "order_weights must be");
    }
    // A row that cannot be read leaves the search as it was.
    let mut search = Superposed::new(Some(&index), &[1], good).unwrap();
    for row in [[f32::NAN, 0.0], [f32::INFINITY, 0.0]] {
        let values = RowResult::full(&row, 1, 2).unwrap();
        assert!(search.step(Some(&index), BeamRows { values, order: &[0], are_logits: true }).is_err());
    }
    let values = RowResult::full(&[0.0; 4], 2, 2).unwrap();
    assert!(search.step(Some(&index), BeamRows { values, order: &[0, 1], are_logits: true }).is_err());
    assert!(search.mixture().is_empty() && search.drafts().is_empty() && !search.is_done());
}

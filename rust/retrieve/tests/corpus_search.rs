//! The constrained search against one that masks everything, and given keys against sums over their tokens.

#[path = "support/group.rs"]
mod group;

use draftwood_base::{Result, Token};
use draftwood_logits::RowResult;
use draftwood_retrieve::index::Tier;
use draftwood_retrieve::{BeamRows, CorpusSearch, CorpusSearchConfig, KeyScorer, Onward};
use group::{Documents, group};
use proptest::prelude::*;

const VOCAB: usize = 14;
const END: Token = 13;
const TITLE_END: [Token; 2] = [10, 11];

/// A language model: log-probabilities that depend on the whole text, coarse so that some are equal.
fn model(text: &[Token]) -> Vec<f32> {
    let mut state = text.iter().fold(7u32, |state, &id| (state ^ id).wrapping_mul(0x9E37_79B1));
    (0..VOCAB)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            -0.25 - (state >> 28) as f32 * 0.37
        })
        .collect()
}

fn count(documents: &Documents, ids: &[Token], anchored: bool) -> u64 {
    let starts = |document: &&Vec<Token>| document.starts_with(ids);
    match anchored {
        true => documents.iter().filter(starts).count() as u64,
        false => {
            documents.iter().flat_map(|d| d.windows(ids.len())).filter(|window| *window == ids).count() as u64
        }
    }
}

type Hypothesis = (Vec<Token>, f32, u64, bool);

/// Every candidate of every step: all continuations of all beams, masked and sorted.
fn by_masks(documents: &Documents, config: &CorpusSearchConfig) -> Vec<Hypothesis> {
    let mut found = Vec::new();
    let mut live: Vec<(Vec<Token>, f32)> = vec![(Vec::new(), 0.0)];
    for depth in 1..=config.length {
        let mut all = Vec::new();
        for (ids, score) in &live {
            for (token, log_prob) in model(ids).into_iter().enumerate() {
                let longer = [ids.as_slice(), &[token as Token]].concat();
                let mut times = count(documents, &longer, config.anchored);
                if config.without_last_document && documents.last().unwrap().starts_with(&longer) {
                    times -= 1;
                }
                let is_end = config.end == Some(token as Token);
                let ends = is_end
                    && documents.iter().any(|d| if config.anchored { d == ids } else { d.ends_with(ids) });
                if times > 0 || ends {
                    all.push((longer, score + log_prob, times, is_end));
                }
            }
        }
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(2 * config.beam);
        live.clear();
        for (ids, score, times, is_end) in all {
            if is_end {
                continue;
            }
            let complete = !config.title_end.is_empty()
                && ids.len() > config.title_end.len()
                && ids.ends_with(&config.title_end);
            if !complete && times > config.stop_at_count && depth < config.length && live.len() < config.beam
            {
                live.push((ids.clone(), score));
            }
            found.push((ids, score, times, complete));
        }
    }
    found
}

fn documents() -> impl Strategy<Value = Documents> {
    let piece = prop_oneof![4 => (0u32..9).prop_map(|id| vec![id]), 1 => Just(TITLE_END.to_vec())];
    let document = prop::collection::vec(piece, 1..10).prop_map(|pieces| pieces.concat());
    prop::collection::vec(document, 1..7)
}

fn configs() -> impl Strategy<Value = CorpusSearchConfig> {
    (1usize..6, 1usize..7, any::<bool>(), any::<bool>(), any::<bool>(), 0u64..2, any::<bool>()).prop_map(
        |(beam, length, anchored, titles, has_end, stop_at_count, without)| CorpusSearchConfig {
            beam,
            length,
            anchored,
            title_end: if titles { TITLE_END.to_vec() } else { Vec::new() },
            end: has_end.then_some(END),
            stop_at_count,
            without_last_document: without && anchored,
        },
    )
}

/// Drives a search as an engine does: a row per live beam, the beams that go on extended by their tokens.
fn drive<S>(
    search: &mut S,
    done: impl Fn(&S) -> bool,
    step: impl Fn(&mut S, BeamRows<'_>) -> Result<Vec<Onward>>,
) {
    let mut texts: Vec<Vec<Token>> = vec![Vec::new()];
    while !done(search) {
        // Rows lie in another order than the beams.
        let rows: Vec<f32> = texts.iter().rev().flat_map(|text| model(text)).collect();
        let order: Vec<u32> = (0..texts.len() as u32).rev().collect();
        let values = RowResult::full(&rows, texts.len(), VOCAB).unwrap();
        let onward = step(search, BeamRows { values, order: &order, are_logits: false }).unwrap();
        texts = onward
            .iter()
            .map(|next| [texts[next.beam as usize].as_slice(), &[next.token]].concat())
            .collect();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1500)))]

    #[test]
    fn considers_exactly_the_masked_candidates(documents in documents(), config in configs(), each in 1usize..7) {
        let index = group(&documents, each, Tier::Standard);
        let mut search = CorpusSearch::new(&index, config.clone()).unwrap();
        drive(&mut search, CorpusSearch::is_done, |search, rows| search.step(&index, rows).map(<[_]>::to_vec));
        let got: Vec<_> =
            search.found().into_iter().map(|f| (f.ids, f.log_prob.to_bits(), f.count, f.is_complete)).collect();
        let expected: Vec<_> = by_masks(&documents, &config)
            .into_iter()
            .map(|(ids, score, times, complete)| (ids, score.to_bits(), times, complete))
            .collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(search.first(), &model(&[])[..]);
    }

    #[test]
    fn given_keys_get_the_sum_over_their_tokens(
        keys in prop::collection::vec(prop::collection::vec(0u32..5, 1..6), 1..20),
    ) {
        let mut scorer = KeyScorer::new(keys.clone()).unwrap();
        let mut steps = 0;
        drive(&mut scorer, |scorer| scorer.is_done(), |scorer, rows| scorer.step(rows).map(<[_]>::to_vec));
        for (key, score) in keys.iter().zip(scorer.scores()) {
            let sum = (0..key.len()).fold(0.0f32, |sum, i| sum + model(&key[..i])[key[i] as usize]);
            prop_assert_eq!(score.to_bits(), sum.to_bits());
            steps = steps.max(key.len());
        }
        prop_assert!(steps > 0);
    }
}

#[test]
fn every_title_is_reached_and_the_last_one_only_without_the_quirk() {
    let documents: Documents = vec![vec![1, 2, 10, 11, 3], vec![4, 10, 11, 1, 2], vec![5, 6, 10, 11, 4]];
    let titles = |without_last_document| {
        let index = group(&documents, 2, Tier::Standard);
        let config = CorpusSearchConfig {
            beam: 8,
            length: 6,
            anchored: true,
            title_end: TITLE_END.to_vec(),
            end: None,
            stop_at_count: 0,
            without_last_document,
        };
        let mut search = CorpusSearch::new(&index, config).unwrap();
        drive(&mut search, CorpusSearch::is_done, |search, rows| {
            search.step(&index, rows).map(<[_]>::to_vec)
        });
        let mut complete: Vec<_> =
            search.found().into_iter().filter(|found| found.is_complete).map(|f| f.ids).collect();
        complete.sort();
        complete
    };
    assert_eq!(titles(false), [vec![1, 2, 10, 11], vec![4, 10, 11], vec![5, 6, 10, 11]]);
    assert_eq!(titles(true), [vec![1, 2, 10, 11], vec![4, 10, 11]]);
}

#[test]
fn what_makes_no_sense_is_named() {
    let index = group(&vec![vec![1, 2]], 1, Tier::Standard);
    let config = CorpusSearchConfig {
        beam: 0,
        length: 3,
        anchored: false,
        title_end: Vec::new(),
        end: None,
        stop_at_count: 0,
        without_last_document: false,
    };
    let error = CorpusSearch::new(&index, config.clone()).unwrap_err().to_string();
    assert!(error.starts_with("beam must be at least 1, got 0"), "{error}");
    let mut search = CorpusSearch::new(&index, CorpusSearchConfig { beam: 2, ..config }).unwrap();
    let rows = [0.0f32, f32::NAN, 0.0, 0.0];
    let values = RowResult::full(&rows, 2, 2).unwrap();
    let mut error = |order: &[u32]| {
        search.step(&index, BeamRows { values, order, are_logits: true }).unwrap_err().to_string()
    };
    assert!(error(&[0, 1]).starts_with("the number of rows must be 1, one per beam, got 2"));
    assert!(error(&[2]).starts_with("a beam's row must be below 2, got 2"));
    assert!(error(&[0]).contains("finite or -inf, got NaN at token 1"));
    assert_eq!(search.live(), 1);
    assert!(KeyScorer::new(vec![vec![1], vec![]]).unwrap_err().to_string().starts_with("the keys to score"));
}

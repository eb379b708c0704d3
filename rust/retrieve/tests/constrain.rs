//! The constrained step against a top-k over masked scores, bit for bit.

#[path = "support/group.rs"]
mod group;

use draftwood_base::Token;
use draftwood_retrieve::index::{Group, Rows, Tier};
use draftwood_retrieve::{Candidate, Constrained, Step};
use group::{Documents, group};
use proptest::prelude::*;

/// The rows of n-grams in each part, one after the other.
fn found<'a>(index: &Group, ngrams: impl IntoIterator<Item = &'a Vec<Token>>) -> Vec<Rows> {
    let mut rows = Vec::new();
    ngrams.into_iter().for_each(|ids| index.find(ids, false, &mut rows).unwrap());
    rows
}

/// Whether `ids` occurs, and whether a document ends with it.
fn occurs(documents: &Documents, ids: &[Token]) -> bool {
    documents.iter().any(|document| {
        (0..(document.len() + 1).saturating_sub(ids.len())).any(|at| document[at..].starts_with(ids))
    })
}

/// Masks everything that is not allowed and sorts the rest.
fn masked_top_k(
    documents: &Documents,
    prefixes: &[Vec<Token>],
    step: Step<'_>,
) -> Vec<(Candidate, Vec<Token>)> {
    let vocab = step.log_probs.len() / prefixes.len();
    let mut all = Vec::new();
    for (beam, prefix) in prefixes.iter().enumerate() {
        for token in 0..vocab as Token {
            let log_prob = step.log_probs[beam * vocab + token as usize];
            let longer: Vec<Token> = prefix.iter().copied().chain([token]).collect();
            let ends = step.end == Some(token) && documents.iter().any(|document| document.ends_with(prefix));
            if log_prob > f32::NEG_INFINITY && (ends || occurs(documents, &longer)) {
                let score = step.scores[beam] + log_prob;
                all.push((Candidate { beam: beam as u32, token, score }, longer));
            }
        }
    }
    // Stable: of equals the lower flat index.
    all.sort_by(|a, b| b.0.score.total_cmp(&a.0.score));
    all.truncate(step.k);
    all
}

fn cases() -> impl Strategy<Value = (Documents, usize, Vec<Vec<Token>>, Vec<f32>, Vec<f32>)> {
    // Small alphabets, and large ones of which few tokens occur, so that tests are in vain.
    let alphabet = prop::sample::select(vec![2u32, 9, 253, 700]);
    let document = prop::collection::vec(0u32..12, 0..30);
    let beams = prop::collection::vec((any::<usize>(), any::<usize>(), 0usize..4, -4.0f32..0.0), 1..7);
    // Few distinct values, so that many are equal, also after the score has been added.
    let value =
        prop::sample::select(vec![-1.0f32, -1.0 - 1e-7, -2.5, -3.0, -7.25, f32::NEG_INFINITY, f32::NAN]);
    (
        alphabet,
        prop::collection::vec(document, 1..6),
        beams,
        prop::collection::vec(value, 1..300),
        any::<u32>(),
    )
        .prop_map(|(alphabet, mut documents, beams, values, seed)| {
            let spread = |id: u32| id.wrapping_mul(59) % alphabet;
            documents.iter_mut().flatten().for_each(|id| *id = spread(*id));
            let prefixes: Vec<Vec<Token>> = beams
                .iter()
                .map(|&(d, at, length, _)| {
                    let document = &documents[d % documents.len()];
                    document.iter().skip(at % document.len().max(1)).take(length).copied().collect()
                })
                .collect();
            let vocab = alphabet as usize + 3;
            let mut state = seed;
            let log_probs = (0..vocab * prefixes.len())
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    values[(state >> 8) as usize % values.len()] - if state & 64 == 0 { 0.0 } else { 0.125 }
                })
                .collect();
            let scores = beams.iter().map(|beam| beam.3).collect();
            (documents, vocab, prefixes, log_probs, scores)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]
    #[test]
    fn equals_a_top_k_over_masked_scores(
        (documents, vocab, prefixes, log_probs, scores) in cases(), each in 1usize..4, k in 0usize..40,
        limit in prop::sample::select(vec![0u64, 3, 1024]), has_end in any::<bool>(),
    ) {
        let mut constrained = Constrained::new(limit);
        for tier in [Tier::Tiny, Tier::Standard] {
            let index = group(&documents, each, tier);
            let rows: Vec<Rows> =
                found(&index, prefixes.iter());
            let end = has_end.then_some(vocab as Token - 2);
            let step = Step { rows: &rows, scores: &scores, log_probs: &log_probs, end, k };
            constrained.step(&index, step).unwrap();
            let expected = masked_top_k(&documents, &prefixes, step);
            let bits = |c: &Candidate| (c.beam, c.token, c.score.to_bits());
            let got: Vec<_> = constrained.candidates().iter().map(bits).collect();
            prop_assert_eq!(&got, &expected.iter().map(|(c, _)| bits(c)).collect::<Vec<_>>());
            let children: Vec<Rows> =
                found(&index, expected.iter().map(|(_, ids)| ids));
            let counts = |rows: &[Rows]| rows.iter().map(|rows| rows.count()).collect::<Vec<_>>();
            prop_assert_eq!(counts(constrained.rows()), counts(&children));
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_named() {
    let index = group(&vec![vec![1, 2], vec![3]], 1, Tier::Standard);
    let rows = found(&index, [&vec![]]);
    let mut constrained = Constrained::default();
    let mut error = |rows: &[Rows], scores: &[f32], log_probs: &[f32]| {
        let step = Step { rows, scores, log_probs, end: None, k: 4 };
        constrained.step(&index, step).map_err(|error| error.to_string())
    };
    assert!(
        error(&rows[..1], &[0.0], &[0.0; 4]).unwrap_err().contains("rows must be 1 beams × 2 indexes, got 1")
    );
    let two = [rows[0], rows[1], rows[0], rows[1]];
    assert!(error(&two, &[0.0; 2], &[0.0; 5]).unwrap_err().contains("must be a multiple of 2"));
    assert_eq!(error(&[], &[], &[]), Ok(()));
    assert_eq!(error(&rows, &[0.0], &[]), Ok(()));
}

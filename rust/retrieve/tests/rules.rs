//! The rules of a corpus against scans over its documents, and against the lazy step.

#[path = "support/group.rs"]
mod group;

use draftwood_base::Token;
use draftwood_logits::Processor;
use draftwood_retrieve::index::{Rows, Tier};
use draftwood_retrieve::{BlockCorpus, Constrained, InCorpus, Step};
use group::{Documents, group};
use proptest::prelude::*;
use std::sync::Arc;

/// What follows `said`, ascending, and whether a document ends there.
fn follows(documents: &Documents, said: &[Token], anchored: bool) -> (Vec<Token>, bool) {
    let (mut tokens, mut ends) = (Vec::new(), false);
    for document in documents {
        let places = if anchored { 0..1 } else { 0..document.len() + 1 };
        for rest in places.filter_map(|at| document[at..].strip_prefix(said)) {
            tokens.extend(rest.first());
            ends |= rest.is_empty() && !said.is_empty();
        }
    }
    tokens.sort_unstable();
    tokens.dedup();
    (tokens, ends)
}

/// Everything that a rule says of the tokens below `vocab` after a text, asked in a changing order.
fn answers<P: Processor>(rule: &P, state: &P::State, vocab: Token, asks_first: bool) -> Vec<bool> {
    let test = || (0..vocab).map(|token| rule.allows(state, token).unwrap()).collect::<Vec<_>>();
    let first = asks_first.then(test);
    let mut row: Vec<f32> = (0..vocab).map(|token| token as f32).collect();
    rule.apply(state, &mut row);
    let allowed: Vec<bool> = row.iter().map(|&x| x > f32::NEG_INFINITY).collect();
    assert!((0..vocab).all(|token| row[token as usize] == token as f32 || !allowed[token as usize]));
    assert_eq!(test(), allowed);
    assert_eq!(first.unwrap_or_else(|| allowed.clone()), allowed);
    assert!((0..vocab).all(|token| rule.child(state, token).is_some() == allowed[token as usize]));
    let mut listed = Vec::new();
    if rule.candidates(state, &mut listed) {
        assert!(listed.is_sorted());
        assert!((0..vocab).all(|token| listed.contains(&token) == allowed[token as usize]));
    }
    assert!(rule.tests(state) && rule.failure().is_none());
    allowed
}

fn cases() -> impl Strategy<Value = (Documents, u32, Vec<Token>)> {
    // Small alphabets, and large ones of which few tokens occur, so that tests are in vain until followers are listed.
    let alphabet = prop::sample::select(vec![2u32, 9, 700]);
    let document = prop::collection::vec(0u32..12, 0..30);
    let piece = (any::<usize>(), any::<usize>(), 0usize..5);
    (alphabet, prop::collection::vec(document, 1..6), piece, prop::option::of(0u32..12)).prop_map(
        |(alphabet, mut documents, (which, at, length), odd)| {
            let spread = |id: u32| id.wrapping_mul(59) % alphabet;
            documents.iter_mut().flatten().for_each(|id| *id = spread(*id));
            let from = &documents[which % documents.len()];
            let mut text: Vec<Token> =
                from.iter().skip(at % from.len().max(1)).take(length).copied().collect();
            text.extend(odd.map(spread));
            (documents, alphabet, text)
        },
    )
}

fn tiers() -> impl Strategy<Value = Tier> {
    prop::sample::select(vec![Tier::Tiny, Tier::Standard])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]

    #[test]
    fn only_what_the_corpus_says(
        (documents, alphabet, text) in cases(), each in 1usize..4, tier in tiers(), anchored in any::<bool>(),
        limit in prop::sample::select(vec![0u64, 3, 1024]), asks_first in any::<bool>(),
        prompt in prop::collection::vec(0u32..12, 0..5),
    ) {
        let rule = InCorpus::new(Arc::new(group(&documents, each, tier)), anchored).with_scanned_rows(limit);
        let mut state = rule.init(&prompt);
        for (i, &token) in text.iter().enumerate() {
            let before = state.clone();
            rule.advance(&mut state, token);
            // The state that was forked stays what it was.
            let (allowed, _) = follows(&documents, &text[..i], anchored);
            prop_assert_eq!(rule.allows(&before, token), Some(allowed.contains(&token)));
        }
        let (allowed, ends) = follows(&documents, &text, anchored);
        let got = answers(&rule, &state, alphabet + 3, asks_first);
        let expected: Vec<bool> = (0..alphabet + 3).map(|token| allowed.contains(&token)).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(rule.ends(&state), ends);
    }

    /// Rows that the rule has masked, sorted, are what the lazy step finds from the same rows of the index.
    #[test]
    fn masks_as_the_lazy_step_chooses(
        (documents, alphabet, text) in cases(), each in 1usize..4, anchored in any::<bool>(), k in 1usize..40,
        values in prop::collection::vec(prop::sample::select(vec![-1.0f32, -1.5, -4.0, f32::NEG_INFINITY]), 50),
    ) {
        let index = Arc::new(group(&documents, each, Tier::Standard));
        let rule = InCorpus::new(Arc::clone(&index), anchored);
        let mut state = rule.init(&[]);
        text.iter().for_each(|&token| rule.advance(&mut state, token));
        let (vocab, end) = (alphabet + 3, alphabet + 1);
        let mut row: Vec<f32> = (0..vocab as usize).map(|token| values[token * 7 % values.len()]).collect();
        let mut rows: Vec<Rows> = Vec::new();
        index.find(&text, anchored, &mut rows).unwrap();
        let mut lazy = Constrained::default();
        // The lazy step lets a text end that has said nothing.
        let step = Step { rows: &rows, scores: &[-0.5], log_probs: &row, end: (!text.is_empty()).then_some(end), k };
        lazy.step(&*index, step).unwrap();
        let kept = row[end as usize];
        rule.apply(&state, &mut row);
        if rule.ends(&state) {
            row[end as usize] = kept;
        }
        let mut all: Vec<(Token, f32)> =
            (0..vocab).map(|token| (token, -0.5 + row[token as usize])).filter(|one| one.1 > f32::NEG_INFINITY).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(k);
        let found: Vec<_> = lazy.candidates().iter().map(|c| (c.token, c.score)).collect();
        prop_assert_eq!(found, all);
    }

    #[test]
    fn no_ngram_is_completed(
        (documents, alphabet, text) in cases(), each in 1usize..4, tier in tiers(), n in 1usize..5,
        asks_first in any::<bool>(), prompt in 0usize..8,
    ) {
        let rule = BlockCorpus::new(Arc::new(group(&documents, each, tier)), n as u32).unwrap();
        let (before, after) = text.split_at(prompt.min(text.len()));
        let mut state = rule.init(before);
        after.iter().for_each(|&token| rule.advance(&mut state, token));
        let blocked = match text.len().checked_sub(n - 1) {
            Some(from) => follows(&documents, &text[from..], false).0,
            None => Vec::new(),
        };
        let got = answers(&rule, &state, alphabet + 3, asks_first);
        let expected: Vec<bool> = (0..alphabet + 3).map(|token| !blocked.contains(&token)).collect();
        prop_assert_eq!(got, expected);
        prop_assert!(!rule.ends(&state));
    }
}

#[test]
fn ngrams_of_no_token_are_refused() {
    let index = Arc::new(group(&vec![vec![1]], 1, Tier::Tiny));
    let error = BlockCorpus::new(index, 0).err().unwrap().to_string();
    assert!(error.starts_with("n must be at least 1, got 0"), "{error}");
}

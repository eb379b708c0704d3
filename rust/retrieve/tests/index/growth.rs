//! What attribution costs is its text times the ranges that it keeps: how many those are, and how they grow.

use super::{Documents, corpus};
use draftwood_base::Token;
use draftwood_retrieve::index::{Index, Matcher, Tier};

/// Tokens of which each says something about the next: half of the time one of three that follow it.
fn said(tokens: usize, alphabet: u32, mut seed: u32) -> Vec<Token> {
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    let mut text = vec![0];
    while text.len() < tokens {
        let last = text[text.len() - 1];
        text.push(match random(2) {
            0 => (last * 7 + random(3)) % alphabet,
            _ => random(alphabet),
        });
    }
    text
}

/// Ranges kept after each token.
fn ranges(documents: &Documents, text: &[Token]) -> Vec<usize> {
    let index = Index::build_in_memory(&corpus(documents), Tier::Tiny).unwrap();
    let mut matcher = Matcher::default();
    let kept = |&id: &Token| {
        matcher.append(&index, id).unwrap();
        matcher.matches().len()
    };
    text.iter().map(kept).collect()
}

fn per_token(ranges: &[usize]) -> f64 {
    ranges.iter().sum::<usize>() as f64 / ranges.len() as f64
}

/// A longer text keeps as many ranges per token as a short one: of a text that is new, of random tokens, and of one that
/// the corpus holds whole.
#[test]
fn ranges_per_token_do_not_grow_with_the_text() {
    let documents: Documents = (0..40).map(|seed| said(500, 200, seed)).collect();
    for (kind, text) in [
        ("new", said(30_000, 200, 1000)),
        ("random", (0..30_000u32).map(|i| i.wrapping_mul(0x9E37_79B1) >> 8 & 0xFF).collect()),
        ("indexed", documents.concat()),
    ] {
        let kept = ranges(&documents, &text);
        let (few, many) = (per_token(&kept[..1000]), per_token(&kept));
        assert!((many / few - 1.0).abs() < 0.1, "{kind}: {few} per token of 1,000, {many} of {}", text.len());
        assert!(many < 5.0, "{kind}: {many} per token");
        assert!(*kept.iter().max().unwrap() <= 9, "{kind}");
    }
}

/// A larger corpus holds longer n-grams: ranges grow with the logarithm of its size, not with the size.
#[test]
fn ranges_per_token_grow_slowly_with_the_corpus() {
    let text = said(5000, 200, 1000);
    let of = |count| per_token(&ranges(&(0..count).map(|seed| said(500, 200, seed)).collect(), &text));
    let (small, large) = (of(4), of(128));
    assert!(
        large > small && large < 2.5 * small,
        "{small} ranges per token in 2,000 tokens, {large} in 64,000"
    );
}

/// The worst case: one token over and over gives every suffix a count of its own, until the corpus' longest run ends it.
#[test]
fn one_token_over_and_over_keeps_a_range_per_suffix() {
    for (run, tokens) in [(1usize, 50usize), (40, 100), (300, 300), (500, 200)] {
        let kept = ranges(&vec![vec![7; run], vec![3]], &vec![7; tokens]);
        let expected: Vec<usize> = (1..=tokens).map(|length| length.min(run)).collect();
        assert_eq!(kept, expected);
    }
    // So a text of the run's length costs half its square, and a stranger's token ends it at once.
    let mut text = vec![7; 400];
    text[200] = 9;
    let kept = ranges(&vec![vec![7; 400]], &text);
    assert_eq!((kept[199], kept[200], kept[201]), (200, 0, 1));
    assert_eq!(kept.iter().sum::<usize>(), 200 * 201 / 2 + 199 * 200 / 2);
}

/// Never more ranges than the text has tokens, nor than the last token occurs: their counts differ and grow up to that.
#[test]
fn ranges_are_bounded_by_the_text_and_by_the_count_of_its_last_token() {
    for seed in 0..20 {
        let alphabet = 1 + seed % 4;
        let documents: Documents = (0..3).map(|i| said(60, alphabet, seed + 100 * i)).collect();
        let text = said(90, alphabet + 1, seed + 7);
        let kept = ranges(&documents, &text);
        for (at, &count) in kept.iter().enumerate() {
            let occurs = documents.iter().flatten().filter(|&&id| id == text[at]).count();
            assert!(count <= occurs.min(at + 1), "{count} ranges after {at} tokens, {occurs} occurrences");
            assert_eq!(count == 0, occurs == 0);
        }
    }
}

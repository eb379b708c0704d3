//! Symbols of every width that files may have: as many distinct ids as it takes.

use crate::exact::check;
use crate::{Documents, TIERS, corpus};
use draftwood_base::Token;
use draftwood_retrieve::index::{Followers, Index, MAX_TOKEN, Tier};
use proptest::prelude::ProptestConfig;

/// All of `distinct` ids once, spread over 2^20 and in no order; some of them again, so that contexts repeat.
fn all_of(distinct: u32) -> Documents {
    let id = |i: u32| i.wrapping_mul(0x9E37_79B1) & MAX_TOKEN;
    let mut once: Vec<Token> = (0..distinct).map(id).collect();
    // A multiplication keeps neighbours at one distance, which a text does not.
    let mut seed = distinct;
    for i in (1..once.len()).rev() {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        once.swap(i, seed as usize % (i + 1));
    }
    let again = once[once.len() / 3..].iter().take(300).copied().collect();
    let start = once.iter().take(40).rev().copied().collect();
    vec![once, again, vec![], start]
}

#[test]
fn symbols_of_every_width_are_exact() {
    let mut cases = vec![
        (1u32, 1u64),
        (3, 2),
        (200, 8),
        (256, 9),
        (1_000, 10),
        (2_000, 11),
        (4_095, 12),
        (4_096, 16),
        (65_535, 16),
        (65_536, 17),
        (70_000, 17),
    ];
    // `make test-long` tries more; the last ones are all that fit.
    if ProptestConfig::default().cases >= 20_000 {
        cases.extend([(140_000, 18), (300_000, 19), ((1 << 20) - 1, 20), (1 << 20, 21)]);
    }
    for (distinct, width) in cases {
        let documents = all_of(distinct);
        let corpus = corpus(&documents);
        let tokens: usize = documents.iter().map(Vec::len).sum();
        for tier in TIERS {
            let index = Index::build_in_memory(&corpus, tier).unwrap();
            index.verify(|_| ()).unwrap();
            assert_eq!((index.distinct(), index.tokens() as usize), (distinct, tokens));
            let bytes = |name: &str| index.sizes().1.iter().find(|one| one.0 == name).map(|one| one.1);
            let packed = |values: usize| Some((values as u64 * width).div_ceil(8));
            if tier != Tier::Tiny {
                assert_eq!(bytes("Bwt"), packed(tokens + documents.len()), "{distinct} ids");
            }
            if matches!(tier, Tier::Standard | Tier::Fast) {
                assert_eq!(bytes("Text"), packed(tokens), "{distinct} ids");
            }
            assert_answers(&index, &documents);
        }
    }
}

fn assert_answers(index: &Index, documents: &Documents) {
    let (mut out, mut text) = (Followers::default(), Vec::new());
    for (d, at, length) in [(0, 0, 1), (1, 0, 1), (1, 5, 3), (1, 280, 30), (3, 1, 2)] {
        let ids: Vec<Token> = documents[d].iter().skip(at).take(length).copied().collect();
        if !ids.is_empty() {
            check(index, documents, &ids, &mut out);
        }
    }
    check(index, documents, &[documents[0][documents[0].len() - 1]], &mut out);
    let mut absent = documents[0][..1].to_vec();
    absent.push(documents[0][0]);
    check(index, documents, &absent, &mut out);

    // The empty n-gram, which every token follows.
    let mut ids = documents.concat();
    ids.sort_unstable();
    let counts: Vec<(Token, u32)> =
        ids.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)).collect();
    index.next(index.start(), &mut out).unwrap();
    assert!(out.ids().iter().copied().zip(out.counts().iter().copied()).eq(counts));
    if index.tier() == Tier::Tiny {
        return;
    }
    for (d, document) in documents.iter().enumerate() {
        text.clear();
        index.extract(d as u32, 0, u32::MAX, &mut text).unwrap();
        assert!(text == *document, "document {d}");
    }
}

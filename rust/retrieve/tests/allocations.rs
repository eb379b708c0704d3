//! No operation of an index allocates once the caller's buffers have grown.

#[path = "../../store/tests/counting/mod.rs"]
mod counting;

use counting::allocations;
use draftwood_base::Token;
use draftwood_retrieve::index::{Corpus, Followers, Index, Matcher, Tier};

/// Documents of 1 … 300 tokens that repeat each other.
fn corpus(symbols: u32) -> Corpus {
    let mut corpus = Corpus::default();
    let mut x = 1u32;
    for length in 1..300u32 {
        let document: Vec<Token> = (0..length)
            .map(|i| {
                x ^= x << 13;
                x ^= x >> 17;
                x ^= x << 5;
                if i % 5 < 3 { i % symbols } else { x % symbols }
            })
            .collect();
        corpus.push(&document).unwrap();
    }
    corpus
}

/// Every operation once, over n-grams of many lengths.
fn work(index: &Index, text: &[Token], buffers: &mut Buffers) {
    let Buffers { followers, matcher, children, places, tokens } = buffers;
    let has_places = index.tier() != Tier::Tiny;
    matcher.clear();
    for (at, &id) in text.iter().enumerate() {
        matcher.append(index, id).unwrap();
        let ngram = &text[at.saturating_sub(at % 7)..=at];
        let rows = index.find(ngram, false).unwrap();
        assert_eq!(index.count(ngram, false).unwrap(), rows.count());
        index.extend(rows, id).unwrap();
        index.document_ends(rows).unwrap();
        children.clear();
        index.children(rows, &text[..40], children).unwrap();
        let ids = &text[..children.len()];
        index.extend_all(children, ids).unwrap();
        index.next(rows, followers).unwrap();
        followers.keep_top(5);
        if has_places && !rows.is_empty() {
            index.next_sampled(rows, 8, followers).unwrap();
            places.clear();
            index.locate(rows, ngram.len() as u32, 20, places).unwrap();
            index.document_of(rows.start).unwrap();
            tokens.clear();
            index.extract(places[0].0, 0, 50, tokens).unwrap();
        }
    }
}

#[derive(Default)]
struct Buffers {
    followers: Followers,
    matcher: Matcher,
    children: Vec<draftwood_retrieve::index::Rows>,
    places: Vec<(u32, u32)>,
    tokens: Vec<Token>,
}

#[test]
fn warm_operations_allocate_nothing() {
    for symbols in [3, 50, 70_000] {
        let corpus = corpus(symbols);
        let text = corpus.document(290).to_vec();
        for tier in [Tier::Tiny, Tier::Compact, Tier::Standard, Tier::Fast] {
            let index = Index::build_in_memory(&corpus, tier).unwrap();
            let mut buffers = Buffers::default();
            work(&index, &text, &mut buffers);
            let before = allocations();
            work(&index, &text, &mut buffers);
            assert_eq!(allocations() - before, 0, "{tier:?}, {symbols} symbols");
        }
    }
}

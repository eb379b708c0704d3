//! No operation of an index allocates once the caller's buffers have grown.

#[path = "../../store/tests/counting/mod.rs"]
mod counting;

use counting::allocations;
use draftwood_base::Token;
use draftwood_retrieve::index::{Corpus, FollowerLists, Followers, Group, Index, Matcher, Rows, Tier};

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
    let Buffers { followers, matcher, children, places, documents, tokens } = buffers;
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
        index.find_all(&[ngram, &text[..at / 2]], true, children).unwrap();
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
            documents.clear();
            documents.extend(rows.start..rows.end);
            index.documents_of(documents).unwrap();
            tokens.clear();
            index.extract(places[0].0, 0, 50, tokens).unwrap();
        }
    }
}

#[derive(Default)]
struct Buffers {
    followers: Followers,
    matcher: Matcher,
    children: Vec<Rows>,
    places: Vec<(u32, u32)>,
    documents: Vec<u32>,
    tokens: Vec<Token>,
}

/// Every operation over several indexes once, one by one and many n-grams at once.
fn work_together<'a>(group: &Group, text: &'a [Token], buffers: &mut Together<'a>) {
    let Together { rows, counts, lists, matcher, places, documents, tokens, ngrams, lengths } = buffers;
    let has_places = group.tier() != Tier::Tiny;
    for (at, &id) in text.iter().enumerate().step_by(5) {
        let ngram = &text[at.saturating_sub(at % 7)..=at];
        rows.clear();
        group.find(ngram, id % 2 == 0, rows).unwrap();
        group.count(ngram, true).unwrap();
        group.next(rows, Some(at % 30), lists).unwrap();
        if at % 10 == 0 {
            rows.clear();
            group.longest_suffix(&text[..at], matcher, rows).unwrap();
        }
        if has_places && !ngram.is_empty() {
            rows.clear();
            group.find(ngram, false, rows).unwrap();
            places.clear();
            group.locate(rows, ngram.len() as u32, 20, places).unwrap();
            documents.clear();
            group.documents_of(rows, documents).unwrap();
            tokens.clear();
            group.extract(places[0].0, 0, 50, tokens).unwrap();
            group.read(places[0].0, tokens).unwrap();
        }
    }
    ngrams.clear();
    ngrams.extend(text.windows(3).step_by(3));
    lengths.clear();
    lengths.resize(ngrams.len(), 3);
    rows.clear();
    counts.clear();
    places.clear();
    documents.clear();
    group.find_all(ngrams, false, rows).unwrap();
    group.count_all(ngrams, false, counts).unwrap();
    group.next_all(rows, None, lists).unwrap();
    group.next_all(rows, Some(2), lists).unwrap();
    if has_places {
        group.locate_all(rows, lengths, 5, places).unwrap();
        group.documents_of(rows, documents).unwrap();
    }
}

#[derive(Default)]
struct Together<'a> {
    rows: Vec<Rows>,
    counts: Vec<u64>,
    lists: FollowerLists,
    matcher: Matcher,
    places: Vec<(u64, u32)>,
    documents: Vec<u64>,
    tokens: Vec<Token>,
    ngrams: Vec<&'a [Token]>,
    lengths: Vec<u32>,
}

#[test]
fn warm_operations_over_several_indexes_allocate_nothing() {
    for symbols in [3, 50, 70_000] {
        let corpus = corpus(symbols);
        let text = corpus.document(290).to_vec();
        for tier in [Tier::Tiny, Tier::Compact, Tier::Standard, Tier::Fast] {
            let index = || Index::build_in_memory(&corpus, tier).unwrap();
            for parts in [vec![index()], vec![index(), index()]] {
                let (group, mut buffers) = (Group::new(parts).unwrap(), Together::default());
                work_together(&group, &text, &mut buffers);
                let before = allocations();
                work_together(&group, &text, &mut buffers);
                assert_eq!(
                    allocations() - before,
                    0,
                    "{tier:?}, {symbols} symbols, {} parts",
                    group.parts().len()
                );
            }
        }
    }
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

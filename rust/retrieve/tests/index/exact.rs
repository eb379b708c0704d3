//! Every operation equals a scan.

use crate::{Documents, TIERS, at_least, corpus, documents};
use draftwood_base::Token;
use draftwood_retrieve::index::{Followers, Index, MAX_TOKEN, Matcher, Rows, Tier};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// (document, offset) of every occurrence, by scanning.
fn places(documents: &Documents, ids: &[Token]) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for (d, document) in documents.iter().enumerate() {
        for (offset, window) in document.windows(ids.len()).enumerate() {
            if window == ids {
                found.push((d as u32, offset as u32));
            }
        }
    }
    found
}

/// The place of each row, one by one.
fn places_by_row(index: &Index, rows: Rows, length: usize) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for start in rows.start..rows.end {
        index.locate(Rows { start, end: start + 1 }, length as u32, 1, &mut found).unwrap();
    }
    found
}

/// At most `limit` of all, evenly spaced from the first on, sorted.
pub(crate) fn evenly<T: Copy + Ord>(all: &[T], limit: usize) -> Vec<T> {
    let taken = limit.min(all.len());
    let mut chosen: Vec<T> = (0..taken).map(|i| all[i * all.len() / taken]).collect();
    chosen.sort_unstable();
    chosen
}

/// Counts of the tokens after each place; `None` is the end of the document.
fn followers(documents: &Documents, places: &[(u32, u32)], length: usize) -> BTreeMap<Option<Token>, u32> {
    let mut counts = BTreeMap::new();
    for &(d, offset) in places {
        *counts.entry(documents[d as usize].get(offset as usize + length).copied()).or_insert(0) += 1;
    }
    counts
}

/// An n-gram of the corpus, or nearly one.
fn ngram(documents: &Documents, (d, at, length, twist): (usize, usize, usize, u32)) -> Vec<Token> {
    let mut ids: Vec<Token> = match documents.get(d % documents.len().max(1)) {
        Some(document) if !document.is_empty() => {
            document.iter().skip(at % document.len()).take(length).copied().collect()
        }
        _ => vec![twist],
    };
    if twist % 4 == 0 {
        let last = ids.len() - 1;
        ids[last] = twist / 4 % (MAX_TOKEN + 1);
    }
    ids
}

pub(crate) fn check(index: &Index, documents: &Documents, ids: &[Token], out: &mut Followers) {
    let expected = places(documents, ids);
    let rows = index.find(ids, false).unwrap();
    assert_eq!(rows.count() as usize, expected.len(), "count of {ids:?}");
    assert_eq!(index.count(ids, false).unwrap() as usize, expected.len());
    let anchored: Vec<_> = expected.iter().copied().filter(|place| place.1 == 0).collect();
    assert_eq!(index.count(ids, true).unwrap() as usize, anchored.len(), "anchored count of {ids:?}");

    let mut expected_next = followers(documents, &expected, ids.len());
    let ends = expected_next.remove(&None).unwrap_or(0);
    index.next(rows, out).unwrap();
    assert_eq!(out.document_ends(), ends);
    assert_eq!(index.document_ends(rows).unwrap(), ends);
    let got: Vec<_> = out.ids().iter().map(|&id| Some(id)).zip(out.counts().iter().copied()).collect();
    assert_eq!(got, expected_next.iter().map(|(&id, &count)| (id, count)).collect::<Vec<_>>());
    let mut best: Vec<_> = got.clone();
    best.sort_by_key(|&(id, count)| (std::cmp::Reverse(count), id));
    best.truncate(2);
    out.keep_top(2);
    assert!(
        out.ids().iter().zip(out.counts()).eq(best.iter().map(|(id, count)| (id.as_ref().unwrap(), count)))
    );

    // Every follower and one id that never follows, all tested at once.
    let mut candidates: Vec<Token> = expected_next.keys().flatten().copied().collect();
    candidates.push(MAX_TOKEN - 1);
    let mut children = vec![Rows::default()];
    index.children(rows, &candidates, &mut children).unwrap();
    for (&id, &child) in candidates.iter().zip(&children[1..]) {
        assert_eq!(child.count(), expected_next.get(&Some(id)).copied().unwrap_or(0));
        let one = index.extend(rows, id).unwrap();
        assert!(one == child || one.is_empty() && child.is_empty());
    }

    if index.tier() == Tier::Tiny {
        let mut none = Vec::new();
        let error = index.locate(rows, ids.len() as u32, 1, &mut none).unwrap_err().to_string();
        assert!(error.contains("tier of the index must be compact, standard or fast"), "{error}");
        return;
    }
    let mut located = Vec::new();
    index.locate(rows, ids.len() as u32, usize::MAX, &mut located).unwrap();
    assert_eq!(located, expected);
    let by_row = places_by_row(index, rows, ids.len());
    // Rows are in the order of what stands before the n-gram, read backwards. Some of them tell, for texts of one symbol
    // are compared to their ends.
    let before = |&(d, offset): &(u32, u32)| documents[d as usize][..offset as usize].iter().rev();
    assert!(by_row[..by_row.len().min(40)].is_sorted_by(|a, b| before(a).le(before(b))));
    for limit in [1, 2, 3, 7] {
        located.clear();
        index.locate(rows, ids.len() as u32, limit, &mut located).unwrap();
        assert_eq!(located, evenly(&by_row, limit), "{limit} places of {ids:?}");
    }
    located.clear();
    index.locate(index.find(ids, true).unwrap(), ids.len() as u32, usize::MAX, &mut located).unwrap();
    assert_eq!(located, anchored);
    let mut documents_of: Vec<u32> =
        (rows.start..rows.end).map(|row| index.document_of(row).unwrap()).collect();
    documents_of.sort_unstable();
    assert_eq!(documents_of, expected.iter().map(|place| place.0).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(at_least(2500))]
    #[test]
    fn every_operation_equals_a_scan(
        documents in documents(),
        picks in prop::collection::vec((any::<usize>(), any::<usize>(), 1usize..9, any::<u32>()), 1..12),
    ) {
        let corpus = corpus(&documents);
        let mut out = Followers::default();
        for tier in TIERS {
            let index = Index::build_in_memory(&corpus, tier).unwrap();
            index.verify(|_| ()).unwrap();
            prop_assert_eq!(index.documents() as usize, documents.len());
            prop_assert_eq!(index.tokens() as usize, documents.concat().len());
            prop_assert_eq!(index.count(&[], false).unwrap(), index.tokens());
            for &pick in &picks {
                check(&index, &documents, &ngram(&documents, pick), &mut out);
            }
            // The empty n-gram: every token follows it.
            index.next(index.start(), &mut out).unwrap();
            let mut totals: BTreeMap<Token, u32> = BTreeMap::new();
            documents.iter().flatten().for_each(|&id| *totals.entry(id).or_insert(0) += 1);
            prop_assert!(out.ids().iter().eq(totals.keys()) && out.counts().iter().eq(totals.values()));
            prop_assert_eq!(out.document_ends() as usize, documents.len());
            index.next(index.document_start(), &mut out).unwrap();
            let empty = documents.iter().filter(|document| document.is_empty()).count();
            prop_assert_eq!(out.document_ends() as usize, empty);
            if tier == Tier::Tiny { continue }
            for (d, document) in documents.iter().enumerate() {
                prop_assert_eq!(index.document_length(d as u32).unwrap() as usize, document.len());
                let (start, stop) = (picks[0].0 % (document.len() + 1), picks[0].1 % (document.len() + 3));
                let mut text = vec![7];
                index.extract(d as u32, start as u32, stop as u32, &mut text).unwrap();
                let expected = &document[start.min(stop).min(document.len())..stop.min(document.len())];
                prop_assert_eq!(&text[1..], expected);
            }
        }
    }

    #[test]
    fn the_matcher_keeps_every_suffix_that_occurs(documents in documents(), text in documents()) {
        let index = Index::build_in_memory(&corpus(&documents), Tier::Tiny).unwrap();
        let text: Vec<Token> = text.concat().into_iter().take(60).collect();
        let mut matcher = Matcher::default();
        for end in 1..=text.len() {
            matcher.append(&index, text[end - 1]).unwrap();
            let (mut expected, mut before) = (Vec::new(), 0);
            for start in 0..end {
                let count = places(&documents, &text[start..end]).len() as u32;
                if count > before {
                    expected.push((start as u64, count));
                    before = count;
                }
            }
            let got: Vec<_> = matcher.matches().iter().map(|m| (m.start, m.rows.count())).collect();
            prop_assert_eq!(&got, &expected);
            prop_assert_eq!(matcher.longest(), expected.first().map_or(0, |m| end as u64 - m.0));
        }
    }
}

/// Contexts that repeat put many rows of a symbol side by side: pieces of thousands beside empty ones.
#[test]
fn texts_that_repeat_are_counted_as_any_other() {
    let mut seed = 7u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    let phrases: Vec<Vec<Token>> =
        (0..40).map(|_| (0..4 + random(9)).map(|_| random(60)).collect()).collect();
    let mut documents: Documents = Vec::new();
    for _ in 0..60 {
        let mut document = Vec::new();
        while document.len() < 700 {
            let often = random(8).min(random(40));
            document.extend(&phrases[often as usize]);
            if random(5) == 0 {
                document.push(random(500));
            }
        }
        documents.push(document);
    }
    let index = Index::build_in_memory(&corpus(&documents), Tier::Tiny).unwrap();
    for length in 1..8 {
        let mut counts: BTreeMap<&[Token], u32> = BTreeMap::new();
        for gram in documents.iter().flat_map(|document| document.windows(length)) {
            *counts.entry(gram).or_insert(0) += 1;
        }
        let grams: Vec<&[Token]> = counts.keys().copied().collect();
        let mut rows = vec![index.start(); grams.len()];
        for i in 0..length {
            let ids: Vec<Token> = grams.iter().map(|gram| gram[i]).collect();
            index.extend_all(&mut rows, &ids).unwrap();
        }
        for (gram, rows) in grams.iter().zip(rows) {
            assert_eq!(rows.count(), counts[gram], "{gram:?}");
            assert_eq!(index.find(gram, false).unwrap(), rows);
            let mut next = Vec::new();
            let ids: Vec<Token> = (0..62).collect();
            index.children(rows, &ids, &mut next).unwrap();
            assert!(next.iter().map(|rows| rows.count()).sum::<u32>() <= rows.count());
        }
    }
}

#[test]
fn many_rows_at_once_take_every_path() {
    // Longer than a batch, rows beyond the limit where symbols are asked instead of rows read.
    for (alphabet, length) in [(3u32, 5_000usize), (5_000, 20_000)] {
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed >> 8
        };
        let documents: Documents = vec![(0..length).map(|_| random() % alphabet).collect(), vec![1, 2, 0]];
        let corpus = corpus(&documents);
        for tier in TIERS {
            let index = Index::build_in_memory(&corpus, tier).unwrap();
            let ids: Vec<Token> = (0..100).map(|_| random() % (alphabet + 5)).collect();
            let mut children = Vec::new();
            index.children(index.start(), &ids, &mut children).unwrap();
            let mut two = children.clone();
            let second: Vec<Token> = (0..100).map(|_| random() % alphabet).collect();
            index.extend_all(&mut two, &second).unwrap();
            let mut out = Followers::default();
            for i in 0..100 {
                let scan = |ids: &[Token]| places(&documents, ids).len() as u32;
                assert_eq!(children[i].count(), scan(&ids[i..=i]));
                assert_eq!(two[i].count(), scan(&[ids[i], second[i]]));
                if i < 3 {
                    check(&index, &documents, &ids[i..=i], &mut out);
                }
            }
        }
    }
}

#[test]
fn threads_share_an_index() {
    let documents: Documents = (0..50).map(|d| (0..200).map(|i| (i * i + d * 7) % 90).collect()).collect();
    let index = Index::build_in_memory(&corpus(&documents), Tier::Standard).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (index, documents) = (&index, &documents);
            scope.spawn(move || {
                let mut out = Followers::default();
                for at in 0..20 {
                    check(index, documents, &documents[thread * 3][at..at + 1 + at % 4], &mut out);
                }
            });
        }
    });
}

#[test]
fn bad_queries_are_named() {
    let index = Index::build_in_memory(&corpus(&vec![vec![1, 2, 3]]), Tier::Standard).unwrap();
    let text = |error: draftwood_base::Error| error.to_string();
    let foreign = Rows { start: 2, end: 9 };
    assert!(
        text(index.extend(foreign, 1).unwrap_err())
            .contains("a range of rows must be inside 0 … 4, got 2 … 9")
    );
    assert!(text(index.next(foreign, &mut Followers::default()).unwrap_err()).contains("a range of rows"));
    assert!(text(index.document_of(4).unwrap_err()).contains("a range of rows"));
    assert!(text(index.document_length(1).unwrap_err()).contains("the document must be below 1"));
    let rows = index.find(&[2], false).unwrap();
    assert!(
        text(index.locate(rows, 3, 9, &mut Vec::new()).unwrap_err()).contains("the length of the n-gram")
    );
    assert!(text(index.extend_all(&mut [rows], &[]).unwrap_err()).contains("the number of ids must be 1"));
    let error = text(draftwood_retrieve::index::Corpus::default().push(&[3, 1 << 20]).unwrap_err());
    assert!(error.starts_with("token 1 of document 0 must be 0 … 1048575, got 1048576; "), "{error}");
    assert_eq!(index.count(&[u32::MAX], false).unwrap(), 0);
}

//! Several indexes answer as one over all documents.

use crate::exact::evenly;
use crate::support::{Documents, group};
use crate::{TIERS, at_least, corpus, documents};
use draftwood_base::Token;
use draftwood_retrieve::index::{FollowerLists, Followers, Group, Index, Matcher, Rows, Span, Tier};
use proptest::prelude::*;

/// What [`Group::next`] finds: followers with counts, and how often the n-gram ends a document.
type Next = (Vec<(Token, u64)>, u64);

fn find(group: &Group, ids: &[Token], anchored: bool) -> Vec<Rows> {
    let mut rows = Vec::new();
    group.find(ids, anchored, &mut rows).unwrap();
    rows
}

fn next(group: &Group, rows: &[Rows], top: Option<usize>) -> Next {
    let mut lists = FollowerLists::default();
    group.next(rows, top, &mut lists).unwrap();
    (lists.list(0).to_vec(), lists.document_ends(0))
}

fn locate(group: &Group, rows: &[Rows], length: usize, limit: usize) -> Vec<(u64, u32)> {
    let mut places = Vec::new();
    group.locate(rows, length as u32, limit, &mut places).unwrap();
    places
}

fn occurrences(documents: &Documents, ids: &[Token]) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    for (d, document) in documents.iter().enumerate() {
        for offset in 0..(document.len() + 1).saturating_sub(ids.len()) {
            if document[offset..].starts_with(ids) {
                found.push((d as u64, offset as u32));
            }
        }
    }
    found
}

/// The place of each row, part after part.
fn places_by_row(group: &Group, rows: &[Rows], length: u32) -> Vec<(u64, u32)> {
    let (mut all, mut before) = (Vec::new(), 0);
    for (part, rows) in group.parts().iter().zip(rows) {
        for start in rows.start..rows.end {
            let mut found = Vec::new();
            part.locate(Rows { start, end: start + 1 }, length, 1, &mut found).unwrap();
            all.extend(found.iter().map(|&(document, offset)| (before + u64::from(document), offset)));
        }
        before += u64::from(part.documents());
    }
    all
}

/// Every pair of ends, by scanning: it occurs, and no longer one around it does.
fn spans(documents: &Documents, text: &[Token], min_length: usize) -> Vec<Span> {
    let occurs = |start: usize, end: usize| !occurrences(documents, &text[start..end]).is_empty();
    let mut spans = Vec::new();
    for start in 0..text.len() {
        for end in start + min_length..=text.len() {
            if occurs(start, end)
                && (start == 0 || !occurs(start - 1, end))
                && (end == text.len() || !occurs(start, end + 1))
            {
                let places = occurrences(documents, &text[start..end]);
                let (start, end) = (start as u64, end as u64);
                spans.push(Span { start, end, count: places.len() as u64, places });
            }
        }
    }
    spans
}

proptest! {
    #[test]
    fn parts_answer_as_one_index(
        documents in documents(), text in documents(), each in 1usize..5, min_length in 1usize..5,
    ) {
        let text: Vec<Token> = documents.concat().into_iter().take(20).chain(text.concat()).take(50).collect();
        let (parts, whole) = (group(&documents, each, Tier::Standard), group(&documents, 99, Tier::Fast));
        prop_assert_eq!(parts.documents(), documents.len() as u64);
        prop_assert_eq!(parts.tokens(), documents.concat().len() as u64);
        for length in 0..text.len().min(4) {
            for anchored in [false, true] {
                let ids = &text[..length];
                prop_assert_eq!(parts.count(ids, anchored).unwrap(), whole.count(ids, anchored).unwrap());
                let rows = find(&parts, ids, anchored);
                for top in [None, Some(0), Some(2)] {
                    let expected = next(&whole, &find(&whole, ids, anchored), top);
                    prop_assert_eq!(next(&parts, &rows, top), expected);
                }
                if length > 0 {
                    let mut places = occurrences(&documents, ids);
                    places.retain(|place| !anchored || place.1 == 0);
                    prop_assert_eq!(&locate(&parts, &rows, length, usize::MAX), &places);
                    let by_row = places_by_row(&parts, &rows, length as u32);
                    for limit in [1, 2, 3, 5] {
                        prop_assert_eq!(locate(&parts, &rows, length, limit), evenly(&by_row, limit));
                    }
                }
            }
        }
        for (d, document) in documents.iter().enumerate() {
            let mut text = vec![7];
            parts.extract(d as u64, 0, u32::MAX, &mut text).unwrap();
            prop_assert_eq!(&text[1..], document);
            prop_assert_eq!(parts.document_length(d as u64).unwrap() as usize, document.len());
        }
        for end in 0..text.len() {
            let occurs = |start: &usize| !occurrences(&documents, &text[*start..end]).is_empty();
            let start = (0..end).find(occurs).unwrap_or(end);
            let (mut matcher, mut rows) = (Matcher::default(), Vec::new());
            let (length, count) = parts.longest_suffix(&text[..end], &mut matcher, &mut rows).unwrap();
            prop_assert_eq!(length, end - start);
            let places = occurrences(&documents, &text[start..end]);
            if length > 0 {
                prop_assert_eq!(&locate(&parts, &rows, length, usize::MAX), &places);
                prop_assert_eq!(count, places.len() as u64);
            } else {
                // What follows no text is all of it.
                prop_assert_eq!(count, documents.concat().len() as u64);
                prop_assert_eq!(rows, find(&parts, &[], false));
            }
        }
        let expected = spans(&documents, &text, min_length);
        prop_assert_eq!(&parts.attribute(&text, min_length as u64, usize::MAX).unwrap(), &expected);
        let tiny = group(&documents, each, Tier::Tiny).attribute(&text, min_length as u64, 9).unwrap();
        prop_assert!(tiny.iter().zip(&expected).all(|(a, b)| (a.start, a.end, a.count) == (b.start, b.end, b.count)));
        prop_assert!(tiny.len() == expected.len() && tiny.iter().all(|span| span.places.is_empty()));
    }
}

/// n-grams that occur and such that do not, the empty one among them; more than are on their way at once.
fn ngrams(documents: &Documents, picks: &[(usize, usize)]) -> Vec<Vec<Token>> {
    let all = documents.concat();
    let pick = |&(at, length): &(usize, usize)| -> Vec<Token> {
        let ids: Vec<Token> = all.iter().skip(at % (all.len() + 1)).take(length).copied().collect();
        if at % 7 == 0 { ids.into_iter().rev().collect() } else { ids }
    };
    picks.iter().map(pick).collect()
}

proptest! {
    #![proptest_config(at_least(150))]
    #[test]
    fn many_at_once_are_answered_as_one_by_one(
        documents in documents(), each in 1usize..8, anchored in any::<bool>(), limit in 0usize..40,
        top in prop::option::of(0usize..4), picks in prop::collection::vec((any::<usize>(), 0usize..6), 0..90),
    ) {
        let ngrams = ngrams(&documents, &picks);
        let asked: Vec<&[Token]> = ngrams.iter().map(Vec::as_slice).collect();
        for tier in TIERS {
            let index = group(&documents, each, tier);
            let one_by_one: Vec<Rows> = asked.iter().flat_map(|ids| find(&index, ids, anchored)).collect();
            let steps: Vec<Rows> = asked
                .iter()
                .flat_map(|ids| index.parts().iter().map(|part| part.find(ids, anchored).unwrap()))
                .collect();
            prop_assert_eq!(&one_by_one, &steps);
            let mut rows = vec![Rows::new(3, 4)];
            index.find_all(&asked, anchored, &mut rows).unwrap();
            prop_assert_eq!(rows.remove(0), Rows::new(3, 4));
            prop_assert_eq!(&rows, &one_by_one);
            let mut of_first = Vec::new();
            index.parts()[0].find_all(&asked, anchored, &mut of_first).unwrap();
            prop_assert_eq!(of_first, rows.chunks(index.parts().len()).map(|rows| rows[0]).collect::<Vec<_>>());
            let mut counts = Vec::new();
            index.count_all(&asked, anchored, &mut counts).unwrap();
            let expected: Vec<u64> = asked.iter().map(|ids| index.count(ids, anchored).unwrap()).collect();
            prop_assert_eq!(counts, expected);
            let mut lists = FollowerLists::default();
            index.next_all(&rows, top, &mut lists).unwrap();
            for (i, rows) in rows.chunks(index.parts().len()).enumerate() {
                let expected = next(&index, rows, top);
                prop_assert_eq!((lists.list(i), lists.document_ends(i)), (&expected.0[..], expected.1));
            }
            if tier == Tier::Tiny {
                continue;
            }
            // The empty n-gram's rows include those of separators: it has no places.
            let (rows, lengths): (Vec<&[Rows]>, Vec<u32>) = rows
                .chunks(index.parts().len())
                .zip(&ngrams)
                .filter(|(_, ids)| !ids.is_empty())
                .map(|(rows, ids)| (rows, ids.len() as u32))
                .unzip();
            let mut places = vec![(9, 9)];
            index.locate_all(&rows.concat(), &lengths, limit, &mut places).unwrap();
            let mut expected = vec![(9, 9)];
            for (rows, &length) in rows.iter().zip(&lengths) {
                index.locate(rows, length, limit, &mut expected).unwrap();
            }
            prop_assert_eq!(places, expected);
            let (mut found, mut expected) = (vec![9], vec![9]);
            index.documents_of(&rows.concat(), &mut found).unwrap();
            for rows in &rows {
                let mut before = 0;
                for (part, rows) in index.parts().iter().zip(*rows) {
                    for row in rows.start..rows.end {
                        expected.push(before + u64::from(part.document_of(row).unwrap()));
                    }
                    before += u64::from(part.documents());
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let index = group(&vec![vec![1, 2], vec![1]], 1, Tier::Standard);
    let (mut rows, mut places, mut documents) = (Vec::new(), vec![(7, 7)], vec![7]);
    index.find_all(&[&[1], &[2]], false, &mut rows).unwrap();
    let error = index.locate_all(&rows[..3], &[1, 1], 9, &mut places).unwrap_err().to_string();
    assert!(error.starts_with("the number of rows must be 2 n-grams × 2 indexes, got 3"), "{error}");
    let mut lists = FollowerLists::default();
    assert!(
        index.next(&rows, None, &mut lists).unwrap_err().to_string().contains("1 n-grams × 2 indexes, got 4")
    );
    assert!(index.next_all(&rows[..3], None, &mut lists).is_err());
    assert!(index.documents_of(&rows[..3], &mut documents).is_err());
    // No document has so much before the end of these n-grams: nothing is appended.
    let error = index.locate_all(&rows, &[1, 3], 9, &mut places).unwrap_err().to_string();
    assert!(error.contains("the length of the n-gram must be at most 2"), "{error}");
    rows[2] = Rows::new(5, 90);
    assert!(index.documents_of(&rows, &mut documents).unwrap_err().to_string().contains("a range of rows"));
    assert_eq!((places, documents), (vec![(7, 7)], vec![7]));
}

#[test]
fn a_sample_of_rows_is_even_and_exact_when_it_is_all() {
    // After 7: one 1, three 2, and 996 times 3.
    let documents: Documents =
        (0..1000).map(|i| vec![7, [1, 2, 2, 2].get(i).copied().unwrap_or(3)]).collect();
    for tier in [Tier::Compact, Tier::Fast] {
        let index = Index::build_in_memory(&corpus(&documents), tier).unwrap();
        let rows = index.find(&[7], false).unwrap();
        let (mut sampled, mut exact) = (Followers::default(), Followers::default());
        index.next(rows, &mut exact).unwrap();
        index.next_sampled(rows, 1000, &mut sampled).unwrap();
        assert_eq!((sampled.ids(), sampled.counts()), (exact.ids(), exact.counts()));
        index.next_sampled(rows, 100, &mut sampled).unwrap();
        assert_eq!(sampled.counts().iter().sum::<u32>() + sampled.document_ends(), 100);
        let of_three = sampled.ids().iter().position(|&id| id == 3).map(|at| sampled.counts()[at]).unwrap();
        assert!(of_three >= 98, "{of_three}");
        // Where documents end that is a symbol too.
        let rows = index.find(&[3], false).unwrap();
        index.next_sampled(rows, 10, &mut sampled).unwrap();
        assert_eq!((sampled.ids().len(), sampled.document_ends()), (0, 10));
    }
    let tiny = Index::build_in_memory(&corpus(&documents), Tier::Tiny).unwrap();
    assert!(tiny.next_sampled(tiny.start(), 10, &mut Followers::default()).is_err());
}

#[test]
fn groups_that_make_no_sense_are_refused() {
    let error = Group::new(Vec::new()).err().unwrap().to_string();
    assert!(error.starts_with("the number of indexes must be at least 1, got 0"), "{error}");
    let folder = std::env::temp_dir().join(format!("draftwood-group-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let build = |name: &str, fingerprint: Option<[u8; 32]>| {
        let documents = corpus(&vec![vec![1, 2]]);
        Index::build(&documents, Tier::Tiny, fingerprint, &folder.join(name), |_| ()).unwrap()
    };
    let (a, b, none) = (build("a", Some([1; 32])), build("b", Some([2; 32])), build("c", None));
    let group = Group::new(vec![none, a]).unwrap();
    assert_eq!(group.fingerprint(), Some([1; 32]));
    let error = Group::new(vec![build("a", Some([1; 32])), b]).err().unwrap().to_string();
    assert!(error.contains("the tokenizer of index 1 must be that of the others"), "{error}");
    assert!(
        group
            .extract(2, 0, 1, &mut Vec::new())
            .unwrap_err()
            .to_string()
            .contains("the document must be below 2")
    );
    assert!(group.attribute(&[1], 0, 1).unwrap_err().to_string().contains("min_length must be at least 1"));
    std::fs::remove_dir_all(&folder).unwrap();
}

//! Several indexes answer as one over all documents.

use crate::exact::evenly;
use crate::{Documents, corpus, documents};
use draftwood_base::Token;
use draftwood_retrieve::index::{Followers, Group, Index, Rows, Span, Tier};
use proptest::prelude::*;

fn group(documents: &Documents, each: usize, tier: Tier) -> Group {
    let index = |part: &[Vec<Token>]| Index::build_in_memory(&corpus(&part.to_vec()), tier).unwrap();
    let parts: Vec<Index> = documents.chunks(each).map(index).collect();
    Group::new(if parts.is_empty() { vec![index(&[])] } else { parts }).unwrap()
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
                let rows = parts.find(ids, anchored).unwrap();
                for top in [None, Some(0), Some(2)] {
                    let expected = whole.next(&whole.find(ids, anchored).unwrap(), top).unwrap();
                    prop_assert_eq!(parts.next(&rows, top).unwrap(), expected);
                }
                if length > 0 {
                    let mut places = occurrences(&documents, ids);
                    places.retain(|place| !anchored || place.1 == 0);
                    prop_assert_eq!(&parts.locate(&rows, length as u32, usize::MAX).unwrap(), &places);
                    let by_row = places_by_row(&parts, &rows, length as u32);
                    for limit in [1, 2, 3, 5] {
                        let some = parts.locate(&rows, length as u32, limit).unwrap();
                        prop_assert_eq!(some, evenly(&by_row, limit));
                    }
                }
            }
        }
        for (d, document) in documents.iter().enumerate() {
            prop_assert_eq!(&parts.extract(d as u64, 0, u32::MAX).unwrap(), document);
            prop_assert_eq!(parts.document_length(d as u64).unwrap() as usize, document.len());
        }
        for end in 0..text.len() {
            let occurs = |start: &usize| !occurrences(&documents, &text[*start..end]).is_empty();
            let start = (0..end).find(occurs).unwrap_or(end);
            let (length, rows) = parts.longest_suffix(&text[..end]).unwrap();
            prop_assert_eq!(length, end - start);
            if length > 0 {
                let found = parts.locate(&rows, length as u32, usize::MAX).unwrap();
                prop_assert_eq!(found, occurrences(&documents, &text[start..end]));
            }
        }
        let expected = spans(&documents, &text, min_length);
        prop_assert_eq!(&parts.attribute(&text, min_length as u64, usize::MAX).unwrap(), &expected);
        let tiny = group(&documents, each, Tier::Tiny).attribute(&text, min_length as u64, 9).unwrap();
        prop_assert!(tiny.iter().zip(&expected).all(|(a, b)| (a.start, a.end, a.count) == (b.start, b.end, b.count)));
        prop_assert!(tiny.len() == expected.len() && tiny.iter().all(|span| span.places.is_empty()));
    }
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
    assert!(group.extract(2, 0, 1).unwrap_err().to_string().contains("the document must be below 2"));
    assert!(group.attribute(&[1], 0, 1).unwrap_err().to_string().contains("min_length must be at least 1"));
    std::fs::remove_dir_all(&folder).unwrap();
}

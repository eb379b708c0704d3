//! Copy-on-write, counted.

use super::store;
use crate::{Paths, RowMoves, Store, Want};
use draftwood_base::{PageId, SequenceId};

fn want(sequence: SequenceId, chain: u32) -> Want {
    Want { sequence, chain, drafted: 0 }
}

fn advance(store: &mut Store, sequences: &[SequenceId]) {
    let wants: Vec<Want> = sequences.iter().map(|&sequence| want(sequence, 1)).collect();
    let reservation = store.reserve(&wants).unwrap();
    let mut paths = Paths::default();
    sequences.iter().for_each(|&sequence| paths.advance(sequence));
    store.commit(reservation, &paths, &[]).unwrap();
    assert!(!store.has_pending_moves());
}

/// `width` beams of one text of `len` rows, all of whose pages they share.
fn beams(store: &mut Store, len: u32, width: u32) -> Vec<SequenceId> {
    let first = store.open(len + 8, width).unwrap();
    let reservation = store.reserve(&[want(first, len)]).unwrap();
    let mut paths = Paths::default();
    (0..width).for_each(|_| paths.advance(first));
    let committed = store.commit(reservation, &paths, &[]).unwrap();
    committed.iter().map(|entry| entry.sequence).collect()
}

#[test]
fn of_b_owners_all_but_one_copy_and_only_on_their_first_append() {
    for page_size in [1, 2, 4, 16] {
        for len in [1, 3, 16, 21] {
            for width in [1, 2, 5] {
                let mut store = store(200, page_size);
                let beams = beams(&mut store, len, width);
                assert_eq!(beams.len(), width as usize);
                assert_eq!(store.stats().free, 200 - len.div_ceil(page_size), "forks take no page");
                assert_eq!(store.stats().rows_copied_on_write, 0);

                let expected = u64::from((width - 1) * (len % page_size));
                advance(&mut store, &beams);
                assert_eq!(store.copies(0).len() as u64, expected);
                assert_eq!(store.stats().rows_copied_on_write, expected);
                assert_eq!(store.pages(beams[0], 0).len() as u32, (len + 1).div_ceil(page_size));

                advance(&mut store, &beams);
                let stats = store.stats();
                assert_eq!((store.copies(0).len(), stats.rows_copied_on_write), (0, expected));
                assert_eq!((stats.rows_forked, stats.rows_compacted), (0, 0));
            }
        }
    }
}

#[test]
fn one_by_one_the_last_owner_does_not_copy() {
    let mut store = store(60, 4);
    let beams = beams(&mut store, 6, 4);
    for (i, &beam) in beams.iter().enumerate() {
        advance(&mut store, &[beam]);
        assert_eq!(store.stats().rows_copied_on_write, 2 * (i as u64 + 1).min(3));
    }
    let tails: Vec<PageId> = beams.iter().map(|&beam| store.pages(beam, 0)[1]).collect();
    assert!((0..4).all(|i| !tails[..i].contains(&tails[i])), "{tails:?}");
    assert!(beams.iter().all(|&beam| store.pages(beam, 0)[0] == store.pages(beams[0], 0)[0]));
}

#[test]
fn a_rollback_restores_the_sharing() {
    let mut store = store(60, 4);
    let beams = beams(&mut store, 6, 3);
    let pages = store.pages(beams[0], 0).to_vec();
    let wants: Vec<Want> = beams.iter().map(|&beam| want(beam, 7)).collect();
    let reservation = store.reserve(&wants).unwrap();
    assert_eq!(store.stats().free, 60 - 2 - 2 - 3 * 2, "two copies, and two more pages each");
    assert_eq!(store.copies(0).len(), 4);
    drop(reservation);
    assert_eq!(store.stats().free, 60 - 2);
    assert!(beams.iter().all(|&beam| store.pages(beam, 0) == pages && store.len(beam) == 6));
    advance(&mut store, &beams);
    assert_eq!(store.copies(0).len(), 4);
}

/// A fork may be longer than its sibling on the page that they share. If both append, the longer one must stay: were
/// the shorter one to write in place, it would write over a row that a rollback gives back to the longer one.
#[test]
fn the_longest_owner_appends_in_place() {
    let mut store = store(60, 16);
    let first = store.open(40, 2).unwrap();
    // 0 ── 1 ── 2
    let reservation = store.reserve(&[Want { sequence: first, chain: 5, drafted: 2 }]).unwrap();
    let mut paths = Paths::default();
    paths.push(first, [0, 1, 2]);
    paths.push(first, [0]);
    let short = store.commit(reservation, &paths, &[]).unwrap()[1];
    assert_eq!((store.len(first), short.len), (7, 5));
    assert_eq!(store.moves(0), &RowMoves::default());
    let page = store.pages(first, 0)[0];
    assert_eq!(store.pages(short.sequence, 0), [page]);

    let _reservation = store.reserve(&[want(short.sequence, 1), want(first, 1)]).unwrap();
    assert_eq!(store.pages(first, 0), [page]);
    assert_eq!(store.copies(0).len(), 5);
    assert!(store.copies(0).from.iter().all(|slot| slot.0 / 16 == page.0));
}

//! Rules of the API, one small case each.

use super::store;
use crate::{GroupKind, Paths, Reservation, Store, StoreConfig, Want};
use draftwood_base::{Error, SequenceId, SlotId};

fn reserve(store: &mut Store, sequence: SequenceId, chain: u32, drafted: u32) -> Reservation {
    store.reserve(&[Want { sequence, chain, drafted }]).unwrap()
}

fn rows(store: &Store, sequence: SequenceId, rows: std::ops::Range<u32>) -> Vec<SlotId> {
    rows.map(|row| store.slot(sequence, 0, row)).collect()
}

#[test]
fn rows_of_the_path_move_to_their_positions_and_forks_take_what_differs() {
    let mut store = store(20, 4);
    let first = store.open(16, 3).unwrap();
    let reservation = reserve(&mut store, first, 3, 5);
    // rows 0 1 2 3 4 5 6 7     0 ─┬─ 1 ── 4
    // node     0 1 2 3 4 5        ├─ 2
    //                             └─ 3 ── 5
    let at = rows(&store, first, 0..8);
    let mut paths = Paths::default();
    paths.push(first, [0, 1, 4]);
    paths.push(first, [0, 3, 5]);
    paths.push(first, [0, 1, 4]);
    let committed = store.commit(reservation, &paths, &[]).unwrap().to_vec();
    let [kept, fork, twin] = [0, 1, 2].map(|i| (committed[i].sequence, committed[i].len));
    assert_eq!((kept, fork.1, twin.1), ((first, 5), 5, 5));
    let new = rows(&store, fork.0, 0..5);
    // The first survivor keeps its pages: node 4 (row 6) moves to row 4. Node 0 is row 2, so the fork's page 0 differs.
    let moves = store.moves(0);
    assert_eq!(moves.from, [at[6], at[0], at[1], at[2], at[5], at[7]]);
    assert_eq!(moves.to, [at[4], new[0], new[1], new[2], new[3], new[4]]);
    assert_eq!(rows(&store, first, 0..5), at[..5]);
    assert_eq!(store.pages(twin.0, 0), store.pages(first, 0), "the twin shares even the partial page");
    let stats = store.stats();
    assert_eq!((stats.rows_compacted, stats.rows_forked, stats.free), (1, 5, 20 - 4));
}

#[test]
fn a_sequence_in_a_reservation_cannot_be_retracted() {
    let mut store = store(8, 4);
    let first = store.open(16, 1).unwrap();
    let reservation = reserve(&mut store, first, 6, 0);
    let error = store.retract(first, 0).unwrap_err();
    assert!(error.to_string().contains("part of an open reservation"), "{error}");
    let mut paths = Paths::default();
    paths.advance(first);
    store.commit(reservation, &paths, &[]).unwrap();
    store.retract(first, 2).unwrap();
    assert_eq!((store.len(first), store.pages(first, 0).len(), store.stats().free), (4, 1, 7));
    let error = store.retract(first, 5).unwrap_err();
    assert!(error.to_string().contains("fewer rows"), "{error}");
    assert_eq!(store.len(first), 4);
}

#[test]
fn pages_of_pending_moves_outlive_their_sequences() {
    let mut store = store(4, 2);
    let first = store.open(8, 1).unwrap();
    let reservation = reserve(&mut store, first, 1, 7);
    let mut paths = Paths::default();
    paths.push(first, [0, 7]);
    store.commit(reservation, &paths, &[]).unwrap();
    assert_eq!(store.stats().free, 2, "the page of node 7 is still to be read");
    store.close(first);
    assert_eq!((store.stats().free, store.bookable()), (2, 4));
    let second = store.open(8, 1).unwrap();
    let error = store.reserve(&[Want { sequence: second, chain: 1, drafted: 0 }]).unwrap_err();
    assert!(error.to_string().contains("row moves were pending"), "{error}");
    store.acknowledge();
    assert_eq!(store.stats().free, 4);
    drop(reserve(&mut store, second, 8, 0));
}

#[test]
fn failed_moves_leave_the_rows_before_them() {
    let mut store = store(20, 4);
    let first = store.open(16, 3).unwrap();
    let reservation = reserve(&mut store, first, 6, 3);
    let mut paths = Paths::default();
    paths.push(first, [0, 1, 3]);
    paths.push(first, [0, 2]);
    paths.push(first, [0, 1]);
    let committed = store.commit(reservation, &paths, &[]).unwrap().to_vec();
    assert_eq!(committed.iter().map(|entry| entry.len).collect::<Vec<_>>(), [8, 7, 7]);
    store.moves_failed();
    // Row 7 of the first did not arrive; of the second, its whole page of rows 4 … 6; the third needed no move.
    let lens: Vec<u32> = committed.iter().map(|entry| store.len(entry.sequence)).collect();
    assert_eq!((lens, store.stats().free, store.has_pending_moves()), (vec![7, 4, 7], 20 - 2, false));
}

#[test]
fn a_chain_alone_advances_and_sources_without_survivors_close() {
    let mut store = store(20, 4);
    let (a, b, c) = (store.open(12, 1).unwrap(), store.open(12, 1).unwrap(), store.open(12, 1).unwrap());
    let wants = [a, b].map(|sequence| Want { sequence, chain: 5, drafted: 0 });
    let reservation = store.reserve(&wants).unwrap();
    let mut paths = Paths::default();
    paths.advance(a);
    store.commit(reservation, &paths, &[c]).unwrap();
    assert_eq!((store.len(a), store.contains(b), store.contains(c)), (5, false, false));
    assert_eq!((store.stats().booked, store.stats().free, store.is_empty()), (3, 18, false));
}

#[test]
fn closing_inside_a_step_leaves_the_others_whole() {
    let mut store = store(20, 4);
    let (a, b) = (store.open(12, 1).unwrap(), store.open(12, 1).unwrap());
    let wants = [a, b].map(|sequence| Want { sequence, chain: 5, drafted: 2 });
    let reservation = store.reserve(&wants).unwrap();
    store.close(a);
    let mut paths = Paths::default();
    paths.push(b, [0, 1]);
    store.commit(reservation, &paths, &[]).unwrap();
    assert_eq!((store.len(b), store.stats().free), (6, 18));
}

#[test]
fn a_reservation_that_was_replaced_cannot_be_committed() {
    let mut store = store(20, 4);
    let a = store.open(12, 1).unwrap();
    let old = reserve(&mut store, a, 12, 0);
    let new = reserve(&mut store, a, 1, 0);
    let mut paths = Paths::default();
    paths.advance(a);
    let error = store.commit(old, &paths, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the reservation of a commit must be the one of the current step, got one that was rolled back; \
         a later step has reserved rows since; plan this one again"
    );
    assert_eq!((store.commit(new, &paths, &[]).unwrap()[0].len, store.stats().free), (1, 19));

    let mut other = super::store(20, 4);
    let b = other.open(12, 1).unwrap();
    let foreign = reserve(&mut other, b, 1, 0);
    let _own = reserve(&mut store, a, 1, 0);
    assert!(store.commit(foreign, &paths, &[]).is_err(), "a reservation of another store");
}

#[test]
fn a_late_drop_does_not_hide_that_of_the_current_step() {
    let mut store = store(20, 4);
    let a = store.open(12, 1).unwrap();
    let old = reserve(&mut store, a, 12, 0);
    let new = reserve(&mut store, a, 8, 0);
    drop(new);
    drop(old);
    assert_eq!(store.stats().free, 20);
}

#[test]
fn a_family_keeps_to_its_width() {
    let mut store = store(20, 4);
    let a = store.open(12, 2).unwrap();
    let reservation = reserve(&mut store, a, 1, 0);
    let mut paths = Paths::default();
    (0..2).for_each(|_| paths.advance(a));
    let b = store.commit(reservation, &paths, &[]).unwrap()[1].sequence;
    let reservation = reserve(&mut store, a, 1, 0);
    paths.advance(a);
    // Closing b once makes room for one fork, naming it twice does not make room for two.
    let error = store.commit(reservation, &paths, &[b, b]).unwrap_err().to_string();
    assert!(error.contains("at most 2 sequences, got 3"), "{error}");
    assert_eq!((store.len(a), store.len(b), store.stats().free), (1, 1, 19));
    let reservation = reserve(&mut store, a, 1, 0);
    paths.clear();
    (0..2).for_each(|_| paths.advance(a));
    store.commit(reservation, &paths, &[b, b]).unwrap();
    assert_eq!((store.contains(b), store.stats().sequences), (false, 2));
}

#[test]
fn stores_and_reservations_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Store>();
    crosses::<Reservation>();
}

#[test]
fn admission_tells_never_from_not_now() {
    let mut store = store(10, 4);
    assert_eq!([(16, 2), (17, 2), (1, 1)].map(|(c, w)| store.pages_for(c, w)), [8, 10, 1]);
    assert_eq!(store.pages_for(u32::MAX, u32::MAX), u32::MAX);
    let a = store.open(16, 2).unwrap();
    let wait = store.open(9, 1).unwrap_err().to_string();
    assert!(wait.contains("3 pages needed, 2 of 10 free; it fits once running"), "{wait}");
    let never = store.open(41, 1).unwrap_err().to_string();
    assert!(never.contains("11 pages needed, 2 of 10 free; no empty pool"), "{never}");
    store.close(a);
    store.close(a);
    assert_eq!(store.bookable(), 10);
    assert!(matches!(store.open(0, 1), Err(Error::InvalidArgument(_))));
    assert!(matches!(store.open(1, 0), Err(Error::InvalidArgument(_))));
}

#[test]
fn wrong_wants_take_nothing() {
    let mut store = store(10, 4);
    let a = store.open(8, 1).unwrap();
    let want = |chain, drafted| Want { sequence: a, chain, drafted };
    let unknown = Want { sequence: SequenceId(9), chain: 1, drafted: 0 };
    for (wants, text) in [
        (vec![want(1, 0), unknown], "sequence 9 in reserve: it is not live"),
        (vec![want(1, 0), want(1, 0)], "it is named twice"),
        (vec![want(0, 3)], "its known chain is empty"),
        (vec![want(5, 4)], "its rows must be at most 8, got 9"),
        (vec![want(u32::MAX, u32::MAX)], "its rows must be at most 8, got 8589934590"),
    ] {
        let error = store.reserve(&wants).unwrap_err().to_string();
        assert!(error.contains(text), "{error} lacks {text}");
        assert_eq!(store.stats().free, 10);
        store.audit();
    }
    drop(store.reserve(&[want(5, 3)]).unwrap());
}

#[test]
fn configs_are_checked() {
    let config =
        |pages, page_size, groups| StoreConfig { pages, page_size, groups: vec![GroupKind::Full; groups] };
    for (config, text) in [
        (config(1, 16, 1), "cache pages must be at least 2, got 1"),
        (config(100, 0, 1), "page_size must be 1 … 21474836 with 100 pages, got 0"),
        (config(1 << 28, 16, 1), "page_size must be 1 … 7 with 268435456 pages, got 16"),
        (config(100, 16, 0), "the number of cache groups must be at least 1, got 0"),
    ] {
        let error = Store::new(config).unwrap_err().to_string();
        assert!(error.contains(text), "{error} lacks {text}");
    }
}

#[test]
fn tables_of_a_batch_are_runs_of_neighbours() {
    let mut store = store(64, 4);
    let batch: Vec<SequenceId> = (0..4).map(|_| store.open(64, 1).unwrap()).collect();
    for step in 0..16 {
        // The prompts come in one chunk, the rest page by page, all sequences in turn.
        let chain = if step == 0 { 20 } else { 2 };
        let wants: Vec<Want> = batch.iter().map(|&sequence| Want { sequence, chain, drafted: 0 }).collect();
        let reservation = store.reserve(&wants).unwrap();
        let mut paths = Paths::default();
        batch.iter().for_each(|&sequence| paths.advance(sequence));
        store.commit(reservation, &paths, &[]).unwrap();
    }
    for &sequence in &batch {
        let pages = store.pages(sequence, 0);
        assert!(pages.len() == 13 && pages.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "{pages:?}");
    }
    store.close(batch[1]);
    let again = store.open(64, 1).unwrap();
    drop(reserve(&mut store, again, 64, 0));
    let reservation = reserve(&mut store, again, 64, 0);
    let pages = store.pages(again, 0);
    assert!(pages.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "{pages:?}");
    drop(reservation);
}

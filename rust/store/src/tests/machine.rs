//! A state machine against a naive model. Every row holds the identity of its prefix, an executor really copies and
//! moves rows, and after every operation each live text is read back through its page table.

use super::rng::{Rng, mix};
use crate::{GroupKind, Paths, Reservation, RowMoves, Store, StoreConfig, Want};
use draftwood_base::{Error, PageId, SequenceId, SlotId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Prefix identity: the row of `token` behind the row `prefix`.
fn row_after(prefix: u64, token: u64) -> u64 {
    mix(prefix ^ mix(token))
}

/// What a row holds in the cache of `group`.
fn cell(row: u64, group: usize) -> u64 {
    row ^ mix(group as u64 + 1)
}

/// A sequence as a naive engine keeps it: all its rows, in order.
#[derive(Clone)]
struct Text {
    rows: Vec<u64>,
    capacity: u32,
    family: usize,
}

/// One sequence's rows in a step.
struct Draft {
    id: SequenceId,
    text: Text,
    chain: u32,
    parents: Vec<usize>,
    /// Rows of the chain, then of the nodes 1, 2, …
    rows: Vec<u64>,
}

impl Draft {
    fn path_to(&self, leaf: usize) -> Vec<u32> {
        let mut path = vec![leaf as u32];
        while path[0] != 0 {
            path.insert(0, self.parents[path[0] as usize] as u32);
        }
        path
    }

    fn text_along(&self, path: &[u32]) -> Text {
        let root = self.chain as usize - 1;
        let mut text = self.text.clone();
        text.rows.extend(&self.rows[..root]);
        text.rows.extend(path.iter().map(|&node| self.rows[root + node as usize]));
        text
    }
}

struct Machine {
    store: Store,
    page_size: u32,
    groups: usize,
    cache: Vec<u64>,
    texts: BTreeMap<SequenceId, Text>,
    /// Width of each family ever opened.
    widths: Vec<u32>,
    /// Reservations that somebody holds for too long.
    held: Vec<Reservation>,
    seen: Seen,
}

/// How often the machine has met what it is for.
#[derive(Debug, Default)]
struct Seen {
    /// The pool was empty in the middle of a step.
    dry: u32,
    commits: u32,
    forks: u32,
    copies: u32,
    failed_moves: u32,
    refused_late: u32,
}

impl Machine {
    fn new(pages: u32, page_size: u32, groups: usize) -> Self {
        let config = StoreConfig { pages: pages + 1, page_size, groups: vec![GroupKind::Full; groups] };
        Self {
            store: Store::new(config).unwrap(),
            page_size,
            groups,
            cache: vec![0; ((pages + 1) * page_size) as usize],
            texts: BTreeMap::new(),
            widths: Vec::new(),
            held: Vec::new(),
            seen: Seen::default(),
        }
    }

    fn run(&mut self, choice: u64) {
        let rng = &mut Rng(choice);
        match rng.below(12) {
            0 | 1 => self.open(rng),
            2 => self.close_some(rng, 3),
            _ if self.texts.is_empty() => self.open(rng),
            _ => self.step(rng),
        }
        self.check(rng);
    }

    fn open(&mut self, rng: &mut Rng) {
        let capacity = 1 + rng.below(4 * self.page_size + 12);
        let mut width = 1 + rng.below(5);
        let (total, bookable) = (self.store.total(), self.store.bookable());
        if rng.once_in(2) {
            // As wide as fits, so that pools run without a page to spare.
            width = (bookable / self.store.pages_for(capacity, 1)).max(1);
        }
        let needed = self.store.pages_for(capacity, width);
        match self.store.open(capacity, width) {
            Ok(id) => {
                assert!(needed <= bookable);
                assert_eq!(self.store.bookable(), bookable - needed);
                self.texts.insert(id, Text { rows: Vec::new(), capacity, family: self.widths.len() });
                self.widths.push(width);
            }
            Err(Error::OutOfPages { needed: n, free, total: t, hint }) => {
                assert!(needed > bookable);
                assert_eq!((n, free, t), (needed, bookable, total));
                assert_eq!(hint.contains("once running requests have ended"), needed <= total);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn close_some(&mut self, rng: &mut Rng, one_in: u32) {
        for id in self.texts.keys().copied().collect::<Vec<_>>() {
            if rng.once_in(one_in) {
                self.store.close(id);
                self.texts.remove(&id);
            }
        }
        self.store.close(SequenceId(u32::MAX));
    }

    /// Most texts that have reached their capacity end, as requests do; some stay.
    fn close_full(&mut self, rng: &mut Rng) {
        self.texts.retain(|&id, text| {
            let stays = text.rows.len() < text.capacity as usize || rng.once_in(4);
            if !stays {
                self.store.close(id);
            }
            stays
        });
    }

    fn step(&mut self, rng: &mut Rng) {
        self.close_full(rng);
        let drafts = self.drafts(rng);
        let mut wants: Vec<Want> = drafts
            .iter()
            .map(|draft| Want {
                sequence: draft.id,
                chain: draft.chain,
                drafted: draft.rows.len() as u32 - draft.chain,
            })
            .collect();
        rng.shuffle(&mut wants);
        let reservation = self.store.reserve(&wants).expect("a running family never meets an empty pool");
        self.store.audit();
        self.seen.dry += u32::from(self.store.pool.free() == 0);
        match rng.below(8) {
            0 => {
                // The forward raises somewhere.
                let (some_copies, some_rows) = (rng.below(3), rng.below(3));
                self.copy_on_write(rng, some_copies);
                self.forward(&drafts, rng, some_rows);
                return drop(reservation);
            }
            1 => {
                self.copy_on_write(rng, 0);
                self.held.push(reservation);
            }
            _ => {
                self.copy_on_write(rng, 0);
                self.read_back();
                self.forward(&drafts, rng, 0);
                if rng.once_in(8) {
                    self.close_some(rng, 3);
                    self.store.audit();
                }
                if rng.once_in(8) {
                    self.broken_commit(reservation, &drafts, rng);
                } else {
                    self.commit(reservation, &drafts, rng);
                    self.settle_moves(rng);
                }
            }
        }
        if rng.once_in(3) && !self.held.is_empty() {
            self.commit_late(rng);
        }
    }

    fn drafts(&mut self, rng: &mut Rng) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for (&id, text) in &self.texts {
            let room = text.capacity - text.rows.len() as u32;
            if room == 0 || rng.once_in(4) {
                continue;
            }
            // Short chains and full reservations come often, long ones sometimes.
            let chain = if rng.once_in(3) { 1 + rng.below(room) } else { 1 };
            let most = room - chain;
            let drafted = if rng.once_in(3) { most } else { rng.below(most.min(9) + 1) };
            let mut rows = Vec::new();
            let mut last = text.rows.last().copied().unwrap_or(0);
            for _ in 0..chain {
                last = row_after(last, rng.next());
                rows.push(last);
            }
            let mut parents = vec![0];
            for node in 1..=drafted as usize {
                // Chains, reversed siblings and random trees.
                let parent = if rng.once_in(2) { node - 1 } else { rng.below(node as u32) as usize };
                parents.push(parent);
                rows.push(row_after(rows[chain as usize - 1 + parent], rng.next()));
            }
            drafts.push(Draft { id, text: text.clone(), chain, parents, rows });
        }
        drafts
    }

    /// Runs the copies of the reservation; all for `some = 0`, else a random part.
    fn copy_on_write(&mut self, rng: &mut Rng, some: u32) {
        for group in 0..self.groups {
            let copies = self.store.copies(group).clone();
            self.seen.copies += u32::from(!copies.is_empty());
            self.apply(&copies, rng, some);
        }
    }

    /// Stores the rows of the step; all for `some = 0`, else a random part, with nonsense among them.
    fn forward(&mut self, drafts: &[Draft], rng: &mut Rng, some: u32) {
        for draft in drafts {
            for group in 0..self.groups {
                for (j, &row) in draft.rows.iter().enumerate() {
                    let slot = self.store.slot(draft.id, group, draft.text.rows.len() as u32 + j as u32);
                    match some > 0 && rng.once_in(some + 1) {
                        true => self.cache[slot.index()] = rng.next(),
                        false => self.cache[slot.index()] = cell(row, group),
                    }
                }
            }
        }
    }

    /// Gather, then scatter; a failing executor stores a part, or nonsense.
    fn apply(&mut self, moves: &RowMoves, rng: &mut Rng, some: u32) {
        assert_eq!(moves.from.len(), moves.to.len());
        assert_eq!(BTreeSet::from_iter(&moves.to).len(), moves.len(), "two rows move to one slot");
        let rows: Vec<u64> = moves.from.iter().map(|slot| self.cache[slot.index()]).collect();
        for (&to, row) in moves.to.iter().zip(rows) {
            match if some == 0 { 2 } else { rng.below(3) } {
                0 => {}
                1 => self.cache[to.index()] = rng.next(),
                _ => self.cache[to.index()] = row,
            }
        }
    }

    fn commit(&mut self, reservation: Reservation, drafts: &[Draft], rng: &mut Rng) {
        let mut live: BTreeMap<usize, u32> = BTreeMap::new();
        self.texts.values().for_each(|text| *live.entry(text.family).or_default() += 1);
        let (mut survivors, mut closed) = (Vec::new(), Vec::new());
        for id in self.texts.keys().filter(|id| drafts.iter().all(|draft| draft.id != **id)) {
            if rng.once_in(8) {
                closed.push(*id);
                *live.get_mut(&self.texts[id].family).unwrap() -= 1;
            }
        }
        let mut alive: Vec<&Draft> =
            drafts.iter().filter(|draft| self.texts.contains_key(&draft.id)).collect();
        // Sources without survivors first: they make room for forks.
        rng.shuffle(&mut alive);
        let ends = if rng.once_in(4) { rng.below(alive.len() as u32 + 1) as usize } else { 0 };
        for draft in &alive[..ends] {
            *live.get_mut(&draft.text.family).unwrap() -= 1;
            if rng.once_in(2) {
                closed.extend([draft.id, draft.id]);
            }
        }
        for draft in &alive[ends..] {
            let live = live.get_mut(&draft.text.family).unwrap();
            let free = self.widths[draft.text.family] - *live;
            let forks = if rng.once_in(3) { 0 } else { rng.below(free + 1) };
            *live += forks;
            for _ in 0..=forks {
                let leaf = rng.below(draft.parents.len() as u32) as usize;
                survivors.push((*draft, draft.path_to(leaf)));
            }
        }
        rng.shuffle(&mut survivors);
        let mut paths = Paths::default();
        survivors.iter().for_each(|(draft, path)| paths.push(draft.id, path.iter().copied()));

        let before = self.store.counts;
        let committed = self.store.commit(reservation, &paths, &closed).unwrap().to_vec();
        for id in drafts.iter().map(|draft| draft.id).chain(closed) {
            self.texts.remove(&id);
        }
        let mut compacted = 0;
        for ((draft, path), entry) in survivors.iter().zip(&committed) {
            let is_fork = self.texts.contains_key(&draft.id);
            assert_eq!((entry.source, entry.sequence == draft.id), (draft.id, !is_fork));
            if !is_fork {
                compacted += path.iter().enumerate().filter(|&(depth, &node)| depth as u32 != node).count();
            }
            let text = draft.text_along(path);
            assert_eq!(entry.len as usize, text.rows.len());
            assert!(self.texts.insert(entry.sequence, text).is_none(), "an id was used twice");
        }
        assert_eq!(committed.len(), survivors.len());
        self.seen.commits += 1;
        self.seen.forks += committed.iter().filter(|entry| entry.sequence != entry.source).count() as u32;
        let counts = self.store.counts;
        assert_eq!(counts.rows_compacted - before.rows_compacted, (compacted * self.groups) as u64);
        let moved: usize = (0..self.groups).map(|group| self.store.moves(group).len()).sum();
        let counted = counts.rows_forked - before.rows_forked + counts.rows_compacted - before.rows_compacted;
        assert_eq!(counted, moved as u64);
        self.seen.dry += u32::from(self.store.pool.free() == 0);
        self.store.audit();
    }

    fn settle_moves(&mut self, rng: &mut Rng) {
        if self.store.has_pending_moves() {
            let error = self.store.reserve(&[]).unwrap_err();
            assert!(matches!(error, Error::Internal(_)), "{error}");
        }
        if rng.once_in(8) {
            self.close_some(rng, 3);
            self.store.audit();
        }
        if rng.once_in(3) {
            self.open(rng);
        }
        let moves: Vec<RowMoves> = (0..self.groups).map(|group| self.store.moves(group).clone()).collect();
        if rng.once_in(4) {
            moves.iter().for_each(|moves| self.apply(moves, rng, 1));
            let targets: BTreeSet<SlotId> = moves.iter().flat_map(|moves| &moves.to).copied().collect();
            for (&id, text) in &mut self.texts {
                let in_place = |&row: &u32| {
                    (0..self.groups).all(|group| !targets.contains(&self.store.slot(id, group, row)))
                };
                let len = (0..text.rows.len() as u32).take_while(in_place).count();
                text.rows.truncate(len);
            }
            self.seen.failed_moves += u32::from(!targets.is_empty());
            self.store.moves_failed();
        } else {
            moves.iter().for_each(|moves| self.apply(moves, rng, 0));
            self.store.acknowledge();
        }
    }

    /// Commits that must be refused and must change nothing.
    fn broken_commit(&mut self, reservation: Reservation, drafts: &[Draft], rng: &mut Rng) {
        let mut paths = Paths::default();
        let mut closed = Vec::new();
        let draft = drafts.iter().find(|draft| self.texts.contains_key(&draft.id));
        match (draft, rng.below(5)) {
            (Some(draft), 0) => {
                let width = self.widths[draft.text.family];
                (0..=width).for_each(|_| paths.advance(draft.id));
            }
            (Some(draft), 1) => paths.push(draft.id, [0, draft.parents.len() as u32]),
            (Some(draft), 2) => paths.push(draft.id, []),
            (Some(draft), 3) => {
                paths.advance(draft.id);
                closed.push(draft.id);
            }
            _ => paths.advance(SequenceId(u32::MAX)),
        }
        let error = self.store.commit(reservation, &paths, &closed).unwrap_err();
        assert!(matches!(error, Error::Internal(_)), "{error}");
    }

    /// A reservation that a later one has replaced cannot be committed; the last one can.
    fn commit_late(&mut self, rng: &mut Rng) {
        let reservation = self.held.remove(rng.below(self.held.len() as u32) as usize);
        if self.store.is_current(&reservation) {
            return drop(reservation);
        }
        let error = self.store.commit(reservation, &Paths::default(), &[]).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
        assert!(error.to_string().contains("rolled back"), "{error}");
        self.seen.refused_late += 1;
    }

    fn check(&mut self, rng: &mut Rng) {
        let stats = self.store.stats();
        assert_eq!((stats.sequences as usize, stats.booked <= stats.total), (self.texts.len(), true));
        self.store.audit();
        let free: Vec<u32> =
            (1..=stats.total).filter(|&page| self.store.pool.holders_of(PageId(page)).2).collect();
        for page in free {
            let rows = page * self.page_size..(page + 1) * self.page_size;
            rows.for_each(|slot| self.cache[slot as usize] = rng.next());
        }
        self.read_back();
    }

    fn read_back(&self) {
        for (&id, text) in &self.texts {
            assert_eq!(self.store.len(id) as usize, text.rows.len());
            for group in 0..self.groups {
                for (i, &row) in text.rows.iter().enumerate() {
                    let slot = self.store.slot(id, group, i as u32);
                    assert_eq!(self.cache[slot.index()], cell(row, group), "row {i} of sequence {id}");
                }
            }
        }
    }

    fn finish(mut self) -> Seen {
        self.held.clear();
        for id in self.texts.keys() {
            self.store.close(*id);
        }
        let stats = self.store.stats();
        assert_eq!((stats.free, stats.booked, stats.sequences), (stats.total, 0, 0));
        self.store.audit();
        self.seen
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn equals_a_model_that_copies_everything(
        page_size in prop::sample::select(vec![1u32, 2, 4, 16]),
        pages in 1u32..40,
        groups in 1usize..3,
        choices in prop::collection::vec(any::<u64>(), 1..40),
    ) {
        let mut machine = Machine::new(pages, page_size, groups);
        choices.into_iter().for_each(|choice| machine.run(choice));
        machine.finish();
    }
}

/// The machine is worth something only if it comes through every door, and pools do run empty.
#[test]
fn the_machine_meets_what_it_is_for() {
    let mut seen = Seen::default();
    for seed in 0..1_000u64 {
        let mut rng = Rng(seed);
        let mut machine = Machine::new(1 + rng.below(20), 1 << rng.below(3), 1);
        (0..40).for_each(|_| machine.run(rng.next()));
        let end = machine.finish();
        seen.dry += end.dry;
        seen.commits += end.commits;
        seen.forks += end.forks;
        seen.copies += end.copies;
        seen.failed_moves += end.failed_moves;
        seen.refused_late += end.refused_late;
    }
    assert!(
        seen.dry > 1_000
            && seen.commits > 5_000
            && seen.forks > 4_000
            && seen.copies > 800
            && seen.failed_moves > 400
            && seen.refused_late > 500,
        "{seen:?}"
    );
}

//! A state machine against a naive model. Every row holds the identity of its prefix, an executor really copies and
//! moves rows, and after every operation each live text is read back through its page table.

use super::model::{Text, cell};
use super::rng::Rng;
use crate::{GroupKind, Reservation, Store, StoreConfig, Want};
use draftwood_base::{Error, PageId, SequenceId};
use proptest::prelude::*;
use std::collections::BTreeMap;

pub(super) struct Machine {
    pub(super) store: Store,
    pub(super) page_size: u32,
    pub(super) groups: usize,
    pub(super) cache: Vec<u64>,
    pub(super) texts: BTreeMap<SequenceId, Text>,
    /// Width of each family ever opened.
    pub(super) widths: Vec<u32>,
    /// Reservations that somebody holds for too long.
    pub(super) held: Vec<Reservation>,
    pub(super) newest: Option<SequenceId>,
    pub(super) seen: Seen,
}

/// How often the machine has met what it is for.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The pool was empty in the middle of a step.
    pub(super) dry: u32,
    pub(super) commits: u32,
    pub(super) forks: u32,
    pub(super) prefixes: u32,
    pub(super) copies: u32,
    pub(super) failed_moves: u32,
    pub(super) refused_late: u32,
    pub(super) retracted: u32,
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
            newest: None,
            seen: Seen::default(),
        }
    }

    fn run(&mut self, choice: u64) {
        let rng = &mut Rng(choice);
        match rng.below(13) {
            0 | 1 => self.open(rng),
            2 => self.close_some(rng, 3),
            3 => self.retract_some(rng),
            _ if self.texts.is_empty() => self.open(rng),
            _ => self.step(rng),
        }
        self.check(rng);
    }

    pub(super) fn open(&mut self, rng: &mut Rng) {
        let capacity = 1 + rng.below(4 * self.page_size + 12);
        let mut width = 1 + rng.below(5);
        let (total, bookable) = (self.store.total(), self.store.bookable());
        let shared = if rng.once_in(2) { rng.below(capacity) } else { 0 };
        if rng.once_in(2) {
            // As wide as fits, so that pools run without a page to spare.
            let fits = |&width: &u32| self.store.pages_for_shared(capacity, width, shared) <= bookable;
            width = (1..=9).take_while(fits).last().unwrap_or(1);
        }
        let needed = self.store.pages_for_shared(capacity, width, shared);
        match self.store.open_shared(capacity, width, shared) {
            Ok(id) => {
                assert!(needed <= bookable);
                assert_eq!(self.store.bookable(), bookable - needed);
                self.enter(id, Text { rows: Vec::new(), capacity, shared, family: self.widths.len() });
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

    pub(super) fn close_some(&mut self, rng: &mut Rng, one_in: u32) {
        for id in self.texts.keys().copied().collect::<Vec<_>>() {
            if rng.once_in(one_in) {
                self.store.close(id);
                self.texts.remove(&id);
            }
        }
        self.store.close(SequenceId(u32::MAX));
    }

    /// Backspace, over page borders and into shared pages.
    fn retract_some(&mut self, rng: &mut Rng) {
        for (&id, text) in &mut self.texts {
            let len = text.rows.len() as u32;
            assert!(self.store.retract(id, len + 1).is_err());
            let record = self.store.sequences.find(id).unwrap();
            if self.store.sequences.get(record).part.is_some() {
                assert!(self.store.retract(id, 0).is_err(), "somebody holds its reservation");
                continue;
            }
            if rng.once_in(2) {
                let shared = text.shared / self.page_size * self.page_size;
                let rows = rng.below(len.saturating_sub(shared).min(self.page_size + 3) + 1);
                self.store.retract(id, rows).unwrap();
                text.rows.truncate((len - rows) as usize);
                self.seen.retracted += u32::from(rows > 0);
            }
        }
        assert!(self.store.retract(SequenceId(u32::MAX), 0).is_err());
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
                    if rng.once_in(4) {
                        self.retract_some(rng); // while moves are pending
                        self.store.audit();
                    }
                    self.settle_moves(rng);
                    self.rearrange(rng);
                }
            }
        }
        if rng.once_in(3) && !self.held.is_empty() {
            self.commit_late(rng);
        }
    }

    /// Between steps some texts fork at an earlier row, some give up their last rows.
    fn rearrange(&mut self, rng: &mut Rng) {
        for id in self.texts.keys().copied().collect::<Vec<_>>() {
            let mut text = self.texts[&id].clone();
            let (rows, shared) = (text.rows.len() as u32, text.shared / self.page_size * self.page_size);
            if rows < text.shared {
                continue; // such a family has not forked yet
            }
            let len = shared + rng.below(rows - shared + 1);
            text.rows.truncate(len as usize);
            let siblings = self.texts.values().filter(|other| other.family == text.family).count();
            match rng.below(4) {
                0 if siblings < self.widths[text.family] as usize => {
                    let fork = self.store.fork_at(id, len).unwrap();
                    self.seen.prefixes += 1;
                    self.enter(fork, text);
                }
                0 => assert!(self.store.fork_at(id, len).is_err()),
                1 => {
                    self.store.truncate(id, len).unwrap();
                    self.texts.insert(id, text);
                }
                _ => assert!(self.store.truncate(id, self.texts[&id].rows.len() as u32 + 1).is_err()),
            }
        }
    }

    fn check(&mut self, rng: &mut Rng) {
        let stats = self.store.stats();
        assert_eq!((stats.sequences as usize, stats.booked <= stats.total), (self.texts.len(), true));
        self.store.audit();
        self.poison_free_pages(rng);
        self.read_back();
    }

    /// Nobody may rely on a free page.
    pub(super) fn poison_free_pages(&mut self, rng: &mut Rng) {
        let is_free = |&page: &u32| self.store.pool.holders_of(PageId(page)).2;
        let free: Vec<u32> = (1..=self.store.total()).filter(is_free).collect();
        for page in free {
            let rows = page * self.page_size..(page + 1) * self.page_size;
            rows.for_each(|slot| self.cache[slot as usize] = rng.next());
        }
    }

    /// Ids only rise, so none is used twice.
    pub(super) fn enter(&mut self, id: SequenceId, text: Text) {
        assert!(self.newest.is_none_or(|newest| newest < id));
        self.newest = Some(id);
        self.texts.insert(id, text);
    }

    pub(super) fn read_back(&self) {
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
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(10_000)))]

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
    for seed in 0..1_200u64 {
        let mut rng = Rng(seed);
        let mut machine = Machine::new(1 + rng.below(20), 1 << rng.below(3), 1);
        (0..40).for_each(|_| machine.run(rng.next()));
        let end = machine.finish();
        seen.dry += end.dry;
        seen.commits += end.commits;
        seen.forks += end.forks;
        seen.prefixes += end.prefixes;
        seen.copies += end.copies;
        seen.failed_moves += end.failed_moves;
        seen.refused_late += end.refused_late;
        seen.retracted += end.retracted;
    }
    assert!(
        seen.dry > 1_000
            && seen.commits > 5_000
            && seen.forks > 4_000
            && seen.prefixes > 1_000
            && seen.copies > 800
            && seen.failed_moves > 400
            && seen.refused_late > 500
            && seen.retracted > 2_000,
        "{seen:?}"
    );
}

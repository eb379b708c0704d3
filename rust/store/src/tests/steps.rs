//! The machine's steps: random drafts, an executor that may fail, random commits.

use super::machine::Machine;
use super::model::{Draft, cell, row_after};
use super::rng::Rng;
use crate::{Paths, Reservation, RowMoves};
use draftwood_base::{Error, SequenceId, SlotId};
use std::collections::BTreeSet;

impl Machine {
    pub(super) fn drafts(&self, rng: &mut Rng) -> Vec<Draft> {
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
    pub(super) fn copy_on_write(&mut self, rng: &mut Rng, some: u32) {
        for group in 0..self.groups {
            let copies = self.store.copies(group).clone();
            self.seen.copies += u32::from(!copies.is_empty());
            self.apply(&copies, rng, some);
        }
    }

    /// Stores the rows of the step; all for `some = 0`, else a random part, with nonsense among them.
    pub(super) fn forward(&mut self, drafts: &[Draft], rng: &mut Rng, some: u32) {
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
    pub(super) fn apply(&mut self, moves: &RowMoves, rng: &mut Rng, some: u32) {
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

    pub(super) fn settle_moves(&mut self, rng: &mut Rng) {
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
        self.poison_free_pages(rng);
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
    pub(super) fn broken_commit(&mut self, reservation: Reservation, drafts: &[Draft], rng: &mut Rng) {
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
    pub(super) fn commit_late(&mut self, rng: &mut Rng) {
        let reservation = self.held.remove(rng.below(self.held.len() as u32) as usize);
        if self.store.is_current(&reservation) {
            return drop(reservation);
        }
        let error = self.store.commit(reservation, &Paths::default(), &[]).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
        assert!(error.to_string().contains("rolled back"), "{error}");
        self.seen.refused_late += 1;
    }
}

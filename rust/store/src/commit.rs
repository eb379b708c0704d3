//! Committing a step: which paths go on, as which sequences, in which slots.

use crate::booking::Family;
use crate::reserve::{End, Part};
use crate::{Committed, Paths, Reservation, Store};
use draftwood_base::{Error, Result, SequenceId};

impl Store {
    /// Keeps the rows of the surviving paths and frees the rest of the reservation. Sources without a survivor close,
    /// and so do the sequences in `closed`, part of the step or not. Sequences outside the reservation stay as they
    /// are. Returns one entry per survivor, in order; [`moves`](Self::moves) tells which rows must move.
    ///
    /// A fork shares every page on which all its rows are those of an earlier survivor of its source, a partial page
    /// included if its whole path is common with that survivor. Its other rows move to pages of its own.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the reservation was rolled back before; [`Error::Internal`] if a survivor's source
    /// is not in the reservation or is to be closed, a path does not rise from 0 within the tree, or a family would get
    /// more sequences than it booked. The reservation is then rolled back and nothing else changes.
    ///
    /// Cost: O(rows of the paths and pages of the forks), times the siblings of a fork.
    pub fn commit(
        &mut self,
        reservation: Reservation,
        survivors: &Paths,
        closed: &[SequenceId],
    ) -> Result<&[Committed]> {
        self.settle();
        if !self.is_current(&reservation) {
            return Err(Error::invalid(
                "the reservation of a commit",
                "the one of the current step",
                "one that was rolled back",
                "a later step has reserved rows since; plan this one again",
            ));
        }
        if let Err(error) = self.examine(survivors, closed) {
            self.end_reservation(End::RolledBack);
            return Err(error);
        }
        self.end_reservation(End::Committed);
        // Closing comes first: the booking counts on it.
        for at in 0..self.open.parts.len() {
            let part = self.open.parts[at];
            if part.survivors == 0 && !part.closed {
                self.close_record(part.id, part.record);
            }
        }
        for &id in closed {
            self.close(id);
        }
        self.committed.clear();
        self.committed_records.clear();
        for i in 0..survivors.len() {
            let part = self.open.parts[self.survivor_parts[i] as usize];
            let path = survivors.path(i);
            let sibling = self.closest_sibling(i, survivors);
            let (record, sequence) = match sibling {
                None => (part.record, part.id),
                Some(_) => self.enter_fork(part.record),
            };
            match sibling {
                None => self.keep(part, path),
                Some((sibling, common)) => {
                    self.fork(part, path, record, self.committed_records[sibling], common)?
                }
            }
            let len = part.root() + path.len() as u32;
            self.sequences.get_mut(record).len = len;
            self.committed.push(Committed { source: part.id, sequence, len });
            self.committed_records.push(record);
        }
        self.pin_moves();
        for i in 0..survivors.len() {
            self.trim(self.committed_records[i]);
        }
        self.open.parts.clear();
        Ok(&self.committed)
    }

    /// Checks a commit against the open reservation and counts survivors; changes nothing else.
    fn examine(&mut self, survivors: &Paths, closed: &[SequenceId]) -> Result<()> {
        let broken = |what: String| Err(Error::Internal(format!("commit: {what}")));
        self.open.parts.iter_mut().for_each(|part| part.survivors = 0);
        self.survivor_parts.clear();
        for i in 0..survivors.len() {
            let (source, path) = (survivors.source(i), survivors.path(i));
            let record = self.sequences.find(source).map(|record| self.sequences.get(record));
            let Some(at) = record.and_then(|record| record.part) else {
                return broken(format!("source {source} is not part of the step"));
            };
            let part = &mut self.open.parts[at as usize];
            let rises = path.first() == Some(&0) && path.windows(2).all(|pair| pair[0] < pair[1]);
            if !rises || path.last().is_some_and(|&leaf| leaf > part.drafted) {
                let nodes = part.drafted + 1;
                return broken(format!(
                    "a path in the {nodes} nodes of source {source} must rise from 0, got {path:?}"
                ));
            }
            part.survivors += 1;
            self.survivor_parts.push(at);
        }
        if let Some(id) = closed.iter().find(|id| survivors.sources().contains(id)) {
            return broken(format!("sequence {id} has a survivor and is closed"));
        }
        self.check_widths(closed)?;
        self.sequences.check_ids(survivors.len() as u32)
    }

    /// Whether every family keeps to the width that it booked.
    fn check_widths(&mut self, closed: &[SequenceId]) -> Result<()> {
        let families = &mut self.bookings.families;
        families.iter_mut().for_each(|family| family.live_after = family.live);
        for part in self.open.parts.iter().filter(|part| !part.closed) {
            let family = self.sequences.get(part.record).family;
            // No underflow: every live part takes itself out of its family's count.
            let after = &mut families[family as usize].live_after;
            *after = *after - 1 + part.survivors;
        }
        for (i, &id) in closed.iter().enumerate() {
            let Some(record) = self.sequences.find(id) else { continue };
            let sequence = self.sequences.get(record);
            if sequence.part.is_none() && !closed[..i].contains(&id) {
                families[sequence.family as usize].live_after -= 1;
            }
        }
        match families.iter().find(|family| family.live_after > family.width) {
            None => Ok(()),
            Some(Family { live_after, width, .. }) => Err(Error::Internal(format!(
                "commit: a family must have at most {width} sequences, got {live_after}"
            ))),
        }
    }

    /// The earlier survivor of the same source with the longest common path, and the nodes in common.
    fn closest_sibling(&self, i: usize, survivors: &Paths) -> Option<(usize, usize)> {
        let path = survivors.path(i);
        let siblings = (0..i).filter(|&j| self.survivor_parts[j] == self.survivor_parts[i]);
        let common = |j: usize| path.iter().zip(survivors.path(j)).take_while(|(a, b)| a == b).count();
        // Of equals the first, which is the one whose pages lie in a row.
        siblings.map(|j| (j, common(j))).reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// Moves the rows of a path within the pages of its source to where they belong.
    fn keep(&mut self, part: Part, path: &[u32]) {
        for group in 0..self.config.groups.len() {
            for (depth, &node) in path.iter().enumerate().filter(|&(depth, &node)| depth as u32 != node) {
                let table = &self.sequences.get(part.record).tables[group];
                let [from, to] = [node, depth as u32].map(|row| self.slot_in(table, part.root() + row));
                self.pending.moves[group].push(from, to);
                self.counts.rows_compacted += 1;
            }
        }
    }

    fn enter_fork(&mut self, source: u32) -> (u32, SequenceId) {
        let family = &mut self.bookings.families[self.sequences.get(source).family as usize];
        let record = family.idle.pop().expect("the widths were checked");
        family.live += 1;
        (record, self.sequences.enter(record))
    }

    /// Fills the tables of a fork: pages shared with its sibling as far as all rows are common, then its own.
    fn fork(&mut self, part: Part, path: &[u32], record: u32, sibling: u32, common: usize) -> Result<()> {
        let page_size = self.config.page_size;
        let len = part.root() + path.len() as u32;
        let shared = if common == path.len() {
            len.div_ceil(page_size)
        } else {
            (part.root() + common as u32) / page_size
        };
        for group in 0..self.config.groups.len() {
            let mut table = std::mem::take(&mut self.sequences.get_mut(record).tables[group]);
            table.extend_from_slice(&self.sequences.get(sibling).tables[group][..shared as usize]);
            table.iter().for_each(|&page| self.pool.share(page));
            self.sequences.get_mut(record).tables[group] = table;
            for at in shared..len.div_ceil(page_size) {
                let page = self.take_page(record, group, at as usize)?;
                self.sequences.get_mut(record).tables[group].push(page);
            }
            for row in (shared * page_size).min(len)..len {
                let came_from = match row.checked_sub(part.root()) {
                    None => row,
                    Some(depth) => part.root() + path[depth as usize],
                };
                let from = self.slot_in(&self.sequences.get(part.record).tables[group], came_from);
                let to = self.slot_in(&self.sequences.get(record).tables[group], row);
                self.pending.moves[group].push(from, to);
                self.counts.rows_forked += 1;
            }
        }
        Ok(())
    }
}

impl Part {
    /// Logical index of the root's row.
    fn root(&self) -> u32 {
        self.len + self.chain - 1
    }
}

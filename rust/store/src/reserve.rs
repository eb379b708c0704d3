//! Reserving rows: pages behind the sequences, copy-on-write, rollback.

use crate::copy_on_write::SharedTail;
use crate::{RowMoves, Store};
use draftwood_base::{Error, PageId, Result, SequenceId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows that a sequence needs in the next step. They get the logical indices behind its committed rows, the chain
/// first: drafted node `j ≥ 1` has the index `len + chain − 1 + j`, and node 0 is the last row of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Whose rows.
    pub sequence: SequenceId,
    /// Known tokens, at least 1; the last one is the root of the tree.
    pub chain: u32,
    /// Nodes of the tree besides the root, in topological order.
    pub drafted: u32,
}

/// The right to commit one step. Dropping it gives the rows back: the store rolls them back in its next call.
#[derive(Debug)]
#[must_use = "dropping a reservation rolls it back"]
pub struct Reservation {
    number: u64,
    dropped: Arc<AtomicU64>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Only the highest number can be open, so an older one that is dropped late must not hide it.
        self.dropped.fetch_max(self.number, Ordering::Release);
    }
}

/// The rows of one sequence in the open reservation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub id: SequenceId,
    pub record: u32,
    /// Committed rows before the step.
    pub len: u32,
    pub chain: u32,
    pub drafted: u32,
    /// The sequence has been closed since.
    pub closed: bool,
    /// Its survivors in the commit under examination.
    pub survivors: u32,
}

/// What may be open: one reservation at a time.
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// Number of the last reservation, counted from 1.
    number: u64,
    is_open: bool,
    pub parts: Vec<Part>,
    /// [parts, groups] the shared page that a copy replaced, pinned until the reservation ends.
    pub originals: Vec<Option<PageId>>,
    /// Shared last pages of the step, at most one per two sequences, so a scan finds them fast enough.
    pub tails: Vec<SharedTail>,
}

impl Store {
    /// Reserves rows for one step, all or nothing, and rolls back an older reservation that is still open.
    ///
    /// The executor runs [`copies`](Self::copies) before it stores the first row of the step.
    ///
    /// # Errors
    /// [`Error::Internal`] if moves are pending, a sequence is unknown or named twice, a chain is empty, or the rows
    /// exceed the capacity that the family was opened with.
    pub fn reserve(&mut self, wants: &[Want]) -> Result<Reservation> {
        self.end_reservation(End::RolledBack);
        self.copies.iter_mut().for_each(RowMoves::clear);
        if self.has_pending_moves() {
            return Err(Error::Internal("rows were reserved while row moves were pending".into()));
        }
        self.open.is_open = true;
        self.open.number += 1;
        if let Err(error) =
            wants.iter().try_for_each(|want| self.add_part(want)).and_then(|()| self.take_pages())
        {
            self.end_reservation(End::RolledBack);
            return Err(error);
        }
        Ok(Reservation { number: self.open.number, dropped: Arc::clone(&self.dropped) })
    }

    /// Rows of `group` that the step copies on write, for the reservation made last.
    ///
    /// # Panics
    /// If there is no such group.
    pub fn copies(&self, group: usize) -> &RowMoves {
        &self.copies[group]
    }

    fn add_part(&mut self, want: &Want) -> Result<()> {
        let Want { sequence: id, chain, drafted } = *want;
        let broken = |what: String| Err(Error::Internal(format!("sequence {id} in reserve: {what}")));
        let Some(record) = self.sequences.find(id) else { return broken("it is not live".into()) };
        let sequence = self.sequences.get_mut(record);
        let capacity = self.bookings.families[sequence.family as usize].capacity;
        let end = u64::from(sequence.len) + u64::from(chain) + u64::from(drafted);
        if sequence.part.is_some() {
            return broken("it is named twice".into());
        }
        if chain == 0 {
            return broken("its known chain is empty".into());
        }
        if end > u64::from(capacity) {
            return broken(format!("its rows must be at most {capacity}, got {end}"));
        }
        sequence.part = Some(self.open.parts.len() as u32);
        self.open.parts.push(Part {
            id,
            record,
            len: sequence.len,
            chain,
            drafted,
            closed: false,
            survivors: 0,
        });
        Ok(())
    }

    fn take_pages(&mut self) -> Result<()> {
        let groups = self.config.groups.len();
        self.open.originals.resize(self.open.parts.len() * groups, None);
        for group in 0..groups {
            self.find_shared_tails(group);
            for part in 0..self.open.parts.len() {
                self.unshare_tail(part, group)?;
                self.append_pages(part, group)?;
            }
        }
        Ok(())
    }

    fn append_pages(&mut self, part: usize, group: usize) -> Result<()> {
        let Part { record, len, chain, drafted, .. } = self.open.parts[part];
        let page_size = self.config.page_size;
        for at in len.div_ceil(page_size)..(len + chain + drafted).div_ceil(page_size) {
            let page = self.take_page(record, group, at as usize)?;
            self.sequences.get_mut(record).tables[group].push(page);
        }
        Ok(())
    }

    /// A page for entry `at` of a table, the neighbour of the page before it if possible.
    pub(crate) fn take_page(&mut self, record: u32, group: usize, at: usize) -> Result<PageId> {
        let sequence = self.sequences.get(record);
        let after = at.checked_sub(1).map(|before| sequence.tables[group][before]);
        let groups = self.config.groups.len() as u32;
        let home = self.bookings.lane(sequence.family, sequence.lane, group as u32, groups);
        let page = self.pool.take(after, home);
        page.ok_or_else(|| Error::Internal("a family needed more pages than it had booked".into()))
    }

    /// Rolls back the open reservation if its owner has dropped it.
    pub(crate) fn settle(&mut self) {
        if self.dropped.load(Ordering::Acquire) == self.open.number {
            self.end_reservation(End::RolledBack);
        }
    }

    /// Whether `reservation` is the open one.
    pub(crate) fn is_current(&self, reservation: &Reservation) -> bool {
        self.open.is_open
            && reservation.number == self.open.number
            && Arc::ptr_eq(&reservation.dropped, &self.dropped)
    }

    /// Ends the open reservation, if there is one. Committed rows stay with the pages reserved for them; rolled back,
    /// every table is as it was, shared pages included.
    pub(crate) fn end_reservation(&mut self, end: End) {
        if !std::mem::take(&mut self.open.is_open) {
            return;
        }
        let groups = self.config.groups.len();
        for at in 0..self.open.parts.len() {
            let Part { record, closed, len, .. } = self.open.parts[at];
            if !closed {
                self.sequences.get_mut(record).part = None;
            }
            for group in 0..groups {
                let Some(Some(original)) = self.open.originals.get(at * groups + group).copied() else {
                    continue;
                };
                if !closed && end == End::RolledBack {
                    let page = &mut self.sequences.get_mut(record).tables[group]
                        [(len / self.config.page_size) as usize];
                    self.pool.share(original);
                    self.pool.release(std::mem::replace(page, original));
                }
                self.pool.unpin(original);
            }
            if !closed && end == End::RolledBack {
                self.trim(record);
            }
        }
        self.open.originals.clear();
        if end == End::RolledBack {
            self.open.parts.clear();
        }
    }
}

/// How a reservation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Committed,
    RolledBack,
}

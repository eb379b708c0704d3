//! Sequences that begin with the first rows of another, and sequences that give up their last rows. Both happen between
//! steps and move no row.

use crate::Store;
use draftwood_base::{Error, Result, SequenceId};

impl Store {
    /// A new sequence of the family of `source` with its first `len` rows. It shares their pages; whoever appends first
    /// to a shared partial page copies it.
    ///
    /// # Errors
    /// [`Error::Internal`] if `source` is not live or has fewer rows, or if its family has as many sequences as it booked.
    ///
    /// Cost: O(pages).
    pub fn fork_at(&mut self, source: SequenceId, len: u32) -> Result<SequenceId> {
        let from = self.with_rows(source, len)?;
        self.sequences.check_ids(1)?;
        let number = self.sequences.get(from).family;
        let family = &mut self.bookings.families[number as usize];
        let Some(record) = family.idle.pop() else {
            let width = family.width;
            return Err(Error::Internal(format!(
                "a fork of {source}: its family has {width} sequences already"
            )));
        };
        family.live += 1;
        let pages = len.div_ceil(self.config.page_size) as usize;
        for group in 0..self.config.groups.len() {
            let mut table = std::mem::take(&mut self.sequences.get_mut(record).tables[group]);
            table.extend_from_slice(&self.sequences.get(from).tables[group][..pages]);
            table.iter().for_each(|&page| self.pool.share(page));
            self.sequences.get_mut(record).tables[group] = table;
        }
        self.sequences.get_mut(record).len = len;
        Ok(self.sequences.enter(record))
    }

    /// Keeps the first `len` rows of a sequence; in a family of [`Store::open_shared`] at least its shared full pages.
    ///
    /// # Errors
    /// [`Error::Internal`] if it is not live or has fewer rows.
    pub fn truncate(&mut self, id: SequenceId, len: u32) -> Result<()> {
        let record = self.with_rows(id, len)?;
        self.keep_rows(record, len);
        Ok(())
    }

    /// Takes back the last `rows` committed rows of a sequence (backspace). Pages behind them are given up; a page that
    /// others share stays theirs, and is copied when this one appends to it. Rows that moves are still to store may go too.
    ///
    /// # Errors
    /// [`Error::Internal`] if the sequence is not live, part of an open reservation, or shorter; nothing changes then.
    pub fn retract(&mut self, id: SequenceId, rows: u32) -> Result<()> {
        let record = self.with_rows(id, rows)?;
        self.keep_rows(record, self.sequences.get(record).len - rows);
        Ok(())
    }

    fn keep_rows(&mut self, record: u32, len: u32) {
        self.sequences.get_mut(record).len = len;
        self.trim(record);
    }

    /// The record of a sequence of at least `len` rows that is not part of an open reservation.
    fn with_rows(&mut self, id: SequenceId, len: u32) -> Result<u32> {
        self.settle();
        match self.sequences.find(id) {
            Some(record) if self.sequences.get(record).part.is_some() => Err(Error::Internal(format!(
                "sequence {id} must not change: it is part of an open reservation"
            ))),
            Some(record) if self.sequences.get(record).len >= len => Ok(record),
            Some(record) => {
                let rows = self.sequences.get(record).len;
                Err(Error::Internal(format!("sequence {id} has {rows} rows, fewer rows than {len}")))
            }
            None => Err(Error::Internal(format!("sequence {id} is not live"))),
        }
    }
}

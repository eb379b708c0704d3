//! Row moves: pending from `commit` until the executor has run them.

use crate::Store;
use draftwood_base::{PageId, SlotId};

/// Rows of one group to copy from slot to slot, `from[i]` to `to[i]`. All are read before the first is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowMoves {
    /// Slots to read; the same one may come several times.
    pub from: Vec<SlotId>,
    /// Slots to store to; all different.
    pub to: Vec<SlotId>,
}

impl RowMoves {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.from.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    pub(crate) fn push(&mut self, from: SlotId, to: SlotId) {
        self.from.push(from);
        self.to.push(to);
    }

    pub(crate) fn clear(&mut self) {
        self.from.clear();
        self.to.clear();
    }
}

/// The moves of the last commit and the pages that they hold.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// [groups]
    pub moves: Vec<RowMoves>,
    pins: Vec<PageId>,
    /// [pages] lowest offset of a row that is not certainly in place; `u32::MAX` for none.
    unsure_from: Vec<u32>,
}

impl Pending {
    pub fn new(groups: usize, pages: u32) -> Self {
        Self {
            moves: vec![RowMoves::default(); groups],
            pins: Vec::new(),
            unsure_from: vec![u32::MAX; pages as usize],
        }
    }
}

#[cfg(test)]
impl Pending {
    pub fn pins(&self) -> &[PageId] {
        &self.pins
    }
}

impl Store {
    /// Rows to move within `group` after the last commit, until [`acknowledge`](Self::acknowledge) or
    /// [`moves_failed`](Self::moves_failed).
    ///
    /// # Panics
    /// If there is no such group.
    pub fn moves(&self, group: usize) -> &RowMoves {
        &self.pending.moves[group]
    }

    /// Whether moves of the last commit wait for the executor.
    pub fn has_pending_moves(&self) -> bool {
        self.pending.moves.iter().any(|moves| !moves.is_empty())
    }

    /// The executor has run all moves.
    pub fn acknowledge(&mut self) {
        for page in self.pending.pins.drain(..) {
            self.pool.unpin(page);
        }
        self.pending.moves.iter_mut().for_each(RowMoves::clear);
    }

    /// The executor may have run some moves, or parts of them. Every sequence whose rows include a target of a move
    /// falls back to the rows before the first such target: [`len`](Self::len) is lowered, pages behind it are
    /// freed, and the caller feeds the tokens again as known chain.
    ///
    /// Cost: O(targets + pages of all sequences).
    pub fn moves_failed(&mut self) {
        let page_size = self.config.page_size;
        let Pending { moves, unsure_from, .. } = &mut self.pending;
        for slot in moves.iter().flat_map(|moves| &moves.to) {
            let lowest = &mut unsure_from[(slot.0 / page_size) as usize];
            *lowest = (*lowest).min(slot.0 % page_size);
        }
        for at in 0..self.sequences.live().len() {
            let record = self.sequences.live()[at].1;
            let sequence = self.sequences.get_mut(record);
            for table in &sequence.tables {
                let unsure = |page: &PageId| self.pending.unsure_from[page.index()];
                if let Some(index) = table.iter().position(|page| unsure(page) != u32::MAX) {
                    let row = index as u32 * page_size + unsure(&table[index]);
                    sequence.len = sequence.len.min(row);
                }
            }
            self.trim(record);
        }
        for slot in self.pending.moves.iter().flat_map(|moves| &moves.to) {
            self.pending.unsure_from[(slot.0 / page_size) as usize] = u32::MAX;
        }
        self.acknowledge();
    }

    /// Pins the pages of all moves of this commit.
    pub(crate) fn pin_moves(&mut self) {
        let Pending { moves, pins, .. } = &mut self.pending;
        for moves in moves {
            for slots in [&moves.from, &moves.to] {
                let mut last = None;
                for slot in slots {
                    let page = PageId(slot.0 / self.config.page_size);
                    if last != Some(page) {
                        self.pool.pin(page);
                        pins.push(page);
                        last = Some(page);
                    }
                }
            }
        }
    }
}

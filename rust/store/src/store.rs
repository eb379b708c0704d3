//! The store itself: opening, closing and reading sequences.

use crate::booking::{Bookings, Wanted};
use crate::moves::Pending;
use crate::pool::Pool;
use crate::reserve::Open;
use crate::sequences::{Sequence, Sequences};
use crate::{RowMoves, Stats};
use draftwood_base::{Error, PageId, Result, SequenceId, SlotId};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Which rows of the text a group of layers keeps. Each group has its own page tables over the common pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKind {
    /// All rows, one slot each.
    Full,
}

/// The shape of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Pages of the pool, page 0 (scratch) included.
    pub pages: u32,
    /// Rows per page.
    pub page_size: u32,
    /// The model's groups of layers.
    pub groups: Vec<GroupKind>,
}

/// Page pool, page tables, reservations and pending row moves of one cache. See the crate's essay.
#[derive(Debug)]
pub struct Store {
    pub(crate) config: StoreConfig,
    pub(crate) pool: Pool,
    pub(crate) bookings: Bookings,
    pub(crate) sequences: Sequences,
    pub(crate) open: Open,
    /// Highest reservation that was dropped; shared with all reservations.
    pub(crate) dropped: Arc<AtomicU64>,
    /// [groups] copies of the last reservation.
    pub(crate) copies: Vec<RowMoves>,
    pub(crate) pending: Pending,
    pub(crate) committed: Vec<crate::Committed>,
    /// [survivors] part of the reservation that each survivor comes from.
    pub(crate) survivor_parts: Vec<u32>,
    /// [survivors] record of each survivor.
    pub(crate) committed_records: Vec<u32>,
    pub(crate) counts: Stats,
}

impl Store {
    /// An empty store. Allocates O(pages), no cache memory.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there is no page beside page 0, no row in a page, no group, or a slot number
    /// beyond `i32`.
    pub fn new(config: StoreConfig) -> Result<Self> {
        let StoreConfig { pages, page_size, ref groups } = config;
        if pages < 2 {
            return Err(Error::invalid("cache pages", "at least 2", pages, "page 0 is scratch"));
        }
        if page_size == 0 || u64::from(pages) * u64::from(page_size) > i32::MAX as u64 {
            let expected = format!("1 … {} with {pages} pages", i32::MAX as u32 / pages);
            return Err(Error::invalid("page_size", expected, page_size, "slot numbers are 32-bit integers"));
        }
        if groups.is_empty() {
            return Err(Error::invalid("the number of cache groups", "at least 1", 0, ""));
        }
        Ok(Self {
            pool: Pool::new(pages),
            bookings: Bookings::new(pages - 1),
            sequences: Sequences::default(),
            open: Open::default(),
            dropped: Arc::default(),
            copies: vec![RowMoves::default(); groups.len()],
            pending: Pending::new(groups.len(), pages),
            committed: Vec::new(),
            survivor_parts: Vec::new(),
            committed_records: Vec::new(),
            counts: Stats::default(),
            config,
        })
    }

    /// The shape that the store was made with.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Pages of the pool, without page 0: what the largest family can book.
    pub fn total(&self) -> u32 {
        self.pool.total()
    }

    /// Pages that a new family can book now.
    pub fn bookable(&self) -> u32 {
        self.bookings.bookable()
    }

    /// Pages that a family of `width` sequences of at most `capacity` rows books, `u32::MAX` if they are more. A family
    /// with more than [`total`](Self::total) never fits; one with more than [`bookable`](Self::bookable) has to wait.
    pub fn pages_for(&self, capacity: u32, width: u32) -> u32 {
        self.pages_for_shared(capacity, width, 0)
    }

    /// The same for a family whose sequences share their first `shared` rows: full pages of them count once.
    pub fn pages_for_shared(&self, capacity: u32, width: u32, shared: u32) -> u32 {
        let [first, fork] = self.pages_per_table(capacity, shared);
        let tables = u128::from(first) + u128::from(fork) * u128::from(width.saturating_sub(1));
        let pages = if width == 0 { 0 } else { tables * self.config.groups.len() as u128 };
        u32::try_from(pages).unwrap_or(u32::MAX)
    }

    /// Most pages in a table of a family's first sequence, and those that a fork adds.
    fn pages_per_table(&self, capacity: u32, shared: u32) -> [u32; 2] {
        let first = capacity.div_ceil(self.config.page_size);
        [first, first.saturating_sub(shared / self.config.page_size)]
    }

    /// Opens a family with its first sequence, which is empty. `capacity` counts the rows of one sequence at their
    /// peak, drafted ones included; `width` the sequences at one time.
    ///
    /// # Errors
    /// [`Error::OutOfPages`] if the pages cannot be booked, with the hint to wait if an empty pool could hold them;
    /// [`Error::InvalidArgument`] if `capacity` or `width` is 0.
    pub fn open(&mut self, capacity: u32, width: u32) -> Result<SequenceId> {
        self.open_shared(capacity, width, 0)
    }

    /// The same for a family that forks only when its first sequence has, or gets in this commit, `shared` rows, and of
    /// which no sequence is retracted below them: samples of one prompt.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_shared(&mut self, capacity: u32, width: u32, shared: u32) -> Result<SequenceId> {
        self.settle();
        for (what, value) in [("the rows of a sequence", capacity), ("the sequences of a request", width)] {
            if value == 0 {
                return Err(Error::invalid(what, "at least 1", 0, ""));
            }
        }
        let needed = self.pages_for_shared(capacity, width, shared);
        let (free, total) = (self.bookable(), self.total());
        if needed > free {
            let hint = if needed > total {
                "no empty pool of this size holds it: give the cache more memory, or ask for fewer tokens or samples"
            } else {
                "it fits once running requests have ended"
            };
            return Err(Error::OutOfPages { needed, free, total, hint: hint.into() });
        }
        self.sequences.check_ids(1)?;
        let groups = self.config.groups.len();
        let lane_pages = self.pages_per_table(capacity, shared);
        let [table_pages, _] = lane_pages;
        let number = self.bookings.open(Wanted { capacity, width, shared }, needed, lane_pages);
        let family = &mut self.bookings.families[number as usize];
        self.sequences.provide(number, width, groups, table_pages, &mut family.idle);
        let record = family.idle.pop().expect("width ≥ 1");
        family.live = 1;
        Ok(self.sequences.enter(record))
    }

    /// Ends a sequence and frees the pages that nobody else holds; those of pending moves follow when the moves are
    /// settled. The last one of a family gives its booking back. Closing an unknown sequence does nothing.
    ///
    /// A sequence may close while it is part of a reservation; the rest of the reservation stays as it is.
    pub fn close(&mut self, id: SequenceId) {
        self.settle();
        if let Some(record) = self.sequences.find(id) {
            self.close_record(id, record);
        }
    }

    /// Whether `id` is live.
    pub fn contains(&self, id: SequenceId) -> bool {
        self.sequences.find(id).is_some()
    }

    /// Committed rows of a sequence.
    ///
    /// # Panics
    /// If the sequence is not live.
    pub fn len(&self, id: SequenceId) -> u32 {
        self.sequence(id).len
    }

    /// Whether no sequence is live.
    pub fn is_empty(&self) -> bool {
        self.sequences.live().is_empty()
    }

    /// The page table of a sequence in one group, pages of an open reservation included.
    ///
    /// # Panics
    /// If the sequence is not live or there is no such group.
    pub fn pages(&self, id: SequenceId, group: usize) -> &[PageId] {
        &self.sequence(id).tables[group]
    }

    /// The slot of the row with this logical index, reserved rows included.
    ///
    /// # Panics
    /// If the sequence is not live, there is no such group, or the row lies behind the last page.
    pub fn slot(&self, id: SequenceId, group: usize, row: u32) -> SlotId {
        self.slot_in(&self.sequence(id).tables[group], row)
    }

    /// Pages now and rows copied so far.
    pub fn stats(&mut self) -> Stats {
        self.settle();
        Stats {
            total: self.total(),
            free: self.pool.free(),
            booked: self.bookings.booked(),
            sequences: self.sequences.live().len() as u32,
            ..self.counts
        }
    }

    fn sequence(&self, id: SequenceId) -> &Sequence {
        let record = self.sequences.find(id).unwrap_or_else(|| panic!("sequence {id} is not live"));
        self.sequences.get(record)
    }

    pub(crate) fn slot_in(&self, table: &[PageId], row: u32) -> SlotId {
        let page_size = self.config.page_size;
        SlotId(table[(row / page_size) as usize].0 * page_size + row % page_size)
    }

    pub(crate) fn close_record(&mut self, id: SequenceId, record: u32) {
        let sequence = self.sequences.get_mut(record);
        sequence.len = 0;
        if let Some(part) = sequence.part.take() {
            self.open.parts[part as usize].closed = true;
        }
        let number = sequence.family;
        self.trim(record);
        self.sequences.leave(id);
        let family = &mut self.bookings.families[number as usize];
        family.idle.push(record);
        family.live -= 1;
        if family.live == 0 {
            self.sequences.take_back(&mut family.idle);
            self.bookings.close(number);
        }
    }

    /// Drops the pages behind the committed rows.
    pub(crate) fn trim(&mut self, record: u32) {
        let sequence = self.sequences.get_mut(record);
        let keep = sequence.len.div_ceil(self.config.page_size) as usize;
        for table in &mut sequence.tables {
            for page in table.drain(keep.min(table.len())..) {
                self.pool.release(page);
            }
        }
    }
}

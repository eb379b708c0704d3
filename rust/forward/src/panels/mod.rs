//! A weight matrix in the order in which the kernels read it.
//!
//! **Panels** of 16 rows, columns outermost: `w[column][16]`, so that sixteen outputs are sixteen lanes, activations
//! enter as broadcasts, nothing is summed across lanes, and a thread reads one linear stream. A last panel that is not
//! full is padded with zero rows. Quantised weights keep the bits of their file: the blocks of 16 rows side by side, four
//! columns of a row in one 32-bit lane.

mod fill;
mod layout;
mod repack;
mod stored;

pub use layout::Layout;
pub(crate) use repack::repack;
pub use stored::{Lying, RowsInPlace};

use crate::memory::{Arena, Memory};
use draftwood_base::{Error, Result};

/// Rows of a panel.
pub const PANEL: usize = 16;

/// A matrix [rows, columns] in panels: packed once, in huge pages, or packed again whenever it is read.
#[derive(Debug)]
pub struct Panels {
    /// How values are stored.
    pub layout: Layout,
    /// Rows (outputs), without padding.
    pub rows: usize,
    /// Columns (inputs).
    pub columns: usize,
    store: Store,
}

/// Where a matrix is.
#[derive(Debug)]
enum Store {
    /// In memory of its own, panel after panel.
    Packed(Memory),
    /// Where its source has it, row by row.
    Rows(RowsInPlace),
}

impl Panels {
    /// A matrix whose memory is zero, to be filled.
    ///
    /// # Errors
    /// When there is no memory for it, or the columns are no whole blocks.
    pub fn zeroed(layout: Layout, rows: usize, columns: usize) -> Result<Self> {
        Self::packed(layout, rows, columns, Memory::zeroed)
    }

    /// The same among the other matrices of an arena.
    ///
    /// # Errors
    /// As there.
    pub fn zeroed_in(arena: &Arena, layout: Layout, rows: usize, columns: usize) -> Result<Self> {
        Self::packed(layout, rows, columns, |bytes| arena.zeroed(bytes))
    }

    fn packed(
        layout: Layout,
        rows: usize,
        columns: usize,
        zeroed: impl FnOnce(usize) -> Result<Memory>,
    ) -> Result<Self> {
        check_columns(layout, columns)?;
        let bytes = rows.div_ceil(PANEL) * layout.panel_bytes(columns);
        Ok(Self { layout, rows, columns, store: Store::Packed(zeroed(bytes)?) })
    }

    /// A matrix that stays where it is: `rows` has an address for each of its rows.
    ///
    /// # Errors
    /// When the columns are no whole blocks.
    ///
    /// # Panics
    /// If `rows` are not as many as `count` panels have.
    ///
    /// # Safety
    /// Each address is valid for `columns` values of the layout's source type, `rows.step()` bytes from one value or
    /// block to the next, for as long as the owner in `rows` lives.
    pub unsafe fn in_place(layout: Layout, rows: usize, columns: usize, stored: RowsInPlace) -> Result<Self> {
        check_columns(layout, columns)?;
        assert_eq!(stored.count(), rows.next_multiple_of(PANEL), "rows of whole panels");
        Ok(Self { layout, rows, columns, store: Store::Rows(stored) })
    }

    /// The rows of a matrix that stays where it is, None for a packed one.
    pub fn rows_in_place(&self) -> Option<&RowsInPlace> {
        match &self.store {
            Store::Rows(rows) => Some(rows),
            Store::Packed(_) => None,
        }
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    /// Bytes of weights, what one step must read.
    pub fn bytes(&self) -> usize {
        match &self.store {
            Store::Packed(memory) => memory.bytes(),
            Store::Rows(rows) => rows.stored() * self.layout.row_bytes(self.columns),
        }
    }

    /// Address of a panel of a packed matrix.
    ///
    /// # Panics
    /// If there is no such panel, or the matrix is not packed.
    pub fn panel(&self, index: usize) -> *const u8 {
        assert!(index < self.count(), "panel {index} of {}", self.count());
        self.memory().as_ptr().wrapping_add(index * self.layout.panel_bytes(self.columns))
    }

    fn memory(&self) -> &Memory {
        match &self.store {
            Store::Packed(memory) => memory,
            Store::Rows(_) => unreachable!("a matrix that stays where it is has no panels"),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let memory = self.memory();
        // SAFETY: the mapping holds `len` bytes, and `&mut self` excludes everybody else.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.bytes()) }
    }
}

fn check_columns(layout: Layout, columns: usize) -> Result<()> {
    let block = layout.block_columns();
    if columns.is_multiple_of(block) {
        return Ok(());
    }
    let name = layout.source().name();
    let expected = format!("a multiple of {block} for {name}");
    Err(Error::invalid("columns", expected, columns, "store the tensor in another type"))
}

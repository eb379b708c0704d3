//! A weight matrix in the order in which the kernels read it.
//!
//! **Panels** of 16 rows, columns outermost: `w[column][16]`, so that sixteen outputs are sixteen lanes, activations
//! enter as broadcasts, nothing is summed across lanes, and a thread reads one linear stream. A last panel that is not
//! full is padded with zero rows. Quantised weights keep the bits of their file: the blocks of 16 rows side by side, four
//! columns of a row in one 32-bit lane.

mod fill;
mod layout;
mod repack;

pub use layout::Layout;

use crate::memory::{Arena, Memory};
use draftwood_base::{Error, Result};

/// Rows of a panel.
pub const PANEL: usize = 16;

/// A matrix [rows, columns] in panels, in huge pages.
#[derive(Debug)]
pub struct Panels {
    /// How values are stored.
    pub layout: Layout,
    /// Rows (outputs), without padding.
    pub rows: usize,
    /// Columns (inputs).
    pub columns: usize,
    memory: Memory,
}

impl Panels {
    /// A matrix whose memory is zero, to be filled.
    ///
    /// # Errors
    /// When there is no memory for it, or the columns are no whole blocks.
    pub fn zeroed(layout: Layout, rows: usize, columns: usize) -> Result<Self> {
        Self::zeroed_in(&Arena::default(), layout, rows, columns)
    }

    /// The same among the other matrices of an arena.
    ///
    /// # Errors
    /// As there.
    pub fn zeroed_in(arena: &Arena, layout: Layout, rows: usize, columns: usize) -> Result<Self> {
        let block = layout.block_columns();
        if !columns.is_multiple_of(block) {
            let name = layout.source().name();
            let expected = format!("a multiple of {block} for {name}");
            return Err(Error::invalid("columns", expected, columns, "store the tensor in another type"));
        }
        let bytes = rows.div_ceil(PANEL) * layout.panel_bytes(columns);
        Ok(Self { layout, rows, columns, memory: arena.zeroed(bytes)? })
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    /// Bytes of weights, what one step must read.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Address of a panel.
    ///
    /// # Panics
    /// If there is no such panel.
    pub fn panel(&self, index: usize) -> *const u8 {
        assert!(index < self.count(), "panel {index} of {}", self.count());
        self.memory.as_ptr().wrapping_add(index * self.layout.panel_bytes(self.columns))
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping holds `len` bytes, and `&mut self` excludes everybody else.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.memory.bytes()) }
    }
}

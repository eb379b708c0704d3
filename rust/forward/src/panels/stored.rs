//! Rows of a matrix that stay where their owner has them: mapped files, tensors of another library.

use super::PANEL;
use std::fmt;
use std::sync::Arc;

/// Where a tensor lies, as it is stored: an address is no promise, see who gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lying {
    /// First value of row 0.
    pub start: *const u8,
    /// Bytes from a row to the next.
    pub row_step: usize,
    /// Bytes from a value, or block of values, to the next of its row.
    pub step: usize,
}

/// An address for each row of a matrix of whole panels, null for rows of zeros.
pub struct RowsInPlace {
    rows: Box<[*const u8]>,
    step: usize,
    /// Holds the memory.
    _owner: Arc<dyn Send + Sync>,
}

// SAFETY: addresses of memory that is only read; the owner may be shared and sent.
unsafe impl Send for RowsInPlace {}
// SAFETY: as above.
unsafe impl Sync for RowsInPlace {}

impl RowsInPlace {
    /// Rows whose memory `owner` holds, `step` bytes from one value or block to the next.
    pub fn new(rows: Box<[*const u8]>, step: usize, owner: Arc<dyn Send + Sync>) -> Self {
        Self { rows, step, _owner: owner }
    }

    /// Number of rows, padding included.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Number of rows that are stored.
    pub fn stored(&self) -> usize {
        self.rows.iter().filter(|row| !row.is_null()).count()
    }

    /// Bytes from a value or block to the next of its row.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The rows of a panel.
    ///
    /// # Panics
    /// If there is no such panel.
    pub fn panel(&self, index: usize) -> &[*const u8; PANEL] {
        &self.rows.as_chunks::<PANEL>().0[index]
    }
}

impl fmt::Debug for RowsInPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows in place, {} bytes from value to value", self.rows.len(), self.step)
    }
}

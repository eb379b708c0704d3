//! A weight matrix in the order in which the kernels read it.
//!
//! **Panels** of 16 rows, columns outermost: `w[column][16]`, so that sixteen outputs are sixteen lanes, activations
//! enter as broadcasts, nothing is summed across lanes, and a thread reads one linear stream. A last panel that is not
//! full is padded with zero rows.

use crate::memory::{Memory, Shared};
use draftwood_base::Result;
use draftwood_base::pool::Pool;
use std::sync::{Mutex, PoisonError};

/// Rows of a panel.
pub const PANEL: usize = 16;

/// How the weights of a panel are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[column][16]` f32.
    F32,
}

impl Layout {
    /// Bytes of one panel of `columns`.
    pub fn panel_bytes(self, columns: usize) -> usize {
        match self {
            Layout::F32 => columns * PANEL * 4,
        }
    }
}

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
    /// An empty (zero) matrix.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn zeroed(layout: Layout, rows: usize, columns: usize) -> Result<Self> {
        let bytes = rows.div_ceil(PANEL) * layout.panel_bytes(columns);
        Ok(Self { layout, rows, columns, memory: Memory::zeroed(bytes)? })
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

    /// Fills the matrix: row `r` becomes the source's row `source(r)`, or zeros for None. `read` writes one source row of
    /// f32 values. Threads take whole panels, so that their first touch decides where memory lies.
    ///
    /// # Errors
    /// The first that `read` returns; the matrix is then partly filled.
    pub fn fill_f32(
        &mut self,
        pool: &Pool,
        source: &(dyn Fn(usize) -> Option<usize> + Sync),
        read: &(dyn Fn(usize, &mut [f32]) -> Result<()> + Sync),
    ) -> Result<()> {
        let columns = self.columns;
        let bytes = self.layout.panel_bytes(columns);
        let all = Shared::new(self.bytes_mut());
        let failed = Mutex::new(None);
        pool.run(|team| {
            let mut rows = vec![0f32; PANEL * columns];
            team.share(self.count(), |panels| {
                for panel in panels {
                    if let Err(error) = read_rows(&mut rows, columns, self.rows, panel, source, read) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        return;
                    }
                    // SAFETY: each panel is one thread's.
                    let to = unsafe { all.write(panel * bytes, bytes) };
                    interleave(&rows, columns, to);
                }
            });
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Writes one row as f32, to the front of `to`.
    ///
    /// # Panics
    /// If there is no such row, or `to` is shorter than a row.
    pub fn read_row(&self, row: usize, to: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let panel = self.panel(row / PANEL).cast::<f32>();
        for (column, value) in to[..self.columns].iter_mut().enumerate() {
            match self.layout {
                // SAFETY: column < columns, inside the panel.
                Layout::F32 => *value = unsafe { *panel.add(column * PANEL + row % PANEL) },
            }
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping holds `len` bytes, and `&mut self` excludes everybody else.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.memory.bytes()) }
    }
}

fn read_rows(
    rows: &mut [f32],
    columns: usize,
    count: usize,
    panel: usize,
    source: &dyn Fn(usize) -> Option<usize>,
    read: &dyn Fn(usize, &mut [f32]) -> Result<()>,
) -> Result<()> {
    for (row, values) in (panel * PANEL..).zip(rows.chunks_exact_mut(columns)) {
        match if row < count { source(row) } else { None } {
            Some(from) => read(from, values)?,
            None => values.fill(0.0),
        }
    }
    Ok(())
}

/// Rows [16, columns] to `[column][16]`.
fn interleave(rows: &[f32], columns: usize, to: &mut [u8]) {
    for (column, lanes) in to.as_chunks_mut::<{ 4 * PANEL }>().0.iter_mut().enumerate() {
        for (row, lane) in lanes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *lane = rows[row * columns + column].to_ne_bytes();
        }
    }
}

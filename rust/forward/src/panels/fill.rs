//! Filling a matrix from its source, on all threads.

use super::repack::{NotFinite, repack};
use super::{Layout, PANEL, Panels};
use crate::memory::Shared;
use draftwood_base::pool::Pool;
use draftwood_base::{Error, Result};
use std::sync::{Mutex, PoisonError};

/// The source's row of a row of the matrix, None for zeros.
type Source<'a> = &'a (dyn Fn(usize) -> Option<usize> + Sync);
/// Writes one row of the source.
type Read<'a, T> = &'a (dyn Fn(usize, &mut [T]) -> Result<()> + Sync);
/// Sixteen rows of the source to a panel; may fail with one of the rows and a column.
type Pack<'a, T> = &'a (dyn Fn(&[T], &mut [u8]) -> Result<(), NotFinite> + Sync);

impl Panels {
    /// Fills a matrix of [`Layout::F32`]: row `r` becomes the source's row `source(r)`, or zeros for None. `read` writes one
    /// source row of f32 values. Threads take whole panels, so that their first touch decides where memory lies.
    ///
    /// # Errors
    /// The first that `read` returns; the matrix is then partly filled.
    ///
    /// # Panics
    /// If the layout is another.
    pub fn fill_f32(&mut self, pool: &Pool, source: Source<'_>, read: Read<'_, f32>) -> Result<()> {
        assert_eq!(self.layout, Layout::F32, "values of f32");
        let columns = self.columns;
        self.fill(pool, source, columns, read, &|rows, to| {
            interleave(rows, columns, to);
            Ok(())
        })
    }

    /// Fills a matrix of any layout from rows as a file stores them: `read` writes the [`Layout::row_bytes`] of one source
    /// row. Otherwise as [`Panels::fill_f32`].
    ///
    /// # Errors
    /// The first that `read` returns, or [`Error::InvalidArgument`] with the source's row and column for a float or a
    /// scale that is not finite; the matrix is then partly filled.
    pub fn fill_blocks(&mut self, pool: &Pool, source: Source<'_>, read: Read<'_, u8>) -> Result<()> {
        let (layout, bytes) = (self.layout, self.layout.row_bytes(self.columns));
        self.fill(pool, source, bytes, read, &|rows, to| {
            repack(layout, &std::array::from_fn(|row| &rows[row * bytes..][..bytes]), bytes, to)
        })
    }

    /// Reads and packs each panel; a row is `len` values of the source.
    fn fill<T: Copy + Default>(
        &mut self,
        pool: &Pool,
        source: Source<'_>,
        len: usize,
        read: Read<'_, T>,
        pack: Pack<'_, T>,
    ) -> Result<()> {
        let bytes = self.layout.panel_bytes(self.columns);
        let all = Shared::new(self.bytes_mut());
        let failed = Mutex::new(None);
        let panel_of = |panel: usize, rows: &mut [T]| -> Result<()> {
            let from = |row: usize| if row < self.rows { source(row) } else { None };
            for (i, values) in rows.chunks_exact_mut(len).enumerate() {
                match from(panel * PANEL + i) {
                    Some(row) => read(row, values)?,
                    None => values.fill(T::default()),
                }
            }
            // SAFETY: each panel is one thread's.
            let to = unsafe { all.write(panel * bytes, bytes) };
            pack(rows, to).map_err(|(row, column)| not_finite(from(panel * PANEL + row), column))
        };
        if bytes == 0 {
            return Ok(());
        }
        pool.run(|team| {
            let mut rows = vec![T::default(); PANEL * len];
            team.share(self.count(), |panels| {
                for panel in panels {
                    if let Err(error) = panel_of(panel, &mut rows) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        return;
                    }
                }
            });
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

fn not_finite(row: Option<usize>, column: usize) -> Error {
    let what = format!("row {}, column {column} of the weights", row.unwrap_or_default());
    Error::invalid(what, "finite", "infinity or NaN", "the file is damaged: fetch it again")
}

/// Rows [16, columns] to `[column][16]`.
fn interleave(rows: &[f32], columns: usize, to: &mut [u8]) {
    for (column, lanes) in to.as_chunks_mut::<{ 4 * PANEL }>().0.iter_mut().enumerate() {
        for (row, lane) in lanes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *lane = rows[row * columns + column].to_ne_bytes();
        }
    }
}

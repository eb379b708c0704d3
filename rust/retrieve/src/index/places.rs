//! Where n-grams occur in several indexes, many n-grams at once.

use crate::index::extend::BATCH;
use crate::index::{Group, Index, Rows};
use draftwood_base::{Error, Result};

/// Rows of one part that are looked up together, and where the answers go.
struct Batch {
    rows: [u32; BATCH],
    lengths: [u32; BATCH],
    to: [usize; BATCH],
    count: usize,
}

impl Batch {
    fn new() -> Self {
        Self { rows: [0; BATCH], lengths: [0; BATCH], to: [0; BATCH], count: 0 }
    }

    /// Adds a row; whether the batch is full.
    fn add(&mut self, row: u32, length: u32, to: usize) -> bool {
        (self.rows[self.count], self.lengths[self.count], self.to[self.count]) = (row, length, to);
        self.count += 1;
        self.count == BATCH
    }

    /// Looks the rows up.
    fn locate(&mut self, part: &Index, before: u64, out: &mut [(u64, u32)]) -> Result<()> {
        let mut found = [(0, 0); BATCH];
        let count = std::mem::take(&mut self.count);
        part.locate_rows(&self.rows[..count], &self.lengths[..count], &mut found[..count])?;
        for (&to, &(document, offset)) in self.to[..count].iter().zip(&found) {
            out[to] = (before + u64::from(document), offset);
        }
        Ok(())
    }

    /// Looks their documents up.
    fn documents(&mut self, part: &Index, before: u64, out: &mut [u64]) -> Result<()> {
        let count = std::mem::take(&mut self.count);
        part.documents_of(&mut self.rows[..count])?;
        for (&to, &document) in self.to[..count].iter().zip(&self.rows) {
            out[to] = before + u64::from(document);
        }
        Ok(())
    }
}

impl Group {
    /// Appends documents and token offsets of an n-gram, at most `limit`, evenly spaced among all in row order, part
    /// after part, then sorted.
    ///
    /// # Errors
    /// As [`Index::locate`]; `out` is then as it was.
    pub fn locate(&self, rows: &[Rows], length: u32, limit: usize, out: &mut Vec<(u64, u32)>) -> Result<()> {
        self.locate_all(rows, &[length], limit, out)
    }

    /// [`Group::locate`] for many n-grams at once: `rows` has those of each part for each of them, one n-gram after the
    /// other, and `lengths` its number of tokens. Their cache misses overlap. Each appends as many places as it has
    /// occurrences, at most `limit`.
    ///
    /// # Errors
    /// As [`Group::locate`]; also if the lengths differ.
    pub fn locate_all(
        &self,
        rows: &[Rows],
        lengths: &[u32],
        limit: usize,
        out: &mut Vec<(u64, u32)>,
    ) -> Result<()> {
        self.needs_places("locate")?;
        self.own(rows, lengths.len())?;
        let (first, parts) = (out.len(), self.parts().len());
        let taken = |rows: &[Rows]| occurrences(rows).min(limit as u64);
        let all: u64 = rows.chunks_exact(parts).map(taken).sum();
        out.resize(first + all as usize, (0, 0));
        let found = &mut out[first..];
        let done = self.parts().iter().zip(self.before()).enumerate().try_for_each(|(p, (part, &before))| {
            let (mut batch, mut start) = (Batch::new(), 0);
            for (rows, &length) in rows.chunks_exact(parts).zip(lengths) {
                let (total, taken) = (occurrences(rows), taken(rows));
                let passed: u64 = rows[..p].iter().map(|rows| u64::from(rows.count())).sum();
                // Place i is that of row i · total / taken among the rows of all parts.
                let place = |row: u64| {
                    let exact = u128::from(row) * u128::from(taken);
                    exact.div_ceil(u128::from(total.max(1))) as u64
                };
                for i in place(passed)..place(passed + u64::from(rows[p].count())) {
                    let row = (u128::from(i) * u128::from(total) / u128::from(taken)) as u64 - passed;
                    if batch.add(rows[p].start + row as u32, length, start + i as usize) {
                        batch.locate(part, before, found)?;
                    }
                }
                start += taken as usize;
            }
            batch.locate(part, before, found)
        });
        if let Err(error) = done {
            out.truncate(first);
            return Err(error);
        }
        let mut rest = &mut out[first..];
        for rows in rows.chunks_exact(parts) {
            let (mine, others) = rest.split_at_mut(taken(rows) as usize);
            mine.sort_unstable();
            rest = others;
        }
        Ok(())
    }

    /// Appends the documents of all rows of one or many n-grams, in the order of the rows: an n-gram's in each part, one
    /// n-gram after the other. Cost: one read per row in the standard tier, as [`Index::locate`] in the compact one;
    /// cache misses overlap.
    ///
    /// # Errors
    /// As [`Index::document_of`]; `out` is then as it was.
    pub fn documents_of(&self, rows: &[Rows], out: &mut Vec<u64>) -> Result<()> {
        self.needs_places("document_of")?;
        let (first, parts) = (out.len(), self.parts().len());
        self.own(rows, rows.len() / parts)?;
        out.resize(first + occurrences(rows) as usize, 0);
        let found = &mut out[first..];
        let done = self.parts().iter().zip(self.before()).enumerate().try_for_each(|(p, (part, &before))| {
            let (mut batch, mut at) = (Batch::new(), 0);
            for (i, rows) in rows.iter().enumerate() {
                if i % parts == p {
                    for row in rows.start..rows.end {
                        let to = at + (row - rows.start) as usize;
                        if batch.add(row, 0, to) {
                            batch.documents(part, before, found)?;
                        }
                    }
                }
                at += rows.count() as usize;
            }
            batch.documents(part, before, found)
        });
        if done.is_err() {
            out.truncate(first);
        }
        done
    }

    /// Refuses rows that are not those of `ngrams` n-grams in each part.
    pub(super) fn own(&self, rows: &[Rows], ngrams: usize) -> Result<()> {
        let parts = self.parts().len();
        if rows.len() != ngrams * parts {
            let expected = format!("{ngrams} n-grams × {parts} indexes");
            return Err(Error::invalid("the number of rows", expected, rows.len(), ""));
        }
        rows.iter().enumerate().try_for_each(|(i, &rows)| self.parts()[i % parts].own(rows))
    }
}

/// How often an n-gram occurs in all parts together.
pub(crate) fn occurrences(rows: &[Rows]) -> u64 {
    rows.iter().map(|rows| u64::from(rows.count())).sum()
}

//! Where an n-gram occurs, and the text there.

use crate::index::extend::BATCH;
use crate::index::format::Kind;
use crate::index::packed::unpack;
use crate::index::store::Fault;
use crate::index::{Index, NUMBERED, Rows, Tier};
use draftwood_base::{Error, Result, Token};

impl Index {
    /// Documents and token offsets of an n-gram's occurrences, at most `limit` of them, evenly spaced among all in row
    /// order, then sorted. `length` is the number of tokens of the n-gram that `rows` belong to.
    ///
    /// Cost per place: one cache miss (fast tier), about 32 steps (standard), about 16 (compact).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the tiny tier or rows of no n-gram of that length; as [`Index::extend`].
    pub fn locate(&self, rows: Rows, length: u32, limit: usize, out: &mut Vec<(u32, u32)>) -> Result<()> {
        self.own(rows)?;
        self.needs_places("locate")?;
        let start = out.len();
        let (count, taken) = (u64::from(rows.count()), u64::from(rows.count()).min(limit as u64));
        let (mut asked, lengths, mut found) = ([0; BATCH], [length; BATCH], [(0, 0); BATCH]);
        for first in (0..taken).step_by(BATCH) {
            let batch = (taken - first).min(BATCH as u64);
            for (row, i) in asked.iter_mut().zip(first..first + batch) {
                *row = rows.start + (i * count / taken) as u32;
            }
            let batch = batch as usize;
            self.locate_rows(&asked[..batch], &lengths[..batch], &mut found[..batch])?;
            out.extend_from_slice(&found[..batch]);
        }
        out[start..].sort_unstable();
        Ok(())
    }

    /// Documents and token offsets of at most [`BATCH`] rows, each of an n-gram of its own length.
    pub(super) fn locate_rows(&self, rows: &[u32], lengths: &[u32], out: &mut [(u32, u32)]) -> Result<()> {
        self.places(rows, out).map_err(|fault| self.store.explain(fault))?;
        for ((&row, &length), (_, end)) in rows.iter().zip(lengths).zip(out) {
            let Some(offset) = end.checked_sub(length) else {
                return Err(Error::invalid(
                    "the length of the n-gram",
                    format!("at most {end}, what row {row} has before it"),
                    length,
                    "pass the number of tokens that led to these rows",
                ));
            };
            *end = offset;
        }
        Ok(())
    }

    /// The document of a row.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the tiny tier or a row that does not exist; as [`Index::extend`].
    pub fn document_of(&self, row: u32) -> Result<u32> {
        let mut documents = [row];
        self.documents_of(&mut documents)?;
        Ok(documents[0])
    }

    /// [`Index::document_of`] for many rows at once, in place: their cache misses overlap.
    ///
    /// # Errors
    /// As [`Index::document_of`].
    pub fn documents_of(&self, rows: &mut [u32]) -> Result<()> {
        self.needs_places("document_of")?;
        rows.iter().try_for_each(|&row| self.own(Rows { start: row, end: row.saturating_add(1) }))?;
        let mut batches = rows.chunks_mut(BATCH);
        batches.try_for_each(|rows| self.documents_of_rows(rows)).map_err(|fault| self.store.explain(fault))
    }

    /// Number of tokens of a document.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the tiny tier or a document that does not exist; as [`Index::extend`].
    pub fn document_length(&self, document: u32) -> Result<u32> {
        self.needs_places("document_length")?;
        if document >= self.documents() {
            return Err(Error::invalid(
                "the document",
                format!("below {}, the number of documents", self.documents()),
                document,
                NUMBERED,
            ));
        }
        self.start_and_length(document).map(|(_, length)| length).map_err(|fault| self.store.explain(fault))
    }

    /// Appends the tokens `start .. stop` of a document to `out`; `stop` may lie behind its end.
    ///
    /// Cost: one read per token; in the compact tier one step per token from the document's start.
    ///
    /// # Errors
    /// As [`Index::document_length`].
    pub fn extract(&self, document: u32, start: u32, stop: u32, out: &mut Vec<Token>) -> Result<()> {
        let stop = stop.min(self.document_length(document)?);
        self.read(document, start, stop, out).map_err(|fault| self.store.explain(fault))
    }

    pub(super) fn needs_places(&self, what: &str) -> Result<()> {
        if self.counts.tier != Tier::Tiny {
            return Ok(());
        }
        Err(Error::invalid(
            "the tier of the index",
            format!("compact, standard or fast for {what}"),
            "tiny",
            "build the index with another tier: tiny keeps counts only",
        ))
    }

    pub(super) fn start_and_length(&self, document: u32) -> Result<(u32, u32), Fault> {
        let section = self.section(Kind::Starts);
        let start = self.store.u32(section, u64::from(document))?;
        let end = self.store.u32(section, u64::from(document) + 1)?;
        if start > end || end > self.tokens() {
            return Err(self.outside(Kind::Starts));
        }
        Ok((start, end - start))
    }

    fn read(&self, document: u32, start: u32, stop: u32, out: &mut Vec<Token>) -> Result<(), Fault> {
        if self.counts.tier.has(Kind::Text) {
            let (section, width) = (self.section(Kind::Text), self.counts.symbol_width);
            let (first, _) = self.start_and_length(document)?;
            for token in start..stop {
                let at = (u64::from(first) + u64::from(token)) * u64::from(width);
                let symbol = unpack(self.store.window(section, at / 8)?, at, width);
                if symbol == 0 {
                    return Err(self.outside(Kind::Text));
                }
                out.push(self.token(symbol)?);
            }
            return Ok(());
        }
        let mut row = self.store.u32(self.section(Kind::Ends), u64::from(document))?;
        for token in 0..stop {
            if row as u64 >= self.counts.rows {
                return Err(self.outside(Kind::Ends));
            }
            let symbol = self.symbol_of_row(row)?;
            if symbol == 0 {
                return Err(self.outside(Kind::Bwt));
            }
            row = self.step_back(symbol, row)?;
            if token >= start {
                out.push(self.token(symbol)?);
            }
        }
        Ok(())
    }
}

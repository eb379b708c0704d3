//! Where an n-gram occurs, and the text there.

use crate::index::format::{Kind, MARK_ROWS};
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
        for i in 0..taken {
            let row = rows.start + (i * count / taken) as u32;
            let (document, end) = self.place(row).map_err(|fault| self.store.explain(fault))?;
            let Some(offset) = end.checked_sub(length) else {
                return Err(Error::invalid(
                    "the length of the n-gram",
                    format!("at most {end}, what row {row} has before it"),
                    length,
                    "pass the number of tokens that led to these rows",
                ));
            };
            out.push((document, offset));
        }
        out[start..].sort_unstable();
        Ok(())
    }

    /// The document of a row.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the tiny tier or a row that does not exist; as [`Index::extend`].
    pub fn document_of(&self, row: u32) -> Result<u32> {
        self.needs_places("document_of")?;
        self.own(Rows { start: row, end: row.saturating_add(1) })?;
        self.document_of_row(row).map_err(|fault| self.store.explain(fault))
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

    /// Document of a row, and how many of its tokens lie before the end of the row's n-gram.
    fn place(&self, row: u32) -> Result<(u32, u32), Fault> {
        let at = self.position(row)?;
        let document = match self.counts.tier {
            Tier::Standard => self.document_of_row(row)?,
            _ => self.document_at(at)?,
        };
        let (start, length) = self.start_and_length(document)?;
        // The document is reversed and its separator comes last.
        match at.checked_sub(start + document).and_then(|offset| length.checked_sub(offset)) {
            Some(end) => Ok((document, end)),
            None => Err(self.outside(Kind::Starts)),
        }
    }

    fn document_of_row(&self, row: u32) -> Result<u32, Fault> {
        if !self.counts.tier.has(Kind::Documents) {
            return self.document_at(self.position(row)?);
        }
        let width = self.counts.document_width;
        let at = u64::from(row) * u64::from(width);
        let document = unpack(self.store.window(self.section(Kind::Documents), at / 8)?, at, width);
        if document >= self.documents() {
            return Err(self.outside(Kind::Documents));
        }
        Ok(document)
    }

    /// Position of a row's suffix in the reversed text.
    fn position(&self, mut row: u32) -> Result<u32, Fault> {
        let position = if self.counts.tier == Tier::Fast {
            u64::from(self.store.u32(self.section(Kind::Positions), u64::from(row))?)
        } else {
            let mut steps = 0u64;
            loop {
                if let Some(sample) = self.sample(row)? {
                    break u64::from(sample) + steps;
                }
                let symbol = self.symbol_of_row(row)?;
                steps += 1;
                // The first position of every document is sampled, so no walk meets a separator.
                if symbol == 0 || steps >= u64::from(self.counts.sample_rate) {
                    return Err(self.outside(Kind::Marks));
                }
                row = self.step_back(symbol, row)?;
            }
        };
        if position >= self.counts.rows {
            return Err(self.outside(Kind::Positions));
        }
        Ok(position as u32)
    }

    /// The row of the suffix that is one symbol longer.
    fn step_back(&self, symbol: u32, row: u32) -> Result<u32, Fault> {
        let list = self.list(symbol)?;
        let rank = self.occurrences(list, row)?;
        if rank >= list.total {
            return Err(self.outside(Kind::Lists));
        }
        Ok(list.first + rank)
    }

    fn sample(&self, row: u32) -> Result<Option<u32>, Fault> {
        let (line, bit) = (u64::from(row) / MARK_ROWS, u64::from(row) % MARK_ROWS);
        let bytes = self.store.slice(self.section(Kind::Marks), line * 64, 64)?;
        let (before, bits) = bytes.split_at(4);
        let (byte, mask) = ((bit / 8) as usize, 1u8 << (bit % 8));
        if bits[byte] & mask == 0 {
            return Ok(None);
        }
        let before = u32::from_le_bytes([before[0], before[1], before[2], before[3]]);
        let full: u32 = bits[..byte].iter().map(|bits| bits.count_ones()).sum();
        let sample = u64::from(before) + u64::from(full) + u64::from((bits[byte] & (mask - 1)).count_ones());
        self.store.u32(self.section(Kind::Samples), sample).map(Some)
    }

    fn document_at(&self, position: u32) -> Result<u32, Fault> {
        let section = self.section(Kind::Starts);
        // The last document whose first position, its separators before it included, is not behind `position`.
        let (mut low, mut high) = (0, self.documents());
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            let start = u64::from(self.store.u32(section, u64::from(middle))?) + u64::from(middle);
            if start <= u64::from(position) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn start_and_length(&self, document: u32) -> Result<(u32, u32), Fault> {
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

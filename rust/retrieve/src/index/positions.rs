//! From rows to places in the text, up to [`BATCH`] at once: every stage asks for what the next one reads.

use crate::index::extend::{BATCH, List, Part, Piece};
use crate::index::format::{Kind, MARK_ROWS};
use crate::index::packed::unpack;
use crate::index::store::Fault;
use crate::index::{Index, Tier};

/// A row on its way to one whose position is sampled.
#[derive(Debug, Clone, Copy, Default)]
struct Walk {
    /// Which of the rows asked for it started from.
    of: usize,
    row: u32,
    symbol: u32,
    list: List,
    piece: Piece,
    part: Part,
}

impl Index {
    /// Document of each row, and how many of its tokens lie before the end of the row's n-gram.
    pub(super) fn places(&self, rows: &[u32], out: &mut [(u32, u32)]) -> Result<(), Fault> {
        let (mut positions, mut documents) = ([0; BATCH], [0; BATCH]);
        let (positions, documents) = (&mut positions[..rows.len()], &mut documents[..rows.len()]);
        positions.copy_from_slice(rows);
        self.positions(positions)?;
        if self.counts.tier.has(Kind::Documents) {
            documents.copy_from_slice(rows);
            self.stored_documents(documents)?;
        } else {
            documents.copy_from_slice(positions);
            self.documents_at(documents)?;
        }
        let starts = self.section(Kind::Starts);
        documents.iter().for_each(|&document| self.store.prefetch(starts, u64::from(document) * 4));
        for ((out, &document), &at) in out.iter_mut().zip(&*documents).zip(&*positions) {
            let (start, length) = self.start_and_length(document)?;
            // The document is reversed and its separator comes last.
            match at.checked_sub(start + document).and_then(|offset| length.checked_sub(offset)) {
                Some(end) => *out = (document, end),
                None => return Err(self.outside(Kind::Starts)),
            }
        }
        Ok(())
    }

    /// Documents of at most [`BATCH`] rows, in place of these.
    pub(super) fn documents_of_rows(&self, rows: &mut [u32]) -> Result<(), Fault> {
        if self.counts.tier.has(Kind::Documents) {
            return self.stored_documents(rows);
        }
        self.positions(rows)?;
        self.documents_at(rows)
    }

    fn stored_documents(&self, rows: &mut [u32]) -> Result<(), Fault> {
        let (section, width) = (self.section(Kind::Documents), self.counts.document_width);
        let bit = |row: u32| u64::from(row) * u64::from(width);
        rows.iter().for_each(|&row| self.store.prefetch(section, bit(row) / 8));
        for row in rows {
            let at = bit(*row);
            let document = unpack(self.store.window(section, at / 8)?, at, width);
            if document >= self.documents() {
                return Err(self.outside(Kind::Documents));
            }
            *row = document;
        }
        Ok(())
    }

    /// Documents of at most [`BATCH`] positions, in place of these: the last ones whose first position, the separators
    /// before it included, is not behind. All of them halve their ranges together.
    fn documents_at(&self, positions: &mut [u32]) -> Result<(), Fault> {
        let section = self.section(Kind::Starts);
        let mut ranges = [(0, self.documents()); BATCH];
        let ranges = &mut ranges[..positions.len()];
        let middle = |(low, high): (u32, u32)| low + (high - low) / 2;
        while ranges.iter().any(|&(low, high)| low + 1 < high) {
            ranges.iter().for_each(|&range| self.store.prefetch(section, u64::from(middle(range)) * 4));
            for (range, &position) in ranges.iter_mut().zip(&*positions) {
                if range.0 + 1 < range.1 {
                    let middle = middle(*range);
                    let start = u64::from(self.store.u32(section, u64::from(middle))?) + u64::from(middle);
                    if start <= u64::from(position) { range.0 = middle } else { range.1 = middle }
                }
            }
        }
        positions.iter_mut().zip(ranges).for_each(|(position, range)| *position = range.0);
        Ok(())
    }

    /// Positions of the suffixes of at most [`BATCH`] rows in the reversed text, in place of the rows.
    fn positions(&self, rows: &mut [u32]) -> Result<(), Fault> {
        if self.counts.tier != Tier::Fast {
            return match rows.len() {
                0..=1 => self.walk_back::<1>(rows),
                2..=8 => self.walk_back::<8>(rows),
                _ => self.walk_back::<BATCH>(rows),
            };
        }
        let section = self.section(Kind::Positions);
        rows.iter().for_each(|&row| self.store.prefetch(section, u64::from(row) * 4));
        for row in rows {
            *row = self.within(self.store.u32(section, u64::from(*row))?.into())?;
        }
        Ok(())
    }

    /// At most `N` walks to rows with a sample, one step of all at a time.
    fn walk_back<const N: usize>(&self, rows: &mut [u32]) -> Result<(), Fault> {
        let (mut walks, mut samples) = ([Walk::default(); N], [0u64; N]);
        for (of, (walk, &row)) in walks.iter_mut().zip(&*rows).enumerate() {
            (walk.of, walk.row) = (of, row);
        }
        let (bwt, width) = (self.section(Kind::Bwt), u64::from(self.counts.symbol_width));
        let (mut live, mut steps) = (rows.len(), 0u64);
        while live > 0 {
            for walk in &walks[..live] {
                self.store.prefetch(self.section(Kind::Marks), u64::from(walk.row) / MARK_ROWS * 64);
                self.store.prefetch(bwt, u64::from(walk.row) * width / 8);
            }
            // Those that have arrived go behind those that go on.
            let (mut going, mut i) = (live, 0);
            while i < going {
                match self.sample_of(walks[i].row)? {
                    Some(sample) => {
                        self.store.prefetch(self.section(Kind::Samples), sample * 4);
                        going -= 1;
                        walks.swap(i, going);
                        samples[going] = sample;
                    }
                    None => i += 1,
                }
            }
            steps += 1;
            if going > 0 && steps >= u64::from(self.counts.sample_rate) {
                return Err(self.outside(Kind::Marks));
            }
            self.step_back_all(&mut walks[..going])?;
            for (walk, &sample) in walks[going..live].iter().zip(&samples[going..live]) {
                let sample = self.store.u32(self.section(Kind::Samples), sample)?;
                rows[walk.of] = self.within(u64::from(sample) + steps - 1)?;
            }
            live = going;
        }
        Ok(())
    }

    /// Every row becomes that of the suffix that is one symbol longer.
    fn step_back_all(&self, walks: &mut [Walk]) -> Result<(), Fault> {
        for walk in walks.iter_mut() {
            walk.symbol = self.symbol_of_row(walk.row)?;
            // The first position of every document is sampled, so no walk meets a separator.
            if walk.symbol == 0 {
                return Err(self.outside(Kind::Marks));
            }
            self.store.prefetch(self.section(Kind::Lists), u64::from(walk.symbol) * 16);
        }
        for walk in walks.iter_mut() {
            walk.list = self.list(walk.symbol)?;
            self.ask_directory(walk.list, walk.row);
        }
        for walk in walks.iter_mut() {
            walk.piece = self.piece(walk.list, walk.row)?;
            self.ask_piece(walk.list, walk.piece);
        }
        for walk in walks.iter_mut() {
            walk.part = self.part(walk.list, walk.piece)?;
            self.ask_part(walk.part);
        }
        for walk in walks.iter_mut() {
            walk.row = self.row_of(walk.list, self.rank(walk.part)?)?;
        }
        Ok(())
    }

    /// The row of the suffix that is one symbol longer.
    pub(super) fn step_back(&self, symbol: u32, row: u32) -> Result<u32, Fault> {
        let list = self.list(symbol)?;
        self.row_of(list, self.occurrences(list, row)?)
    }

    /// The row of a list's occurrence.
    #[inline(always)]
    fn row_of(&self, list: List, rank: u32) -> Result<u32, Fault> {
        if rank >= list.total {
            return Err(self.outside(Kind::Lists));
        }
        Ok(list.first + rank)
    }

    /// Which sample is the row's, if it has one.
    fn sample_of(&self, row: u32) -> Result<Option<u64>, Fault> {
        let (line, bit) = (u64::from(row) / MARK_ROWS, u64::from(row) % MARK_ROWS);
        let bytes = self.store.slice(self.section(Kind::Marks), line * 64, 64)?;
        let (before, bits) = bytes.split_at(4);
        let (byte, mask) = ((bit / 8) as usize, 1u8 << (bit % 8));
        if bits[byte] & mask == 0 {
            return Ok(None);
        }
        let before = u32::from_le_bytes([before[0], before[1], before[2], before[3]]);
        let full: u32 = bits[..byte].iter().map(|bits| bits.count_ones()).sum();
        Ok(Some(u64::from(before) + u64::from(full) + u64::from((bits[byte] & (mask - 1)).count_ones())))
    }

    fn within(&self, position: u64) -> Result<u32, Fault> {
        if position >= self.counts.rows {
            return Err(self.outside(Kind::Positions));
        }
        Ok(position as u32)
    }
}

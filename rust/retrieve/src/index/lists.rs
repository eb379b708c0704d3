//! Every symbol's rows, as a build makes them: cut at multiples of 2^shift, a directory of the pieces, the low `shift`
//! bits of each row.

use crate::huge_pages;
use crate::index::format::{Counts, Kind, Writer};
use crate::index::packed::put;
use crate::index::piece;
use crate::suffix_array::Symbol;
use std::io::{self, Seek, Write};

/// Occurrences per piece of a symbol's list that the directory aims at, as a power of two.
const PIECE: u32 = 4;

/// The three sections, in memory.
pub(super) struct Lists {
    lists: Vec<List>,
    pieces: Vec<u32>,
    low: Vec<u8>,
    bits: u64,
}

struct List {
    first: u32,
    taken: u32,
    directory: u32,
    bits: u64,
    shift: u32,
}

impl Lists {
    /// The lists of a transform.
    pub(super) fn of<S: Symbol>(bwt: &[S], counts: Counts) -> Self {
        let (rows, symbols) = (counts.rows, counts.symbols as usize);
        let mut totals = vec![0u32; symbols];
        for symbol in bwt {
            totals[symbol.bucket()] += 1;
        }
        let mut lists = Vec::with_capacity(symbols);
        let (mut first, mut directory, mut bits) = (0u32, 0u64, 0u64);
        for total in totals {
            let mut shift = 0;
            while u64::from(total >> PIECE) < (rows >> shift) + 1 && rows >> shift > 0 {
                shift += 1;
            }
            lists.push(List { first, taken: 0, directory: directory as u32, bits, shift });
            first += total;
            directory += (rows >> shift) + 2;
            bits += u64::from(total) * u64::from(shift);
        }

        let mut pieces: Vec<u32> = huge_pages::filled(directory as usize, 0);
        let mut low: Vec<u8> = huge_pages::filled(bits.div_ceil(8) as usize + 8, 0);
        for (row, symbol) in bwt.iter().enumerate() {
            let list = &mut lists[symbol.bucket()];
            let (at, shift) = (list.bits + u64::from(list.taken) * u64::from(list.shift), list.shift);
            put(&mut low, at, (row as u64 & ((1 << shift) - 1)) as u32);
            list.taken += 1;
            pieces[list.directory as usize + (row >> shift) + 1] = list.taken;
        }
        let mut memory = Vec::new();
        let ends = lists.iter().skip(1).map(|next| next.directory).chain([directory as u32]);
        for (list, end) in lists.iter().zip(ends) {
            let pieces = &mut pieces[list.directory as usize..end as usize];
            let mut before = 0;
            for piece in pieces {
                let start = before;
                before = before.max(*piece);
                *piece = before;
                let at = list.bits + u64::from(start) * u64::from(list.shift);
                piece::cut(&mut low, at, before - start, list.shift, &mut memory);
            }
        }
        Self { lists, pieces, low, bits }
    }

    /// Writes the sections.
    pub(super) fn write<W: Write + Seek>(&self, writer: &mut Writer<W>) -> io::Result<()> {
        for list in &self.lists {
            writer.write_all(&list.first.to_le_bytes())?;
            writer.write_all(&list.directory.to_le_bytes())?;
            writer.write_all(&(list.bits | u64::from(list.shift) << 58).to_le_bytes())?;
        }
        let rows = self.lists.last().map_or(0, |list| list.first + list.taken);
        writer.write_all(&rows.to_le_bytes())?;
        writer.write_all(&(self.pieces.len() as u32).to_le_bytes())?;
        writer.write_all(&self.bits.to_le_bytes())?;
        writer.end(Kind::Lists)?;
        for piece in &self.pieces {
            writer.write_all(&piece.to_le_bytes())?;
        }
        writer.end(Kind::Directory)?;
        writer.write_all(&self.low[..self.low.len() - 8])?;
        writer.end(Kind::LowBits)
    }
}

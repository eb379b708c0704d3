//! The step: from the rows of an n-gram to those of the n-gram and one more token.

use crate::index::format::Kind;
use crate::index::packed::unpack;
use crate::index::piece::Parts;
use crate::index::store::{Fault, Problem};
use crate::index::{Index, Rows};
use draftwood_base::{Error, Result, Token};

/// Steps that are under way at once: enough to hide a miss behind the others.
pub(super) const BATCH: usize = 32;
/// Rows whose bits lie in two cache lines at most, or little more.
const TWO_LINES: u32 = 40;

/// The sorted rows of one symbol.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct List {
    /// First row of the suffixes that start with the symbol.
    pub(super) first: u32,
    /// Number of occurrences.
    pub(super) total: u32,
    directory: u32,
    bits: u64,
    shift: u32,
}

impl List {
    /// The rows of all suffixes that start with the symbol.
    #[inline(always)]
    fn all(self) -> Rows {
        Rows { start: self.first, end: self.first + self.total }
    }
}

/// Where a rank is to be found: among occurrences `low .. high`, those below `key` in their low bits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Piece {
    low: u32,
    high: u32,
    key: u32,
}

/// The part of a piece where it is: of occurrences `low .. high` those below `key` in `width` bits each, from bit `at` on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    low: u32,
    high: u32,
    key: u32,
    width: u32,
    at: u64,
}

impl Index {
    /// The rows of the n-gram followed by `id`: empty if it never is.
    ///
    /// Cost: two dependent cache misses, three where the context repeats, whatever the vocabulary; none from
    /// [`Index::start`].
    ///
    /// # Errors
    /// [`Error::IndexFormat`] when a block that is touched is damaged; [`Error::InvalidArgument`] for rows that are
    /// not of this index.
    #[inline]
    pub fn extend(&self, rows: Rows, id: Token) -> Result<Rows> {
        self.own(rows)?;
        self.step(rows, id).map_err(|fault| self.store.explain(fault))
    }

    /// [`Index::extend`] for many n-grams at once, in place: their cache misses overlap.
    ///
    /// # Errors
    /// As [`Index::extend`]; also if the lengths differ.
    pub fn extend_all(&self, rows: &mut [Rows], ids: &[Token]) -> Result<()> {
        if rows.len() != ids.len() {
            return Err(Error::invalid(
                "the number of ids",
                format!("{}, one per n-gram", rows.len()),
                ids.len(),
                "pass one id for each range of rows",
            ));
        }
        rows.iter().try_for_each(|&rows| self.own(rows))?;
        for (rows, ids) in rows.chunks_mut(BATCH).zip(ids.chunks(BATCH)) {
            self.steps(rows, ids).map_err(|fault| self.store.explain(fault))?;
        }
        Ok(())
    }

    /// The rows of one n-gram followed by each of `ids`: which candidates are allowed, and where each leads.
    /// Appends one entry per id to `out`.
    ///
    /// # Errors
    /// As [`Index::extend`].
    pub fn children(&self, rows: Rows, ids: &[Token], out: &mut Vec<Rows>) -> Result<()> {
        self.own(rows)?;
        let start = out.len();
        out.resize(start + ids.len(), rows);
        for (out, ids) in out[start..].chunks_mut(BATCH).zip(ids.chunks(BATCH)) {
            self.steps(out, ids).map_err(|fault| self.store.explain(fault))?;
        }
        Ok(())
    }

    /// How often the n-gram ends a document.
    ///
    /// # Errors
    /// As [`Index::extend`].
    pub fn document_ends(&self, rows: Rows) -> Result<u32> {
        self.own(rows)?;
        let ends = || Ok(self.follow(self.list(0)?, rows)?.count());
        ends().map_err(|fault| self.store.explain(fault))
    }

    pub(super) fn own(&self, rows: Rows) -> Result<()> {
        if rows.start <= rows.end && u64::from(rows.end) <= self.counts.rows {
            return Ok(());
        }
        Err(Error::invalid(
            "a range of rows",
            format!("inside 0 … {}", self.counts.rows),
            format!("{} … {}", rows.start, rows.end),
            "rows belong to the index that gave them",
        ))
    }

    #[inline]
    fn step(&self, rows: Rows, id: Token) -> Result<Rows, Fault> {
        match self.symbol(id)? {
            Some(symbol) => self.follow(self.list(symbol)?, rows),
            None => Ok(Rows::default()),
        }
    }

    /// At most [`BATCH`] steps.
    pub(super) fn steps(&self, rows: &mut [Rows], ids: &[Token]) -> Result<(), Fault> {
        match rows.len() {
            0..=4 => self.up_to::<4>(rows, ids),
            5..=16 => self.up_to::<16>(rows, ids),
            _ => self.up_to::<BATCH>(rows, ids),
        }
    }

    /// At most `N` steps, stage by stage: each stage asks for the cache lines of the next one.
    fn up_to<const N: usize>(&self, rows: &mut [Rows], ids: &[Token]) -> Result<(), Fault> {
        let mut symbols = [None; N];
        let mut lists = [List::default(); N];
        let mut pieces = [(Piece::default(), Piece::default()); N];
        let mut parts = [(Part::default(), Part::default()); N];
        for (symbol, &id) in symbols.iter_mut().zip(ids) {
            *symbol = self.symbol(id)?;
            if let Some(symbol) = *symbol {
                self.store.prefetch(self.section(Kind::Lists), u64::from(symbol) * 16);
            }
        }
        for (i, rows) in rows.iter_mut().enumerate() {
            if let Some(symbol) = symbols[i] {
                lists[i] = self.list(symbol)?;
                if *rows == self.start() {
                    *rows = lists[i].all();
                    symbols[i] = None;
                    continue;
                }
                self.ask_directory(lists[i], rows.start);
                self.ask_directory(lists[i], rows.end);
            } else {
                *rows = Rows::default();
            }
        }
        for (i, rows) in rows.iter().enumerate() {
            if symbols[i].is_some() {
                pieces[i] = self.pieces(lists[i], *rows)?;
                self.ask_piece(lists[i], pieces[i].0);
                self.ask_piece(lists[i], pieces[i].1);
            }
        }
        for i in 0..rows.len() {
            if symbols[i].is_some() {
                parts[i] = (self.part(lists[i], pieces[i].0)?, self.part(lists[i], pieces[i].1)?);
                self.ask_part(parts[i].0);
                self.ask_part(parts[i].1);
            }
        }
        for (i, rows) in rows.iter_mut().enumerate() {
            if symbols[i].is_some() {
                *rows = self.narrow(lists[i], parts[i])?;
            }
        }
        Ok(())
    }

    /// The symbol of a token id, if it occurs.
    #[inline(always)]
    pub(super) fn symbol(&self, id: Token) -> Result<Option<u32>, Fault> {
        let section = self.section(Kind::Ids);
        if u64::from(id) / 64 * 16 >= section.length {
            return Ok(None);
        }
        let (present, before) = self.store.pair(section, u64::from(id) / 64)?;
        let bit = 1u64 << (id % 64);
        if present & bit == 0 {
            return Ok(None);
        }
        let symbol = before.wrapping_add(u64::from((present & (bit - 1)).count_ones())).wrapping_add(1);
        if symbol >= self.counts.symbols {
            return Err(self.outside(Kind::Ids));
        }
        Ok(Some(symbol as u32))
    }

    #[inline(always)]
    pub(super) fn list(&self, symbol: u32) -> Result<List, Fault> {
        let section = self.section(Kind::Lists);
        let (head, bits) = self.store.pair(section, u64::from(symbol))?;
        let (next, _) = self.store.pair(section, u64::from(symbol) + 1)?;
        let (first, after, shift) = (head as u32, next as u32, (bits >> 58) as u32);
        if first > after || u64::from(after) > self.counts.rows || shift > 32 {
            return Err(self.outside(Kind::Lists));
        }
        Ok(List {
            first,
            total: after - first,
            directory: (head >> 32) as u32,
            bits: bits & ((1 << 58) - 1),
            shift,
        })
    }

    /// The rows of the suffixes that start with the list's symbol and go on with one of `rows`.
    #[inline(always)]
    pub(super) fn follow(&self, list: List, rows: Rows) -> Result<Rows, Fault> {
        if rows == self.start() {
            return Ok(list.all());
        }
        let pieces = self.pieces(list, rows)?;
        self.ask_piece(list, pieces.0);
        self.ask_piece(list, pieces.1);
        let parts = (self.part(list, pieces.0)?, self.part(list, pieces.1)?);
        self.ask_part(parts.0);
        self.ask_part(parts.1);
        self.narrow(list, parts)
    }

    #[inline(always)]
    fn pieces(&self, list: List, rows: Rows) -> Result<(Piece, Piece), Fault> {
        Ok((self.piece(list, rows.start)?, self.piece(list, rows.end)?))
    }

    #[inline(always)]
    fn narrow(&self, list: List, (start, end): (Part, Part)) -> Result<Rows, Fault> {
        let (start, end) = (self.rank(start)?, self.rank(end)?);
        if start > end {
            return Err(self.outside(Kind::LowBits));
        }
        Ok(Rows { start: list.first + start, end: list.first + end })
    }

    /// Number of the list's occurrences in rows before `row`.
    #[inline(always)]
    pub(super) fn occurrences(&self, list: List, row: u32) -> Result<u32, Fault> {
        self.rank(self.part(list, self.piece(list, row)?)?)
    }

    #[inline(always)]
    pub(super) fn ask_directory(&self, list: List, row: u32) {
        let piece = u64::from(list.directory) + (u64::from(row) >> list.shift);
        self.store.prefetch(self.section(Kind::Directory), piece * 4);
    }

    /// What [`Index::part`] reads, and the end of a piece that may lie in two cache lines.
    #[inline(always)]
    pub(super) fn ask_piece(&self, list: List, piece: Piece) {
        let (section, count) = (self.section(Kind::LowBits), piece.high - piece.low);
        let at = list.bits + u64::from(piece.low) * u64::from(list.shift);
        let number = Parts::of(count, list.shift)
            .map_or(0, |parts| u64::from(piece.key >> parts.rest) * u64::from(parts.width));
        self.store.prefetch(section, (at + number) / 8);
        self.store.prefetch(section, (at + u64::from(count.min(TWO_LINES)) * u64::from(list.shift)) / 8);
    }

    #[inline(always)]
    pub(super) fn ask_part(&self, part: Part) {
        self.store.prefetch(self.section(Kind::LowBits), part.at / 8);
    }

    #[inline(always)]
    pub(super) fn piece(&self, list: List, row: u32) -> Result<Piece, Fault> {
        let section = self.section(Kind::Directory);
        let entry = u64::from(list.directory) + (u64::from(row) >> list.shift);
        let (low, high) = self.store.neighbours(section, entry)?;
        if low > high || high > list.total {
            return Err(self.outside(Kind::Directory));
        }
        Ok(Piece { low, high, key: (u64::from(row) & ((1 << list.shift) - 1)) as u32 })
    }

    #[inline(always)]
    pub(super) fn part(&self, list: List, Piece { low, high, key }: Piece) -> Result<Part, Fault> {
        let at = list.bits + u64::from(low) * u64::from(list.shift);
        if key == 0 || list.shift == 0 {
            return Ok(Part { low, high: low, key, width: list.shift, at });
        }
        let Some(parts) = Parts::of(high - low, list.shift) else {
            return Ok(Part { low, high, key, width: list.shift, at });
        };
        let (part, width) = (key >> parts.rest, u64::from(parts.width));
        let section = self.section(Kind::LowBits);
        let number = |part: u32| {
            let at = at + u64::from(part) * width;
            Ok(unpack(self.store.window(section, at / 8)?, at, parts.width))
        };
        let (before, after) = (number(part)?, number(part + 1)?);
        let after = if part + 1 == 1 << parts.cut { high - low } else { after };
        if before > after || after > high - low {
            return Err(self.outside(Kind::LowBits));
        }
        Ok(Part {
            low: low + before,
            high: low + after,
            key: key & ((1 << parts.rest) - 1),
            width: parts.rest,
            at: at + parts.head() + u64::from(before) * u64::from(parts.rest),
        })
    }

    #[inline(always)]
    pub(super) fn rank(&self, Part { low, high, key, width, at }: Part) -> Result<u32, Fault> {
        let section = self.section(Kind::LowBits);
        let place = |number: u32| at + u64::from(number) * u64::from(width);
        let value = |at: u64| Ok(unpack(self.store.window(section, at / 8)?, at, width));
        // The answer is one of `below ..= below + left`. Halved without a branch on what is read: half of such guesses are
        // wrong, and a wrong one throws away what was begun of the next steps of a batch.
        let (mut below, mut left) = (0, if key == 0 { 0 } else { high - low });
        let few = if width > 14 { 1 } else { 4 };
        while left > few {
            let half = left / 2;
            below += u32::from(value(place(below + half - 1))? < key) * half;
            left -= half;
        }
        // So few values one window holds.
        if left > 0 {
            let at = place(below);
            let window = self.store.window(section, at / 8)? >> (at % 8);
            let is_below =
                |i: u32| u32::from(i < left) & u32::from(unpack(window >> (i * width), 0, width) < key);
            below += is_below(0);
            if few > 1 {
                below += is_below(1) + is_below(2) + is_below(3);
            }
        }
        Ok(low + below)
    }

    /// A stored value of a section leads outside.
    #[cold]
    pub(super) fn outside(&self, kind: Kind) -> Fault {
        Fault { at: self.section(kind).offset, problem: Problem::Range }
    }
}

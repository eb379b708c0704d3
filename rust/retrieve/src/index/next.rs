//! All tokens that follow an n-gram.

use crate::index::format::Kind;
use crate::index::packed::unpack;
use crate::index::store::Fault;
use crate::index::{Index, MAX_TOKEN, Rows, Tier};
use draftwood_base::{Result, Token};
use std::cmp::Reverse;

/// Rows per symbol above which asking every symbol is cheaper than reading every row.
const ROWS_PER_SYMBOL: u64 = 16;

/// Rows that are read and sorted at once.
const FEW: usize = 16;
/// Rows between two looks at how many symbols are known.
const AT_ONCE: usize = 256;

/// The followers of an n-gram, and the memory to find them; reused from query to query.
#[derive(Debug, Clone, Default)]
pub struct Followers {
    ids: Vec<Token>,
    counts: Vec<u32>,
    ends: u32,
    /// Per symbol: how often it was seen; all zero between queries.
    tally: Vec<u32>,
    seen: Vec<u32>,
    marks: Marks,
    /// By falling count.
    order: Vec<(Reverse<u32>, Token)>,
}

/// A set of symbols, a bit each, and of its words those that are not empty; empty between queries.
#[derive(Debug, Clone, Default)]
struct Marks {
    words: Vec<u64>,
    used: Vec<u64>,
}

impl Marks {
    /// Sorts different symbols below `symbols`, in time that does not depend on their order: what was seen in a corpus
    /// cannot be guessed, and every comparison of a sort is a guess.
    fn sort(&mut self, some: &mut [u32], symbols: usize) {
        if self.words.len() * 64 < symbols {
            self.words.resize(symbols.div_ceil(64), 0);
            self.used.resize(symbols.div_ceil(64 * 64), 0);
        }
        for &symbol in some.iter() {
            let (word, bit) = (symbol as usize / 64, symbol % 64);
            self.words[word] |= 1 << bit;
            self.used[word / 64] |= 1 << (word % 64);
        }
        let mut sorted = some.iter_mut();
        for (block, used) in self.used.iter_mut().enumerate() {
            for in_block in bits(std::mem::take(used)) {
                let word = block * 64 + in_block as usize;
                for bit in bits(std::mem::take(&mut self.words[word])) {
                    if let Some(symbol) = sorted.next() {
                        *symbol = word as u32 * 64 + bit;
                    }
                }
            }
        }
    }
}

/// The bits that are set, ascending.
fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros());
        word &= word.wrapping_sub(1);
        bit
    })
}

impl Followers {
    /// Distinct token ids, ascending (after [`Followers::keep_top`]: by falling count).
    pub fn ids(&self) -> &[Token] {
        &self.ids
    }

    /// How often each follows.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// How often the n-gram ends a document instead.
    pub fn document_ends(&self) -> u32 {
        self.ends
    }

    /// Keeps the `k` most frequent followers, most frequent first, of equals the lower id.
    pub fn keep_top(&mut self, k: usize) {
        let order = &mut self.order;
        order.clear();
        order.extend(self.counts.iter().map(|&count| Reverse(count)).zip(self.ids.iter().copied()));
        if k < order.len() {
            if k > 0 {
                order.select_nth_unstable(k - 1);
            }
            order.truncate(k);
        }
        order.sort_unstable();
        self.ids.clear();
        self.counts.clear();
        for &(Reverse(count), id) in order.iter() {
            self.ids.push(id);
            self.counts.push(count);
        }
    }

    fn clear(&mut self, symbols: usize) {
        self.ids.clear();
        self.counts.clear();
        self.ends = 0;
        // A fault may have left counts behind.
        for symbol in self.seen.drain(..) {
            self.tally[symbol as usize] = 0;
        }
        if self.tally.len() < symbols {
            self.tally.resize(symbols, 0);
        }
    }
}

impl Index {
    /// The distinct tokens that follow an n-gram, with counts.
    ///
    /// Cost: about 2 ns per row, at most about 50 ns per distinct token of the corpus; the tiny tier always asks every
    /// token. No allocation once `out` has been used with this index.
    ///
    /// # Errors
    /// As [`Index::extend`].
    pub fn next(&self, rows: Rows, out: &mut Followers) -> Result<()> {
        self.own(rows)?;
        out.clear(self.counts.symbols as usize);
        let many = u64::from(rows.count()) > ROWS_PER_SYMBOL * self.counts.symbols;
        let done = if many || self.counts.tier == Tier::Tiny {
            self.ask(rows, out)
        } else if rows.count() as usize <= FEW && self.counts.symbol_width <= 16 {
            self.sort_few(rows, out)
        } else {
            self.scan(rows, out)
        };
        done.map_err(|fault| self.store.explain(fault))
    }

    /// The same from at most `limit` rows, evenly spaced: rows that lie together come from equal longer contexts, so
    /// all of these are heard in proportion. Exact if there are no more rows.
    ///
    /// # Errors
    /// As [`Index::next`]; [`draftwood_base::Error::InvalidArgument`] for the tiny tier, which knows no rows' symbols.
    pub fn next_sampled(&self, rows: Rows, limit: u32, out: &mut Followers) -> Result<()> {
        self.needs_places("next_sampled")?;
        if rows.count() <= limit {
            return self.next(rows, out);
        }
        self.own(rows)?;
        out.clear(self.counts.symbols as usize);
        let mut sample = || {
            for i in 0..u64::from(limit) {
                let row = (2 * i + 1) * u64::from(rows.count()) / (2 * u64::from(limit));
                let symbol = self.symbol_of_row(rows.start + row as u32)?;
                let Some(count) = out.tally.get_mut(symbol as usize) else {
                    return Err(self.outside(Kind::Bwt));
                };
                if *count == 0 {
                    out.seen.push(symbol);
                }
                *count += 1;
            }
            out.marks.sort(&mut out.seen, self.counts.symbols as usize);
            self.collect(out)
        };
        sample().map_err(|fault| self.store.explain(fault))
    }

    /// Asks for the first rows that [`Index::next`] reads of these.
    #[inline]
    pub(super) fn ask_rows(&self, rows: Rows) {
        let bit = |row: u32| u64::from(row) * u64::from(self.counts.symbol_width);
        self.store.prefetch(self.section(Kind::Bwt), bit(rows.start) / 8);
        self.store.prefetch(self.section(Kind::Bwt), bit(rows.end.max(1) - 1) / 8);
    }

    /// Tests every symbol.
    fn ask(&self, rows: Rows, out: &mut Followers) -> Result<(), Fault> {
        out.ends = self.follow(self.list(0)?, rows)?.count();
        for symbol in 1..self.counts.symbols as u32 {
            let list = self.list(symbol)?;
            let whole = u64::from(rows.count()) == self.counts.rows;
            let count = if whole { list.total } else { self.follow(list, rows)?.count() };
            if count > 0 {
                out.ids.push(self.token(symbol)?);
                out.counts.push(count);
            }
        }
        Ok(())
    }

    /// Reads the symbols of at most [`FEW`] rows, of 16 bits at most, and sorts them in registers.
    fn sort_few(&self, rows: Rows, out: &mut Followers) -> Result<(), Fault> {
        let count = rows.count() as usize;
        let mut symbols = [0u16; FEW];
        if self.counts.symbol_width == 16 {
            let (start, length) = (u64::from(rows.start) * 2, count as u64 * 2);
            let bytes = self.store.slice(self.section(Kind::Bwt), start, length)?;
            for (symbol, pair) in symbols.iter_mut().zip(bytes.as_chunks().0) {
                *symbol = u16::from_le_bytes(*pair);
            }
        } else {
            for (symbol, row) in symbols.iter_mut().zip(rows.start..rows.end) {
                *symbol = self.symbol_of_row(row)? as u16;
            }
        }
        let largest = symbols.iter().fold(0, |largest, &symbol| largest.max(symbol));
        if u64::from(largest) >= self.counts.symbols {
            return Err(self.outside(Kind::Bwt));
        }
        // Per row: how many rows have lower symbols, and how many the same one. All pairs are compared, without a branch:
        // the data cannot be guessed. Signed, as the instruction sets have it.
        let keys = symbols.map(|symbol| (symbol ^ 1 << 15) as i16);
        let (mut lower, mut equal) = ([0u16; FEW], [0u16; FEW]);
        for &key in keys.iter().take(count) {
            for i in 0..FEW {
                lower[i] += u16::from(key < keys[i]);
                equal[i] += u16::from(key == keys[i]);
            }
        }
        let mut sorted = [(0u16, 0u16); FEW];
        for i in 0..count.min(FEW) {
            sorted[lower[i] as usize % FEW] = (symbols[i], equal[i]);
        }
        let mut at = 0;
        while at < count {
            let (symbol, equal) = sorted[at % FEW];
            if symbol == 0 {
                out.ends = u32::from(equal);
            } else {
                out.ids.push(self.token(u32::from(symbol))?);
                out.counts.push(u32::from(equal));
            }
            at += usize::from(equal.max(1));
        }
        Ok(())
    }

    /// Reads the symbol of every row.
    fn scan(&self, rows: Rows, out: &mut Followers) -> Result<(), Fault> {
        let (section, width) = (self.section(Kind::Bwt), u64::from(self.counts.symbol_width));
        let symbols = self.counts.symbols as usize;
        let Followers { tally, seen, marks, .. } = out;
        let tally = &mut tally[..symbols];
        let bytes = match width {
            16 => self.store.slice(section, u64::from(rows.start) * 2, u64::from(rows.count()) * 2)?,
            _ => &[],
        };
        let (mut known, mut fine) = (0, true);
        for first in (rows.start..rows.end).step_by(AT_ONCE) {
            let some = first..rows.end.min(first.saturating_add(AT_ONCE as u32));
            seen.resize(known + AT_ONCE, 0);
            // Every symbol is written down, and stays if it is new: whether it is cannot be guessed.
            let (new, mut count_of_new) = (&mut seen[known..][..AT_ONCE], 0);
            let mut add = |symbol: u32| match tally.get_mut(symbol as usize) {
                Some(count) => {
                    new[count_of_new % AT_ONCE] = symbol;
                    count_of_new += usize::from(*count == 0);
                    *count += 1;
                }
                None => fine = false,
            };
            if width == 16 {
                let its = (some.start - rows.start) as usize * 2..(some.end - rows.start) as usize * 2;
                bytes[its].as_chunks().0.iter().for_each(|pair| add(u32::from(u16::from_le_bytes(*pair))));
            } else {
                for row in some {
                    let at = u64::from(row) * width;
                    add(unpack(self.store.window(section, at / 8)?, at, width as u32));
                }
            }
            known += count_of_new;
        }
        seen.truncate(known);
        if !fine {
            return Err(self.outside(Kind::Bwt));
        }
        marks.sort(seen, symbols);
        self.collect(out)
    }

    /// From the symbols that were seen, ascending, to ids and counts.
    fn collect(&self, out: &mut Followers) -> Result<(), Fault> {
        for symbol in out.seen.drain(..) {
            let count = std::mem::take(&mut out.tally[symbol as usize]);
            if symbol == 0 {
                out.ends = count;
            } else {
                out.ids.push(self.token(symbol)?);
                out.counts.push(count);
            }
        }
        Ok(())
    }

    /// The token id of a symbol that is no separator.
    #[inline(always)]
    pub(super) fn token(&self, symbol: u32) -> Result<Token, Fault> {
        let id = self.store.u32(self.section(Kind::Tokens), u64::from(symbol.wrapping_sub(1)))?;
        if id > MAX_TOKEN {
            return Err(self.outside(Kind::Tokens));
        }
        Ok(id)
    }

    /// The symbol before the suffix of a row.
    #[inline(always)]
    pub(super) fn symbol_of_row(&self, row: u32) -> Result<u32, Fault> {
        let at = u64::from(row) * u64::from(self.counts.symbol_width);
        let window = self.store.window(self.section(Kind::Bwt), at / 8)?;
        let symbol = unpack(window, at, self.counts.symbol_width);
        if u64::from(symbol) >= self.counts.symbols {
            return Err(self.outside(Kind::Bwt));
        }
        Ok(symbol)
    }
}

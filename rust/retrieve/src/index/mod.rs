//! A full-text index over token corpora: which tokens may follow an n-gram, how often, and where.
//!
//! Every document is reversed, so that appending a token to an n-gram is one backward-search step (SEAL,
//! arXiv 2204.10628), and closed by a separator that is no token: no n-gram crosses a document. An n-gram is a range
//! of rows of the suffix array; one step narrows the range, and the symbols of the Burrows–Wheeler transform in it are
//! the tokens that may come next.
//!
//! Instead of a wavelet tree, every symbol keeps the sorted list of its rows, cut into pieces of about 16, full pieces once
//! more: a step is two or three dependent cache misses whatever the vocabulary, and however often a context repeats.

mod attribute;
mod build;
mod claim;
mod corpus;
mod extend;
mod failure;
mod find;
mod format;
mod group;
mod lists;
mod locate;
mod matcher;
mod names;
mod next;
mod packed;
mod piece;
mod places;
mod positions;
mod store;

pub use attribute::Span;
pub use build::Phase;
pub use claim::Claim;
pub use corpus::{Corpus, MAX_TITLE_END, MAX_TOKEN};
pub(crate) use group::add_up;
pub use group::{FollowerLists, Group};
pub use matcher::{Match, Matcher};
pub use names::Name;
pub use next::Followers;
pub(crate) use places::occurrences;

use draftwood_base::Result;
use format::{Counts, KINDS, Kind, Section};
use std::path::Path;
use store::Store;

/// What a caller of a document that does not exist is told.
const NUMBERED: &str = "documents are numbered from 0, in the order in which they were given";

/// How much an index keeps, chosen when it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Tier {
    /// Counts and next tokens only: about 2 bytes per token.
    Tiny,
    /// Everything, places found by walking: about 4.3 bytes per token.
    Compact,
    /// The document of a row and the text at once: about 8.5 bytes per token.
    Standard,
    /// Every place at once: about 12.5 bytes per token.
    Fast,
}

impl Tier {
    fn from_number(number: u32) -> Option<Self> {
        [Tier::Tiny, Tier::Compact, Tier::Standard, Tier::Fast]
            .into_iter()
            .find(|&tier| tier as u32 == number)
    }

    fn has(self, kind: Kind) -> bool {
        let least = match kind {
            Kind::Ids | Kind::Tokens | Kind::Lists | Kind::Directory | Kind::LowBits => Tier::Tiny,
            Kind::NameEnds | Kind::Names | Kind::TitleEnd => Tier::Tiny,
            Kind::Bwt | Kind::Starts | Kind::Ends => Tier::Compact,
            Kind::Marks | Kind::Samples => return matches!(self, Tier::Compact | Tier::Standard),
            Kind::Documents | Kind::Text => Tier::Standard,
            Kind::Positions => Tier::Fast,
        };
        self as u32 >= least as u32
    }

    /// Every so many-th position is sampled: the most steps that finding a row's place takes.
    fn sample_rate(self) -> u32 {
        if self == Tier::Compact { 32 } else { 64 }
    }
}

/// The rows of an n-gram, `start .. end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Rows {
    /// First row.
    pub start: u32,
    /// The row after the last one.
    pub end: u32,
}

impl Rows {
    /// A range of rows.
    pub fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    /// How often the n-gram occurs.
    #[inline]
    pub fn count(self) -> u32 {
        self.end - self.start
    }

    /// Whether it does not occur.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// An index, opened for reading. All queries take `&self`, lock nothing and may run on many threads.
pub struct Index {
    store: Store,
    counts: Counts,
    sections: [Section; KINDS.len()],
}

impl Index {
    /// Opens a file. Reads its header and checksums only; each 16 KiB block is checked when it is first touched.
    ///
    /// # Errors
    /// [`draftwood_base::Error::IndexFormat`] with the offset of the first field that is wrong.
    pub fn open(path: &Path) -> Result<Self> {
        Self::over(Store::map(path)?)
    }

    /// The same over the bytes of a file.
    ///
    /// # Errors
    /// As [`Index::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::over(Store::memory(bytes))
    }

    fn over(mut store: Store) -> Result<Self> {
        let (counts, sections) = format::read_header(&mut store)?;
        Ok(Self { store, counts, sections })
    }

    /// Reads the whole file and compares every checksum; `progress` gets the part done, 0 … 1.
    ///
    /// # Errors
    /// [`draftwood_base::Error::IndexFormat`] with the offset of the first damaged block.
    pub fn verify(&self, mut progress: impl FnMut(f64)) -> Result<()> {
        let blocks = self.store.blocks();
        for block in 0..blocks {
            self.store.check(block).map_err(|fault| self.store.explain(fault))?;
            if block % 1024 == 0 {
                progress(block as f64 / blocks as f64);
            }
        }
        progress(1.0);
        Ok(())
    }

    /// What the index keeps.
    pub fn tier(&self) -> Tier {
        self.counts.tier
    }

    /// Number of documents.
    pub fn documents(&self) -> u32 {
        self.counts.documents as u32
    }

    /// Number of tokens, separators not counted.
    pub fn tokens(&self) -> u32 {
        (self.counts.rows - self.counts.documents) as u32
    }

    /// Number of distinct tokens.
    pub fn distinct(&self) -> u32 {
        (self.counts.symbols - 1) as u32
    }

    /// SHA-256 of the tokenizer's table that the tokens were made with, if the builder gave one.
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.counts.fingerprint
    }

    /// Bytes of the file, and of each section by name.
    pub fn sizes(&self) -> (u64, Vec<(String, u64)>) {
        let named = KINDS.into_iter().zip(self.sections).filter(|(_, section)| section.length > 0);
        (
            self.store.bytes().len() as u64,
            named.map(|(kind, section)| (format!("{kind:?}"), section.length)).collect(),
        )
    }

    #[inline(always)]
    fn section(&self, kind: Kind) -> Section {
        self.sections[kind as usize - 1]
    }

    /// The empty n-gram: every token occurs after it.
    pub fn start(&self) -> Rows {
        Rows { start: 0, end: self.counts.rows as u32 }
    }

    /// The start of a document: n-grams extended from here begin with a document.
    pub fn document_start(&self) -> Rows {
        Rows { start: 0, end: self.counts.documents as u32 }
    }
}

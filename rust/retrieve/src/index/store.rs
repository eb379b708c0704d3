//! The bytes of an index: mapped from a file or held in memory, checked block by block on first touch.

use crate::index::format::{BLOCK, HEADER, Section};
use draftwood_base::{Error, Result};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is wrong with the file, small enough for the hot paths; [`Store::explain`] gives it words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) problem: Problem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A block's checksum differs.
    Checksum,
    /// A stored value points outside of what it counts or addresses.
    Range,
}

pub(crate) struct Store {
    bytes: Bytes,
    name: String,
    /// One bit per block: its checksum was right.
    checked: Box<[AtomicU64]>,
    /// Blocks whose checksum nobody compared yet: where none is left no bit is asked for.
    unchecked: AtomicU64,
    /// First byte after the blocks: the checksums themselves, 4 bytes each.
    end: u64,
}

enum Bytes {
    Memory(Vec<u8>),
    Mapped(memmap2::Mmap),
}

impl Store {
    pub(crate) fn memory(bytes: Vec<u8>) -> Self {
        Self::of(Bytes::Memory(bytes), "index in memory".into())
    }

    /// Maps a file read-only; pages are shared between processes and read when they are touched.
    #[allow(unsafe_code)]
    pub(crate) fn map(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let refuse = |error: std::io::Error| {
            Error::invalid("the index file", "readable", format!("{name}: {error}"), "check the path")
        };
        let file = std::fs::File::open(path).map_err(refuse)?;
        if !file.metadata().map_err(refuse)?.is_file() {
            return Err(Error::invalid("the index file", "a regular file", &name, "check the path"));
        }
        // SAFETY: the map is read-only and private to this struct. Index files are immutable: each is
        // created under a name of its own and renamed when complete (`Claim`), so no writer of ours ever has a published
        // file open.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(refuse)?;
        Ok(Self::of(Bytes::Mapped(map), name))
    }

    fn of(bytes: Bytes, name: String) -> Self {
        Self { bytes, name, checked: Box::default(), unchecked: AtomicU64::new(u64::MAX), end: 0 }
    }

    /// Declares where the blocks end and their checksums begin. Until then nothing can be read through a section.
    pub(crate) fn set_blocks(&mut self, end: u64) {
        let blocks = (end - HEADER).div_ceil(BLOCK) as usize;
        self.checked = (0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        self.unchecked = AtomicU64::new(blocks as u64);
        self.end = end;
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Memory(bytes) => bytes,
            Bytes::Mapped(map) => map,
        }
    }

    /// Number of blocks.
    pub(crate) fn blocks(&self) -> u64 {
        (self.end - HEADER).div_ceil(BLOCK)
    }

    /// The eight bytes at `offset` of a section; the spare bytes behind its end may be among them.
    #[inline(always)]
    pub(crate) fn window(&self, section: Section, offset: u64) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array(section, offset, section.length)?))
    }

    /// The `index`-th u32 of a section.
    #[inline(always)]
    pub(crate) fn u32(&self, section: Section, index: u64) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array(section, index * 4, section.length & !3)?))
    }

    /// The `index`-th pair of a u64 and the one after it.
    #[inline(always)]
    pub(crate) fn pair(&self, section: Section, index: u64) -> Result<(u64, u64), Fault> {
        let both = u128::from_le_bytes(self.array(section, index * 16, section.length & !15)?);
        Ok((both as u64, (both >> 64) as u64))
    }

    /// The `index`-th u32 of a section and the one after it.
    #[inline(always)]
    pub(crate) fn neighbours(&self, section: Section, index: u64) -> Result<(u32, u32), Fault> {
        let both =
            u64::from_le_bytes(self.array(section, index * 4, (section.length & !3).saturating_sub(4))?);
        Ok((both as u32, (both >> 32) as u32))
    }

    /// `N` bytes at an offset below `limit`, behind which every section has 8 spare bytes.
    #[inline(always)]
    fn array<const N: usize>(&self, section: Section, offset: u64, limit: u64) -> Result<[u8; N], Fault> {
        let at = section.offset.wrapping_add(offset);
        if offset >= limit {
            return Err(Fault { at: section.offset, problem: Problem::Range });
        }
        if self.unchecked.load(Ordering::Relaxed) != 0 {
            self.touch(at)?;
            if (at - HEADER) % BLOCK > BLOCK - N as u64 {
                self.touch(at + N as u64 - 1)?;
            }
        }
        match self.bytes().get(at as usize..at as usize + N).and_then(|bytes| bytes.try_into().ok()) {
            Some(array) => Ok(array),
            None => Err(Fault { at, problem: Problem::Range }),
        }
    }

    /// The bytes `offset .. offset + length` of a section.
    pub(crate) fn slice(&self, section: Section, offset: u64, length: u64) -> Result<&[u8], Fault> {
        if length == 0 {
            return Ok(&[]);
        }
        if offset.checked_add(length).is_none_or(|end| end > section.length) {
            return Err(Fault { at: section.offset, problem: Problem::Range });
        }
        let at = section.offset + offset;
        for block in (at - HEADER) / BLOCK..=(at + length - 1 - HEADER) / BLOCK {
            self.touch(HEADER + block * BLOCK)?;
        }
        let bytes = self.bytes().get(at as usize..(at + length) as usize);
        bytes.ok_or(Fault { at, problem: Problem::Range })
    }

    #[inline(always)]
    fn touch(&self, at: u64) -> Result<(), Fault> {
        let block = (at - HEADER) / BLOCK;
        match self.checked.get((block / 64) as usize) {
            // The data never changes, so seeing the bit is enough: nothing is published along with it.
            Some(word) if word.load(Ordering::Relaxed) >> (block % 64) & 1 == 1 => Ok(()),
            _ => self.check(block),
        }
    }

    /// Compares the checksum of a block with the table.
    #[cold]
    pub(crate) fn check(&self, block: u64) -> Result<(), Fault> {
        let at = HEADER + block * BLOCK;
        let fault = |problem| Err(Fault { at, problem });
        let word = self.checked.get((block / 64) as usize);
        let (Some(word), Some(bytes), Some(sum)) = (
            word,
            self.bytes().get(at as usize..self.end.min(at + BLOCK) as usize),
            self.bytes().get((self.end + block * 4) as usize..).and_then(|rest| rest.first_chunk()),
        ) else {
            return fault(Problem::Range);
        };
        if crc32c::crc32c(bytes) != u32::from_le_bytes(*sum) {
            return fault(Problem::Checksum);
        }
        let bit = 1 << (block % 64);
        if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            self.unchecked.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Asks for the cache line of a byte of a section.
    #[inline(always)]
    pub(crate) fn prefetch(&self, section: Section, offset: u64) {
        crate::prefetch::prefetch(self.bytes(), (section.offset.wrapping_add(offset)) as usize);
    }

    /// The fault as the error that users see.
    #[cold]
    pub(crate) fn explain(&self, fault: Fault) -> Error {
        let (what, expected, got) = match fault.problem {
            Problem::Checksum => ("the checksum of the block", "that of its bytes", "another one"),
            Problem::Range => ("a stored value", "inside the index", "one that points outside"),
        };
        self.refuse(fault.at, what, expected, got)
    }

    /// A damaged field at a byte of this file.
    #[cold]
    pub(crate) fn refuse(
        &self,
        offset: u64,
        what: impl Into<String>,
        expected: impl Into<String>,
        got: impl std::fmt::Display,
    ) -> Error {
        self.refuse_with(
            offset,
            what,
            expected,
            got,
            "the index is damaged: restore the file or build it again",
        )
    }

    /// The same where something else mends it.
    #[cold]
    pub(crate) fn refuse_with(
        &self,
        offset: u64,
        what: impl Into<String>,
        expected: impl Into<String>,
        got: impl std::fmt::Display,
        hint: &str,
    ) -> Error {
        Error::index_format(&self.name, offset, what, expected, got, hint)
    }
}

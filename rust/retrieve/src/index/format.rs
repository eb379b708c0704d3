//! The `.dwx` file: a header page, page-aligned sections, a checksum per block.
//!
//! ```text
//! 0       header, 4096 bytes: magic, version, counts, section table; its own CRC-32C in the last 4 bytes
//! 4096    sections, each at a multiple of 4096, with at least 8 zero bytes behind it
//! end     CRC-32C of each 16 KiB block from 4096 to here, 4 bytes each; their CRC-32C is in the header
//! ```
//! All integers are little-endian and of fixed width. A reader knows every section's length from the counts, so the
//! header alone decides whether a file is whole; opening reads two checksums, not the data.

use crate::index::Tier;
use crate::index::packed::bytes_for;
use crate::index::store::Store;
use draftwood_base::Result;
use std::io::{self, Seek, SeekFrom, Write};

/// Bytes of the header page.
pub(crate) const HEADER: u64 = 4096;
/// Bytes under one checksum.
pub(crate) const BLOCK: u64 = 16 * 1024;
const ALIGN: u64 = 4096;
const MAGIC: [u8; 8] = *b"DWXINDEX";
const VERSION: u32 = 2;
const TABLE: usize = 128;
const ENTRY: usize = 24;
/// Rows under one line of marks: 60 bytes of bits behind a 4-byte count.
pub(crate) const MARK_ROWS: u64 = 480;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// Per 64 token ids: u64 of ids that occur, u64 number of ids that occur before.
    Ids = 1,
    /// Per symbol but the separator: its token id, u32.
    Tokens,
    /// Per symbol and one more: u32 first row, u32 first directory entry, u64 first low bit | shift << 58.
    Lists,
    /// Per piece of a symbol's rows: u32 occurrences before it.
    Directory,
    /// The low bits of every occurrence's row, those of pieces with many rows as [`crate::index::piece`] says.
    LowBits,
    /// Per row: the symbol before its suffix, packed.
    Bwt,
    /// Per 480 rows: u32 sampled rows before, then a bit per row: its position is sampled.
    Marks,
    /// Per sampled row: its position in the reversed text, u32.
    Samples,
    /// Per document and one more: its first token, u32.
    Starts,
    /// Per document: the row of the separator that closes it, u32.
    Ends,
    /// Per row: the document, packed.
    Documents,
    /// The tokens of all documents as symbols, packed.
    Text,
    /// Per row: its position in the reversed text, u32.
    Positions,
    /// Per document: u64 ends of its name and of its title in `Names`; absent if no document has either.
    NameEnds,
    /// UTF-8 of all names and titles.
    Names,
    /// The tokens that end a title, u32; absent if documents have none.
    TitleEnd,
}

pub(crate) const KINDS: [Kind; 16] = [
    Kind::Ids,
    Kind::Tokens,
    Kind::Lists,
    Kind::Directory,
    Kind::LowBits,
    Kind::Bwt,
    Kind::Marks,
    Kind::Samples,
    Kind::Starts,
    Kind::Ends,
    Kind::Documents,
    Kind::Text,
    Kind::Positions,
    Kind::NameEnds,
    Kind::Names,
    Kind::TitleEnd,
];

/// Where a section lies in the file; empty when the tier lacks it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The counts of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) tier: Tier,
    /// Tokens and one separator per document.
    pub(crate) rows: u64,
    pub(crate) documents: u64,
    /// Distinct tokens and the separator.
    pub(crate) symbols: u64,
    /// Bits of a symbol in `Bwt` and `Text`.
    pub(crate) symbol_width: u32,
    /// Bits of a document number in `Documents`.
    pub(crate) document_width: u32,
    /// Every so many-th position of a document is sampled.
    pub(crate) sample_rate: u32,
    /// SHA-256 of the tokenizer's id → bytes table; `None` for an index of bare ids.
    pub(crate) fingerprint: Option<[u8; 32]>,
}

impl Counts {
    /// The only length of a section that fits the counts; `None` if it depends on more, zero if the tier lacks it.
    fn length(&self, kind: Kind) -> Option<u64> {
        let Counts { tier, rows, documents, symbols, .. } = *self;
        let present = tier.has(kind);
        let length = match kind {
            Kind::Ids | Kind::Directory | Kind::LowBits | Kind::Samples if present => return None,
            // Whether documents have names and titles is their own affair: checked where they are read.
            Kind::NameEnds | Kind::Names | Kind::TitleEnd => return None,
            Kind::Tokens => (symbols - 1) * 4,
            Kind::Lists => (symbols + 1) * 16,
            Kind::Bwt => bytes_for(rows, self.symbol_width),
            Kind::Marks => rows.div_ceil(MARK_ROWS) * 64,
            Kind::Starts => (documents + 1) * 4,
            Kind::Ends => documents * 4,
            Kind::Documents => bytes_for(rows, self.document_width),
            Kind::Text => bytes_for(rows - documents, self.symbol_width),
            Kind::Positions => rows * 4,
            _ => 0,
        };
        Some(if present { length } else { 0 })
    }
}

/// Writes sections one after the other, then the checksums, then the header.
pub(crate) struct Writer<W> {
    out: W,
    at: u64,
    open: u64,
    sections: Vec<(Kind, Section)>,
    sums: Vec<u8>,
    sum: u32,
}

impl<W: Write + Seek> Writer<W> {
    pub(crate) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&[0; HEADER as usize])?;
        Ok(Self { out, at: HEADER, open: HEADER, sections: Vec::new(), sums: Vec::new(), sum: 0 })
    }

    /// Closes what was written since the last call as one section.
    pub(crate) fn end(&mut self, kind: Kind) -> io::Result<()> {
        self.sections.push((kind, Section { offset: self.open, length: self.at - self.open }));
        let padded = (self.at + 8).next_multiple_of(ALIGN);
        self.write_all(&[0; (ALIGN + 8) as usize][..(padded - self.at) as usize])?;
        self.open = self.at;
        Ok(())
    }

    /// Writes checksums and header; returns the length of the file.
    pub(crate) fn finish(mut self, counts: Counts) -> io::Result<(W, u64)> {
        if !(self.at - HEADER).is_multiple_of(BLOCK) {
            self.sums.extend_from_slice(&self.sum.to_le_bytes());
        }
        self.out.write_all(&self.sums)?;
        let length = self.at + self.sums.len() as u64;
        let mut page = [0u8; HEADER as usize];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(12, &(counts.tier as u32).to_le_bytes());
        put(16, &counts.rows.to_le_bytes());
        put(24, &counts.documents.to_le_bytes());
        put(32, &counts.symbols.to_le_bytes());
        put(40, &counts.symbol_width.to_le_bytes());
        put(44, &counts.document_width.to_le_bytes());
        put(48, &counts.sample_rate.to_le_bytes());
        put(52, &u32::from(counts.fingerprint.is_some()).to_le_bytes());
        put(56, &counts.fingerprint.unwrap_or_default());
        put(88, &length.to_le_bytes());
        put(96, &self.at.to_le_bytes());
        put(104, &crc32c::crc32c(&self.sums).to_le_bytes());
        put(108, &(self.sections.len() as u32).to_le_bytes());
        for (i, (kind, section)) in self.sections.iter().enumerate() {
            put(TABLE + i * ENTRY, &(*kind as u32).to_le_bytes());
            put(TABLE + i * ENTRY + 8, &section.offset.to_le_bytes());
            put(TABLE + i * ENTRY + 16, &section.length.to_le_bytes());
        }
        let sum = crc32c::crc32c(&page[..HEADER as usize - 4]);
        page[HEADER as usize - 4..].copy_from_slice(&sum.to_le_bytes());
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&page)?;
        Ok((self.out, length))
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = (BLOCK - (self.at - HEADER) % BLOCK) as usize;
        let bytes = &bytes[..bytes.len().min(left)];
        self.out.write_all(bytes)?;
        self.sum = crc32c::crc32c_append(self.sum, bytes);
        self.at += bytes.len() as u64;
        if bytes.len() == left {
            self.sums.extend_from_slice(&self.sum.to_le_bytes());
            self.sum = 0;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Checks the header and the section table; afterwards `store` may be read through the sections.
pub(crate) fn read_header(store: &mut Store) -> Result<(Counts, [Section; KINDS.len()])> {
    let length = store.bytes().len() as u64;
    let Some(page) = store.bytes().first_chunk::<{ HEADER as usize }>().copied() else {
        return Err(store.refuse(0, "an index file", "at least 4096 bytes long", length));
    };
    let u32_at = |at: usize| u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if page[..8] != MAGIC {
        return Err(store.refuse(
            0,
            "the first 8 bytes",
            "DWXINDEX",
            format!("{:?}", page[..8].escape_ascii().to_string()),
        ));
    }
    if u32_at(8) != VERSION {
        let hint = "build the index again, or use the library that wrote it";
        let expected = format!("{VERSION}, which this library reads");
        return Err(store.refuse_with(8, "the format version", expected, u32_at(8), hint));
    }
    if crc32c::crc32c(&page[..HEADER as usize - 4]) != u32_at(HEADER as usize - 4) {
        return Err(store.refuse(
            HEADER - 4,
            "the checksum of the header",
            "that of its bytes",
            u32_at(HEADER as usize - 4),
        ));
    }
    let Some(tier) = Tier::from_number(u32_at(12)) else {
        return Err(store.refuse(12, "the tier", "0 … 3", u32_at(12)));
    };
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(&page[56..88]);
    let counts = Counts {
        tier,
        rows: u64_at(16),
        documents: u64_at(24),
        symbols: u64_at(32),
        symbol_width: u32_at(40),
        document_width: u32_at(44),
        sample_rate: u32_at(48),
        fingerprint: (u32_at(52) != 0).then_some(fingerprint),
    };
    let check = |fine: bool, at: u64, what: &str, expected: String, got: u64| {
        if fine { Ok(()) } else { Err(store.refuse(at, what, expected, got)) }
    };
    let Counts { rows, documents, symbols, .. } = counts;
    check(rows < u64::from(u32::MAX), 16, "the number of rows", "below 2^32 − 1".into(), rows)?;
    check(documents <= rows, 24, "the number of documents", format!("at most the {rows} rows"), documents)?;
    check((1..=1 << 20 | 1).contains(&symbols), 32, "the number of symbols", "1 … 2^20 + 1".into(), symbols)?;
    let widths = |width: u32| (1..=32).contains(&width);
    check(
        widths(counts.symbol_width),
        40,
        "the bits of a symbol",
        "1 … 32".into(),
        counts.symbol_width.into(),
    )?;
    check(
        widths(counts.document_width),
        44,
        "the bits of a document",
        "1 … 32".into(),
        counts.document_width.into(),
    )?;
    check(
        (1..=4096).contains(&counts.sample_rate),
        48,
        "the sample rate",
        "1 … 4096".into(),
        counts.sample_rate.into(),
    )?;
    check(u64_at(88) == length, 88, "the length of the file", format!("{}", u64_at(88)), length)?;
    let end = u64_at(96);
    let blocks = end.saturating_sub(HEADER).div_ceil(BLOCK);
    check(
        end >= HEADER && end <= length && length - end == blocks * 4,
        96,
        "the place of the checksums",
        format!("before the end of the {length} bytes"),
        end,
    )?;
    let sums = crc32c::crc32c(&store.bytes()[end as usize..]);
    check(sums == u32_at(104), end, "the checksum of the checksums", u32_at(104).to_string(), sums.into())?;
    let entries = u32_at(108);
    check(
        entries as usize <= KINDS.len(),
        108,
        "the number of sections",
        format!("at most {}", KINDS.len()),
        entries.into(),
    )?;

    let mut sections = [Section::default(); KINDS.len()];
    let mut free = HEADER;
    for i in 0..entries as usize {
        let at = TABLE + i * ENTRY;
        let known =
            KINDS.iter().position(|&kind| kind as u32 == u32_at(at)).filter(|&k| sections[k].offset == 0);
        let Some(known) = known else {
            return Err(store.refuse(at as u64, "a section's kind", "a known one, once", u32_at(at)));
        };
        let section = Section { offset: u64_at(at + 8), length: u64_at(at + 16) };
        let fits = section.offset.is_multiple_of(ALIGN) && section.offset >= free;
        check(
            fits,
            at as u64 + 8,
            "a section's offset",
            format!("a multiple of {ALIGN} from {free} on"),
            section.offset,
        )?;
        let room = end.saturating_sub(section.offset).saturating_sub(8);
        check(
            section.length <= room,
            at as u64 + 16,
            "a section's length",
            format!("at most {room}"),
            section.length,
        )?;
        free = section.offset + section.length + 8;
        sections[known] = section;
    }
    for (kind, section) in KINDS.into_iter().zip(sections) {
        let what = || format!("the length of section {kind:?}");
        if let Some(expected) = counts.length(kind) {
            check(section.length == expected, 108, &what(), expected.to_string(), section.length)?;
        }
    }
    store.set_blocks(end);
    Ok((counts, sections))
}

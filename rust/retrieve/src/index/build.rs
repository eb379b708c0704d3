//! From documents to a file.

use crate::huge_pages;
use crate::index::claim::Claim;
use crate::index::failure::{Failure, changed, no_thread};
use crate::index::format::{Counts, Kind, MARK_ROWS, Writer};
use crate::index::lists::Lists;
use crate::index::packed::{PackedWriter, width_for};
use crate::index::{Corpus, Index, Tier};
use crate::prefetch::prefetch;
use crate::suffix_array::{Symbol, suffix_array};
use draftwood_base::{Error, Result};
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;
use std::thread;

/// Bytes per write. The system keeps what is written together in huge pages where it can, and maps them as such: a query
/// then misses the address translation less often.
const WRITTEN_AT_ONCE: usize = 32 << 20;
/// Rows looked ahead where the text is read in suffix order.
const AHEAD: usize = 32;

/// The parts of a build, for a progress display; about in proportion 6 : 1 : 1 : 1 of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Sorting the suffixes.
    Sort,
    /// Burrows–Wheeler transform.
    Transform,
    /// Documents and places of the rows.
    Places,
    /// Occurrence lists and text.
    Lists,
}

impl Index {
    /// Builds an index file. It appears under `path` complete or not at all: it is written beside it, synchronised and
    /// renamed. What a killed build left is never read, and removed; one path is built by one builder at a time.
    ///
    /// Time about 0.12 µs per token, by two threads. Memory above the corpus about 10 bytes per token, 14 above
    /// 65,535 distinct ones, and 32 MiB to write from.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] as [`Claim::take`] and [`Index::build_claimed`].
    pub fn build(
        corpus: &Corpus,
        tier: Tier,
        fingerprint: Option<[u8; 32]>,
        path: &Path,
        progress: impl FnMut(Phase),
    ) -> Result<Self> {
        Self::build_claimed(corpus, tier, fingerprint, &Claim::take(path)?, progress)
    }

    /// The same for a path that is claimed already, so that a corpus can be made in the folder of the claim.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the path cannot be written, the disk is full, a file of tokens has changed, or the
    /// system has no more threads.
    pub fn build_claimed(
        corpus: &Corpus,
        tier: Tier,
        fingerprint: Option<[u8; 32]>,
        claim: &Claim,
        progress: impl FnMut(Phase),
    ) -> Result<Self> {
        let written = (|| -> Result<(), Failure> {
            let (temporary, file) = claim.temporary()?;
            let out =
                write(corpus, tier, fingerprint, BufWriter::with_capacity(WRITTEN_AT_ONCE, file), progress)?;
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            Ok(claim.publish(&temporary)?)
        })();
        written.map_err(|failure| failure.told(claim.path()))?;
        Self::open(claim.path())
    }

    /// The same in memory.
    ///
    /// # Errors
    /// [`Error::Internal`] if what was written cannot be read; as [`Index::build_claimed`] for files of tokens and threads.
    pub fn build_in_memory(corpus: &Corpus, tier: Tier) -> Result<Self> {
        let out = write(corpus, tier, None, io::Cursor::new(Vec::new()), |_| ());
        match out {
            Ok(out) => Self::from_bytes(out.into_inner()),
            Err(Failure::Told(error)) => Err(error),
            Err(Failure::Disk(error)) => Err(Error::Internal(error.to_string())),
        }
    }
}

/// Writes the file of an index.
fn write<W: Write + Seek>(
    corpus: &Corpus,
    tier: Tier,
    fingerprint: Option<[u8; 32]>,
    out: W,
    progress: impl FnMut(Phase),
) -> Result<W, Failure> {
    let (ids, symbols) = corpus.alphabet()?;
    let counts = Counts {
        tier,
        rows: (corpus.tokens() + corpus.documents()) as u64,
        documents: corpus.documents() as u64,
        symbols: ids.len() as u64 + 1,
        // 13 … 15 bits would save an eighth of two sections and cost aligned reads.
        symbol_width: match width_for(ids.len() as u64) {
            13..=15 => 16,
            width => width,
        },
        document_width: width_for((corpus.documents() as u64).saturating_sub(1)),
        sample_rate: tier.sample_rate(),
        fingerprint,
    };
    let mut writer = Writer::new(out)?;
    write_ids(&mut writer, &ids)?;
    if counts.symbol_width <= 16 {
        write_rows::<u16, W>(&mut writer, corpus, &symbols, counts, |symbol| symbol as u16, progress)?;
    } else {
        write_rows::<u32, W>(&mut writer, corpus, &symbols, counts, |symbol| symbol, progress)?;
    }
    write_names(&mut writer, corpus)?;
    Ok(writer.finish(counts)?.0)
}

fn write_ids<W: Write + Seek>(writer: &mut Writer<W>, ids: &[u32]) -> io::Result<()> {
    let largest = ids.last().copied().unwrap_or(0);
    let mut words = vec![0u64; largest as usize / 64 + 1];
    for id in ids {
        words[*id as usize / 64] |= 1 << (id % 64);
    }
    let mut before = 0u64;
    for word in words {
        writer.write_all(&word.to_le_bytes())?;
        writer.write_all(&before.to_le_bytes())?;
        before += u64::from(word.count_ones());
    }
    writer.end(Kind::Ids)?;
    for id in ids {
        writer.write_all(&id.to_le_bytes())?;
    }
    writer.end(Kind::Tokens)
}

/// What documents are called, if anything, and how their titles end.
fn write_names<W: Write + Seek>(writer: &mut Writer<W>, corpus: &Corpus) -> io::Result<()> {
    if !corpus.names.is_empty() {
        let unnamed = corpus.documents() - corpus.name_ends.len();
        let end = (corpus.names.len() as u64, corpus.names.len() as u64);
        for (name, title) in corpus.name_ends.iter().chain(std::iter::repeat_n(&end, unnamed)) {
            writer.write_all(&name.to_le_bytes())?;
            writer.write_all(&title.to_le_bytes())?;
        }
        writer.end(Kind::NameEnds)?;
        writer.write_all(&corpus.names)?;
        writer.end(Kind::Names)?;
    }
    if !corpus.title_end.is_empty() {
        for id in &corpus.title_end {
            writer.write_all(&id.to_le_bytes())?;
        }
        writer.end(Kind::TitleEnd)?;
    }
    Ok(())
}

fn write_rows<S: Symbol, W: Write + Seek>(
    writer: &mut Writer<W>,
    corpus: &Corpus,
    symbols: &[u32],
    counts: Counts,
    narrow: impl Fn(u32) -> S,
    mut progress: impl FnMut(Phase),
) -> Result<(), Failure> {
    let tier = counts.tier;
    let mut reversed: Vec<S> = huge_pages::filled(counts.rows as usize, narrow(0));
    let symbol_of = |id: u32| symbols.get(id as usize).copied().unwrap_or(0);
    let mut is_changed = false;
    corpus.read_reversed(|tokens, end| {
        for (symbol, &id) in reversed[end - tokens.len()..end].iter_mut().rev().zip(tokens) {
            is_changed |= symbol_of(id) == 0;
            *symbol = narrow(symbol_of(id));
        }
    })?;
    // The sort relies on one separator per document.
    if is_changed {
        return Err(changed("other tokens than at first").into());
    }
    progress(Phase::Sort);
    let sa = suffix_array(&reversed, counts.symbols as usize);
    progress(Phase::Transform);
    let bwt = transform(&reversed, &sa, narrow(0))?;
    drop(reversed);
    // The lists need the transform alone, and what else is written does not need them.
    let lists = thread::scope(|scope| -> Result<Lists, Failure> {
        let lists =
            thread::Builder::new().spawn_scoped(scope, || Lists::of(&bwt, counts)).map_err(no_thread)?;
        if tier.has(Kind::Bwt) {
            write_packed(writer, bwt.iter().map(|c| c.bucket() as u32), counts.symbol_width)?;
            writer.end(Kind::Bwt)?;
            progress(Phase::Places);
            write_places(writer, corpus, &sa, counts)?;
        }
        if tier.has(Kind::Positions) {
            for at in &sa {
                writer.write_all(&at.to_le_bytes())?;
            }
            writer.end(Kind::Positions)?;
        }
        drop(sa);
        progress(Phase::Lists);
        lists.join().map_err(|_| Error::Internal("the thread that makes the lists panicked".into()).into())
    })?;
    drop(bwt);
    lists.write(writer)?;
    drop(lists);
    if tier.has(Kind::Text) {
        let mut packed =
            PackedWriter::new(BufWriter::with_capacity(1 << 16, &mut *writer), counts.symbol_width);
        corpus
            .read::<Failure>(|tokens| Ok(tokens.iter().try_for_each(|&id| packed.push(symbol_of(id)))?))?;
        packed.finish()?;
        writer.end(Kind::Text)?;
    }
    Ok(())
}

/// The symbol before each suffix, by two threads: half the time goes by waiting for memory.
fn transform<S: Symbol>(text: &[S], sa: &[u32], separator: S) -> Result<Vec<S>> {
    let mut bwt: Vec<S> = huge_pages::with_capacity(sa.len());
    bwt.resize(sa.len(), separator);
    let half = sa.len() / 2;
    let (first, second) = bwt.split_at_mut(half);
    let fill = |out: &mut [S], sa: &[u32]| {
        for (row, (symbol, &at)) in out.iter_mut().zip(sa).enumerate() {
            if let Some(&ahead) = sa.get(row + AHEAD) {
                prefetch(text, (ahead as usize).wrapping_sub(1));
            }
            // Cyclic: before the first position stands the separator that ends the last document.
            if at > 0 {
                *symbol = text[at as usize - 1];
            }
        }
    };
    thread::scope(|scope| -> Result<()> {
        thread::Builder::new().spawn_scoped(scope, || fill(first, &sa[..half])).map_err(no_thread)?;
        fill(second, &sa[half..]);
        Ok(())
    })?;
    Ok(bwt)
}

fn write_packed(out: &mut impl Write, values: impl Iterator<Item = u32>, width: u32) -> io::Result<()> {
    let mut packed = PackedWriter::new(BufWriter::with_capacity(1 << 16, out), width);
    for value in values {
        packed.push(value)?;
    }
    packed.finish()
}

/// Documents, samples and marks of the rows.
fn write_places<W: Write + Seek>(
    writer: &mut Writer<W>,
    corpus: &Corpus,
    sa: &[u32],
    counts: Counts,
) -> io::Result<()> {
    for start in [0].iter().chain(&corpus.ends) {
        writer.write_all(&start.to_le_bytes())?;
    }
    writer.end(Kind::Starts)?;

    let documents = Documents::new(corpus);
    let mut ends = vec![0u32; corpus.documents()];
    for (row, &at) in sa[..corpus.documents()].iter().enumerate() {
        ends[documents.find(at).0 as usize] = row as u32;
    }
    for row in &ends {
        writer.write_all(&row.to_le_bytes())?;
    }
    writer.end(Kind::Ends)?;

    let tier = counts.tier;
    let (mut marks, mut samples) = (Vec::new(), Vec::new());
    if tier.has(Kind::Documents) || tier.has(Kind::Marks) {
        let buffered = BufWriter::with_capacity(1 << 16, &mut *writer);
        let mut packed = PackedWriter::new(buffered, counts.document_width);
        for (row, &at) in sa.iter().enumerate() {
            if let Some(&ahead) = sa.get(row + AHEAD) {
                documents.prefetch(ahead);
            }
            let (document, offset) = documents.find(at);
            if tier.has(Kind::Documents) {
                packed.push(document)?;
            }
            if tier.has(Kind::Marks) {
                let bit = row % MARK_ROWS as usize;
                if bit == 0 {
                    marks.extend_from_slice(&(samples.len() as u32).to_le_bytes());
                    marks.extend_from_slice(&[0; 60]);
                }
                if offset % counts.sample_rate == 0 {
                    let line = marks.len() - 60;
                    marks[line + bit / 8] |= 1 << (bit % 8);
                    samples.push(at);
                }
            }
        }
        packed.finish()?;
    }
    if tier.has(Kind::Documents) {
        writer.end(Kind::Documents)?;
    }
    if tier.has(Kind::Marks) {
        writer.write_all(&marks)?;
        writer.end(Kind::Marks)?;
        for at in samples {
            writer.write_all(&at.to_le_bytes())?;
        }
        writer.end(Kind::Samples)?;
    }
    Ok(())
}

/// From a position of the reversed text to its document, with a coarse table that stays in the cache.
struct Documents<'a> {
    ends: &'a [u32],
    /// Document of every 64th position.
    coarse: Vec<u32>,
}

impl<'a> Documents<'a> {
    const STEP: usize = 64;

    fn new(corpus: &'a Corpus) -> Self {
        let rows = corpus.tokens() + corpus.documents();
        let mut coarse = Vec::with_capacity(rows / Self::STEP + 1);
        let mut document = 0;
        for at in (0..rows).step_by(Self::STEP) {
            while corpus.ends[document] as usize + document < at {
                document += 1;
            }
            coarse.push(document as u32);
        }
        Self { ends: &corpus.ends, coarse }
    }

    fn prefetch(&self, at: u32) {
        prefetch(&self.coarse, at as usize / Self::STEP);
    }

    /// Document and offset in its reversed form, the separator last.
    fn find(&self, at: u32) -> (u32, u32) {
        let mut document = self.coarse[at as usize / Self::STEP];
        // Document d ends with its separator at ends[d] + d.
        while self.ends[document as usize] + document < at {
            document += 1;
        }
        let start = if document == 0 { 0 } else { self.ends[document as usize - 1] + document };
        (document, at - start)
    }
}

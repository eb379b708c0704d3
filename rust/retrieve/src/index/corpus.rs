//! The documents of an index to be built.

use crate::index::failure::{changed, unreadable};
use draftwood_base::{Error, Result, Token};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Largest token id that an index takes.
pub const MAX_TOKEN: Token = (1 << 20) - 1;
/// Tokens of a file that are in memory at once.
const READ_AT_ONCE: usize = 1 << 16;
/// Most tokens that end a title.
pub const MAX_TITLE_END: usize = 64;

/// Documents one after the other; 4 bytes per token, or none for tokens that lie in files.
#[derive(Debug, Clone, Default)]
pub struct Corpus {
    pieces: Vec<Piece>,
    /// End of each document among all tokens.
    pub(super) ends: Vec<u32>,
    /// The names and titles of the documents, one after the other; empty while no document has either.
    pub(super) names: Vec<u8>,
    /// Per document: where its name and its title end in `names`.
    pub(super) name_ends: Vec<(u64, u64)>,
    pub(super) title_end: Vec<Token>,
}

/// Whole documents.
#[derive(Debug, Clone)]
enum Piece {
    Memory(Vec<Token>),
    /// Little-endian u32 in a file, from `offset` on; read when they are needed.
    File {
        path: PathBuf,
        offset: u64,
        tokens: usize,
    },
}

impl Corpus {
    /// Checks ids of document `number` from token `first` on, as [`Corpus::push`] does.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an id above [`MAX_TOKEN`].
    pub fn check(ids: &[Token], first: usize, number: u64) -> Result<()> {
        let Some(at) = ids.iter().position(|&id| id > MAX_TOKEN) else { return Ok(()) };
        Err(Error::invalid(
            format!("token {} of document {number}", first + at),
            format!("0 … {MAX_TOKEN}"),
            ids[at],
            "the index takes vocabularies of up to 2^20 ids",
        ))
    }

    /// Appends a document, which may be empty.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an id above [`MAX_TOKEN`], or when tokens and documents no longer fit 32 bits.
    pub fn push(&mut self, document: &[Token]) -> Result<()> {
        Self::check(document, 0, self.ends.len() as u64)?;
        self.check_room(document.len(), 1)?;
        match self.pieces.last_mut() {
            Some(Piece::Memory(tokens)) => tokens.extend_from_slice(document),
            _ => self.pieces.push(Piece::Memory(document.to_vec())),
        }
        self.ends.push((self.tokens() + document.len()) as u32);
        Ok(())
    }

    /// Appends documents of these lengths whose tokens lie in a file, little-endian u32 from byte `offset` on, each with
    /// its name and title unless `names` is empty. They are read once now and again by the build; the file must not change
    /// until then.
    ///
    /// # Errors
    /// As [`Corpus::push`]; [`Error::InvalidArgument`] for a file that cannot be read or is too short.
    pub fn push_file(
        &mut self,
        path: &Path,
        offset: u64,
        lengths: &[u32],
        names: &[(String, String)],
    ) -> Result<()> {
        if !names.is_empty() && names.len() != lengths.len() {
            return Err(Error::invalid(
                "the number of names",
                lengths.len().to_string(),
                names.len(),
                "give each document one, or none at all",
            ));
        }
        let tokens = lengths.iter().map(|&length| length as usize).sum();
        self.check_room(tokens, lengths.len())?;
        // The document that the next token belongs to, and how many of its tokens were read.
        let (mut number, mut passed) = (0, 0);
        read_ids(path, offset, tokens, |mut ids| {
            while let Some(left) = lengths.get(number).map(|&length| length as usize - passed) {
                let (some, rest) = ids.split_at(left.min(ids.len()));
                Self::check(some, passed, (self.ends.len() + number) as u64)?;
                if some.len() < left {
                    passed += some.len();
                    return Ok(());
                }
                (number, passed, ids) = (number + 1, 0, rest);
            }
            Ok::<_, Error>(())
        })?;
        self.pieces.push(Piece::File { path: path.to_owned(), offset, tokens });
        for (i, length) in lengths.iter().enumerate() {
            self.ends.push(self.ends.last().copied().unwrap_or(0) + length);
            if let Some((name, title)) = names.get(i) {
                self.name_last(name, title);
            }
        }
        Ok(())
    }

    fn check_room(&self, tokens: usize, documents: usize) -> Result<()> {
        let rows = self.tokens() + tokens + self.ends.len() + documents;
        if rows < u32::MAX as usize {
            return Ok(());
        }
        Err(Error::invalid(
            "the number of tokens and documents of one index",
            format!("below {}", u32::MAX),
            rows,
            "cut the corpus into several indexes and query them together",
        ))
    }

    /// Gives the last document a name and a title, as text: [`crate::index::Index::name`] tells them. Documents without
    /// have empty ones.
    pub fn name_last(&mut self, name: &str, title: &str) {
        if self.ends.is_empty() || (name.is_empty() && title.is_empty()) {
            return;
        }
        let unnamed = (self.names.len() as u64, self.names.len() as u64);
        self.name_ends.resize(self.ends.len() - 1, unnamed);
        self.names.extend_from_slice(name.as_bytes());
        let middle = self.names.len() as u64;
        self.names.extend_from_slice(title.as_bytes());
        self.name_ends.push((middle, self.names.len() as u64));
    }

    /// Declares the tokens that end the title with which documents begin.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than [`MAX_TITLE_END`] tokens.
    pub fn set_title_end(&mut self, ids: &[Token]) -> Result<()> {
        if ids.len() > MAX_TITLE_END {
            let expected = format!("at most {MAX_TITLE_END} tokens");
            return Err(Error::invalid("the end of titles", expected, ids.len(), "choose a shorter mark"));
        }
        self.title_end = ids.to_vec();
        Ok(())
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.ends.len()
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ends.last().copied().unwrap_or(0) as usize
    }

    /// Document `d` if its tokens are in memory; none of those that lie in a file.
    ///
    /// # Panics
    /// If `d ≥ documents()`.
    pub fn document(&self, d: usize) -> &[Token] {
        let (mut start, mut end) =
            (if d == 0 { 0 } else { self.ends[d - 1] as usize }, self.ends[d] as usize);
        for piece in &self.pieces {
            match piece {
                Piece::Memory(tokens) if end <= tokens.len() => return &tokens[start..end],
                Piece::File { tokens, .. } if end <= *tokens => return &[],
                Piece::Memory(_) | Piece::File { .. } => {}
            }
            let passed = piece.tokens();
            (start, end) = (start.saturating_sub(passed), end - passed);
        }
        &[]
    }

    /// Hands over all tokens in order, in slices of any size.
    pub(super) fn read<E: From<Error>>(
        &self,
        mut each: impl FnMut(&[Token]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.pieces.iter().try_for_each(|piece| piece.read(&mut each))
    }

    /// Hands over all tokens in order, in slices of one document each, which may be a part of it; with each the end of the
    /// place where it stands when every document is reversed and followed by a separator.
    pub(super) fn read_reversed(&self, mut each: impl FnMut(&[Token], usize)) -> Result<()> {
        let (mut document, mut start, mut at) = (0, 0, 0);
        self.read(|mut tokens| {
            while !tokens.is_empty() {
                while self.ends[document] as usize == at {
                    (document, start) = (document + 1, at);
                }
                let end = self.ends[document] as usize;
                let (some, rest) = tokens.split_at(tokens.len().min(end - at));
                each(some, document + start + (end - at));
                at += some.len();
                tokens = rest;
            }
            Ok(())
        })
    }

    /// Token ids that occur, ascending, and the symbol of each id (1 + its rank; 0 where it does not occur).
    pub(super) fn alphabet(&self) -> Result<(Vec<Token>, Vec<u32>)> {
        let mut symbols = vec![0u32; 1];
        self.read(|tokens| {
            for &id in tokens {
                if id as usize >= symbols.len() {
                    symbols.resize(id as usize + 1, 0);
                }
                symbols[id as usize] = 1;
            }
            Ok(())
        })?;
        let mut ids = Vec::new();
        for (id, symbol) in symbols.iter_mut().enumerate().filter(|(_, symbol)| **symbol == 1) {
            ids.push(id as Token);
            *symbol = ids.len() as u32;
        }
        Ok((ids, symbols))
    }
}

impl Piece {
    fn tokens(&self) -> usize {
        match self {
            Piece::Memory(tokens) => tokens.len(),
            Piece::File { tokens, .. } => *tokens,
        }
    }

    fn read<E: From<Error>>(&self, mut each: impl FnMut(&[Token]) -> Result<(), E>) -> Result<(), E> {
        let (path, offset, tokens) = match self {
            Piece::Memory(tokens) => return each(tokens),
            Piece::File { path, offset, tokens } => (path, *offset, *tokens),
        };
        read_ids(path, offset, tokens, |ids| {
            if let Some(id) = ids.iter().find(|&&id| id > MAX_TOKEN) {
                return Err(changed(format!("{}: a token id of {id}", path.display())).into());
            }
            each(ids)
        })
    }
}

/// Hands over the ids of a file in slices.
fn read_ids<E: From<Error>>(
    path: &Path,
    offset: u64,
    tokens: usize,
    mut each: impl FnMut(&[Token]) -> Result<(), E>,
) -> Result<(), E> {
    let told = |error| unreadable(path, error);
    let mut file = File::open(path).map_err(told)?;
    file.seek(SeekFrom::Start(offset)).map_err(told)?;
    let at_once = tokens.min(READ_AT_ONCE);
    let (mut bytes, mut ids) = (vec![0; at_once * 4], Vec::with_capacity(at_once));
    for first in (0..tokens).step_by(READ_AT_ONCE) {
        let some = &mut bytes[..(tokens - first).min(READ_AT_ONCE) * 4];
        file.read_exact(some).map_err(told)?;
        ids.clear();
        ids.extend(some.as_chunks::<4>().0.iter().map(|word| Token::from_le_bytes(*word)));
        each(&ids)?;
    }
    Ok(())
}

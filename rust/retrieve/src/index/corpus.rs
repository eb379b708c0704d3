//! The documents of an index to be built.

use crate::index::failure::{changed, unreadable};
use draftwood_base::{Error, Result, Token};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Largest token id that an index takes.
pub const MAX_TOKEN: Token = (1 << 20) - 1;
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
    /// Checks the ids of document `number`, as [`Corpus::push`] does.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an id above [`MAX_TOKEN`].
    pub fn check(document: &[Token], number: u64) -> Result<()> {
        let Some(at) = document.iter().position(|&id| id > MAX_TOKEN) else { return Ok(()) };
        Err(Error::invalid(
            format!("token {at} of document {number}"),
            format!("0 … {MAX_TOKEN}"),
            document[at],
            "the index takes vocabularies of up to 2^20 ids",
        ))
    }

    /// Appends a document, which may be empty.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an id above [`MAX_TOKEN`], or when tokens and documents no longer fit 32 bits.
    pub fn push(&mut self, document: &[Token]) -> Result<()> {
        Self::check(document, self.ends.len() as u64)?;
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
        let ids = read_ids(path, offset, tokens).map_err(|error| unreadable(path, error))?;
        let mut rest = &ids[..];
        for (number, &length) in (self.ends.len() as u64..).zip(lengths) {
            let (document, after) = rest.split_at(length as usize);
            Self::check(document, number)?;
            rest = after;
        }
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

    /// Hands over all tokens in order, in slices of whole documents.
    pub(super) fn read<E: From<Error>>(
        &self,
        mut each: impl FnMut(&[Token]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.pieces.iter().try_for_each(|piece| piece.read(&mut each))
    }

    /// Hands over every document in order.
    pub(super) fn read_documents(&self, mut each: impl FnMut(&[Token])) -> Result<()> {
        let (mut document, mut start) = (0, 0u32);
        self.read(|tokens| {
            let (first, end) = (start, start + tokens.len() as u32);
            while let Some(&next) = self.ends.get(document).filter(|&&next| next <= end) {
                each(&tokens[(start - first) as usize..(next - first) as usize]);
                (document, start) = (document + 1, next);
            }
            Ok(())
        })?;
        // Empty documents behind the last token, or a corpus of nothing else.
        (document..self.ends.len()).for_each(|_| each(&[]));
        Ok(())
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
        let ids = read_ids(path, offset, tokens).map_err(|error| unreadable(path, error))?;
        if let Some(id) = ids.iter().find(|&&id| id > MAX_TOKEN) {
            return Err(changed(format!("{}: a token id of {id}", path.display())).into());
        }
        each(&ids)
    }
}

fn read_ids(path: &Path, offset: u64, tokens: usize) -> io::Result<Vec<Token>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; tokens * 4];
    file.read_exact(&mut bytes)?;
    let (words, _) = bytes.as_chunks::<4>();
    Ok(words.iter().map(|word| Token::from_le_bytes(*word)).collect())
}

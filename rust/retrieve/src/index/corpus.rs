//! The documents of an index to be built.

use draftwood_base::{Error, Result, Token};

/// Largest token id that an index takes.
pub const MAX_TOKEN: Token = (1 << 20) - 1;
/// Most tokens that end a title.
pub const MAX_TITLE_END: usize = 64;

/// Documents one after the other; 4 bytes per token.
#[derive(Debug, Clone, Default)]
pub struct Corpus {
    pub(super) tokens: Vec<Token>,
    /// End of each document in `tokens`.
    pub(super) ends: Vec<u32>,
    largest: Token,
    /// The names and titles of the documents, one after the other; empty while no document has either.
    pub(super) names: Vec<u8>,
    /// Per document: where its name and its title end in `names`.
    pub(super) name_ends: Vec<(u64, u64)>,
    pub(super) title_end: Vec<Token>,
}

impl Corpus {
    /// Appends a document, which may be empty.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an id above [`MAX_TOKEN`], or when tokens and documents no longer fit 32 bits.
    pub fn push(&mut self, document: &[Token]) -> Result<()> {
        if let Some(at) = document.iter().position(|&id| id > MAX_TOKEN) {
            return Err(Error::invalid(
                format!("token {at} of document {}", self.ends.len()),
                format!("0 … {MAX_TOKEN}"),
                document[at],
                "the index takes vocabularies of up to 2^20 ids",
            ));
        }
        let rows = self.tokens.len() + document.len() + self.ends.len() + 1;
        if rows >= u32::MAX as usize {
            return Err(Error::invalid(
                "the number of tokens and documents of one index",
                format!("below {}", u32::MAX),
                rows,
                "cut the corpus into several indexes and query them together",
            ));
        }
        self.tokens.extend_from_slice(document);
        self.ends.push(self.tokens.len() as u32);
        self.largest = document.iter().copied().fold(self.largest, Token::max);
        Ok(())
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
            return Err(Error::invalid("the end of titles", expected, ids.len(), ""));
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
        self.tokens.len()
    }

    /// Document `d`.
    ///
    /// # Panics
    /// If `d ≥ documents()`.
    pub fn document(&self, d: usize) -> &[Token] {
        &self.tokens[self.start(d)..self.ends[d] as usize]
    }

    pub(super) fn start(&self, d: usize) -> usize {
        if d == 0 { 0 } else { self.ends[d - 1] as usize }
    }

    /// Token ids that occur, ascending, and the symbol of each id (1 + its rank; 0 where it does not occur).
    pub(super) fn alphabet(&self) -> (Vec<Token>, Vec<u32>) {
        let mut symbols = vec![0u32; self.largest as usize + 1];
        for &id in &self.tokens {
            symbols[id as usize] = 1;
        }
        let mut ids = Vec::new();
        for (id, symbol) in symbols.iter_mut().enumerate().filter(|(_, symbol)| **symbol == 1) {
            ids.push(id as Token);
            *symbol = ids.len() as u32;
        }
        (ids, symbols)
    }
}

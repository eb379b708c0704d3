//! All suffixes of a growing text that occur in the corpus.

use crate::index::{Index, Rows};
use draftwood_base::{Result, Token};

/// A suffix of the text that occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Where it starts in the text.
    pub start: u64,
    /// Its rows in the index.
    pub rows: Rows,
}

/// Follows a text token by token and keeps the rows of every suffix that occurs, the longest first.
///
/// Suffixes that occur equally often share their occurrences for ever, whatever follows; only the longest of them is
/// kept. So a shorter suffix in the list occurs more often than the one before it.
///
/// Cost: one step per kept suffix and appended token, all of them together.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    matches: Vec<Match>,
    rows: Vec<Rows>,
    ids: Vec<Token>,
    length: u64,
}

impl Matcher {
    /// Appends one token of the text.
    ///
    /// # Errors
    /// As [`Index::extend`]; the matcher is then empty and starts anew.
    pub fn append(&mut self, index: &Index, id: Token) -> Result<()> {
        self.matches.push(Match { start: self.length, rows: index.start() });
        self.length += 1;
        self.rows.clear();
        self.rows.extend(self.matches.iter().map(|m| m.rows));
        self.ids.clear();
        self.ids.resize(self.rows.len(), id);
        if let Err(error) = index.extend_all(&mut self.rows, &self.ids) {
            self.matches.clear();
            return Err(error);
        }
        let (mut rows, mut before) = (self.rows.iter(), 0);
        self.matches.retain_mut(|m| {
            m.rows = rows.next().copied().unwrap_or_default();
            let keep = m.rows.count() > before;
            before = before.max(m.rows.count());
            keep
        });
        Ok(())
    }

    /// The suffixes that occur, longest first, their counts strictly growing.
    pub fn matches(&self) -> &[Match] {
        &self.matches
    }

    /// Tokens of the longest suffix that occurs.
    pub fn longest(&self) -> u64 {
        self.matches.first().map_or(0, |m| self.length - m.start)
    }

    /// Forgets the text.
    pub fn clear(&mut self) {
        self.matches.clear();
        self.length = 0;
    }
}

//! The suffixes of a text that occur in a corpus, and what follows them there.

use crate::index::{Followers, Group, Rows, add_up, occurrences};
use draftwood_base::{Result, Token};

/// A suffix that occurs: its number of tokens and its rows in each part of the index.
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub length: usize,
    pub rows: Vec<Rows>,
}

impl Match {
    fn count(&self) -> u64 {
        occurrences(&self.rows)
    }
}

/// From the suffixes of a text that occur, longest first, to those of the text and one more token. Of suffixes that
/// occur equally often the longest stands for all: whatever follows, they share their occurrences.
pub(super) fn extend(index: &Group, matches: &mut Vec<Match>, id: Token) -> Result<()> {
    matches.push(Match { length: 0, rows: index.parts().iter().map(|part| part.start()).collect() });
    let (mut rows, ids) = (Vec::with_capacity(matches.len()), vec![id; matches.len()]);
    for (p, part) in index.parts().iter().enumerate() {
        rows.clear();
        rows.extend(matches.iter().map(|found| found.rows[p]));
        part.extend_all(&mut rows, &ids)?;
        for (found, rows) in matches.iter_mut().zip(&rows) {
            found.rows[p] = *rows;
        }
    }
    let mut before = 0;
    matches.retain_mut(|found| {
        found.length += 1;
        let keep = found.count() > before;
        before = before.max(found.count());
        keep
    });
    Ok(())
}

/// The tokens that follow an n-gram with these rows, by falling count, of equals the lower id first. Counts are in
/// 256ths, so that samples of several parts can be added. Returns how many occurrences there are, ends included.
pub(super) fn count_followers(
    index: &Group,
    rows: &[Rows],
    max_rows: u32,
    followers: &mut Followers,
    counted: &mut Vec<(Token, u64)>,
) -> Result<u64> {
    counted.clear();
    let mut all = 0;
    for (part, &rows) in index.parts().iter().zip(rows) {
        part.next_sampled(rows, max_rows, followers)?;
        // A part from which a sample was drawn speaks for all its rows.
        let heard: u64 = followers.counts().iter().map(|&count| u64::from(count)).sum::<u64>()
            + u64::from(followers.document_ends());
        let each = (u64::from(rows.count()) << 8).checked_div(heard).unwrap_or(0);
        all += u64::from(rows.count()) << 8;
        counted.extend(
            followers.ids().iter().zip(followers.counts()).map(|(&id, &c)| (id, u64::from(c) * each)),
        );
    }
    add_up(counted);
    counted.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    Ok(all)
}

/// The suffixes of one text.
#[derive(Default)]
pub(super) struct Suffixes {
    /// Tokens read, and the last ones of them.
    read: usize,
    recent: Vec<Token>,
    /// Longest first.
    matches: Vec<Match>,
}

impl Suffixes {
    pub fn follow(&mut self, index: &Group, tokens: &[Token], longest: usize) -> Result<()> {
        // What lies further back cannot be told apart by matches of that length.
        if !tokens.get(..self.read).is_some_and(|read| read.ends_with(&self.recent)) {
            *self = Self::default();
        }
        let start = self.read.max(tokens.len().saturating_sub(longest));
        if start > self.read {
            self.matches.clear();
        }
        for &token in &tokens[start..] {
            if let Err(error) = extend(index, &mut self.matches, token) {
                *self = Self::default();
                return Err(error);
            }
            // A match that stands for no suffix of at most `longest` tokens is of no use any more.
            let useful = self.matches.iter().rposition(|found| found.length >= longest).unwrap_or(0);
            self.matches.drain(..useful);
        }
        self.read = tokens.len();
        self.recent.clear();
        self.recent.extend_from_slice(&tokens[tokens.len().saturating_sub(longest)..]);
        Ok(())
    }

    /// Those that occur, longest first, none longer than asked for.
    pub fn matches(&self, longest: usize) -> Vec<Match> {
        let capped = |found: &Match| Match { length: found.length.min(longest), rows: found.rows.clone() };
        self.matches.iter().map(capped).collect()
    }
}

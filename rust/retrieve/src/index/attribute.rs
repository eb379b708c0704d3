//! Which parts of a text a corpus holds.

use crate::index::{Group, Matcher, Rows, Tier, occurrences};
use draftwood_base::{Error, Result, Token};

/// A part of a text that occurs in the corpus and lies in no longer one that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// First token.
    pub start: u64,
    /// The token after the last one.
    pub end: u64,
    /// How often it occurs.
    pub count: u64,
    /// Documents and token offsets of its occurrences, at most as many as asked for; none in the tiny tier.
    pub places: Vec<(u64, u32)>,
}

impl Group {
    /// The maximal spans of `ids` of at least `min_length` tokens that occur, in the order of the text. They may
    /// overlap; none contains another.
    ///
    /// Cost: one step per token, part and suffix that occurs with a count of its own (a handful in ordinary text); the
    /// places as [`Group::locate`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a length of 0; as [`crate::index::Index::extend`].
    pub fn attribute(&self, ids: &[Token], min_length: u64, places: usize) -> Result<Vec<Span>> {
        if min_length == 0 {
            return Err(Error::invalid("min_length", "at least 1", 0, "the empty span occurs everywhere"));
        }
        let mut matchers = vec![Matcher::default(); self.parts().len()];
        let mut spans = Vec::new();
        let mut longest = Longest { start: 0, rows: Vec::new() };
        for (end, &id) in ids.iter().enumerate() {
            for (matcher, part) in matchers.iter_mut().zip(self.parts()) {
                matcher.append(part, id)?;
            }
            let end = end as u64;
            let start = matchers.iter().filter_map(|m| m.matches().first()).map(|m| m.start).min();
            let start = start.unwrap_or(end + 1);
            // A span that this token does not lengthen is complete.
            if start > longest.start {
                self.complete(&longest, end, min_length, places, &mut spans)?;
            }
            longest.start = start;
            longest.rows.clear();
            longest.rows.extend(matchers.iter().map(|matcher| match matcher.matches().first() {
                Some(found) if found.start == start => found.rows,
                _ => Rows::default(),
            }));
        }
        self.complete(&longest, ids.len() as u64, min_length, places, &mut spans)?;
        Ok(spans)
    }

    fn complete(
        &self,
        longest: &Longest,
        end: u64,
        min_length: u64,
        places: usize,
        spans: &mut Vec<Span>,
    ) -> Result<()> {
        let length = end.saturating_sub(longest.start);
        if length < min_length {
            return Ok(());
        }
        let (limit, mut places) = (places, Vec::new());
        if limit > 0 && self.tier() != Tier::Tiny {
            self.locate(&longest.rows, length as u32, limit, &mut places)?;
        }
        let count = occurrences(&longest.rows);
        spans.push(Span { start: longest.start, end, count, places });
        Ok(())
    }
}

/// The longest suffix of the text so far that occurs, and its rows in each part.
struct Longest {
    start: u64,
    rows: Vec<Rows>,
}

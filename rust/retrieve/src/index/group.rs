//! Several index files as one.

use crate::index::{Followers, Index, Matcher, NUMBERED, Rows, Tier};
use draftwood_base::{Error, Result, Token};

/// Indexes over parts of a corpus, documents numbered on from one to the next. Counts, followers and places are those
/// of one index over all documents.
pub struct Group {
    parts: Vec<Index>,
    /// Documents before each part.
    before: Vec<u64>,
}

impl Group {
    /// One or more indexes of the same tokenizer; those that store no fingerprint fit all.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for none, or for two tokenizers.
    pub fn new(parts: Vec<Index>) -> Result<Self> {
        if parts.is_empty() {
            return Err(Error::invalid(
                "the number of indexes",
                "at least 1",
                0,
                "pass the path of an index file",
            ));
        }
        let mut known = None;
        for (i, part) in parts.iter().enumerate() {
            let new = part.fingerprint();
            if let (Some(a), Some(b)) = (known, new)
                && a != b
            {
                let hint = "indexes that are queried together need token ids of one tokenizer";
                return Err(Error::invalid(
                    format!("the tokenizer of index {i}"),
                    "that of the others",
                    "another",
                    hint,
                ));
            }
            known = known.or(new);
        }
        let before = parts
            .iter()
            .scan(0, |sum, part| {
                let start = *sum;
                *sum += u64::from(part.documents());
                Some(start)
            })
            .collect();
        Ok(Self { parts, before })
    }

    /// The indexes.
    pub fn parts(&self) -> &[Index] {
        &self.parts
    }

    /// The fingerprint that the parts agree on.
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.parts.iter().find_map(Index::fingerprint)
    }

    /// Number of documents.
    pub fn documents(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.documents())).sum()
    }

    /// Number of tokens.
    pub fn tokens(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.tokens())).sum()
    }

    /// Refuses if a part cannot say where something occurs.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] naming the tier.
    pub fn needs_places(&self, what: &str) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.needs_places(what))
    }

    /// The rows of an n-gram in each part.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn find(&self, ids: &[Token], anchored: bool) -> Result<Vec<Rows>> {
        self.parts.iter().map(|part| part.find(ids, anchored)).collect()
    }

    /// The longest suffix of `ids` that occurs: its number of tokens and its rows, those of the empty one if none does.
    ///
    /// Cost: one step per token, part and suffix with a count of its own, for as many of the last tokens as it takes.
    ///
    /// # Errors
    /// As [`Index::extend`].
    pub fn longest_suffix(&self, ids: &[Token]) -> Result<(usize, Vec<Rows>)> {
        // A suffix that is cut at the left may occur; doubling finds the length where the cut no longer matters.
        let mut taken = 16;
        loop {
            let tail = &ids[ids.len().saturating_sub(taken)..];
            let mut longest = 0;
            for part in &self.parts {
                let mut matcher = Matcher::default();
                tail.iter().try_for_each(|&id| matcher.append(part, id))?;
                longest = longest.max(matcher.longest() as usize);
            }
            if longest < tail.len() || tail.len() == ids.len() {
                return Ok((longest, self.find(&ids[ids.len() - longest..], false)?));
            }
            taken *= 2;
        }
    }

    /// As [`Index::count`], over all parts.
    ///
    /// # Errors
    /// As [`Index::count`].
    pub fn count(&self, ids: &[Token], anchored: bool) -> Result<u64> {
        self.parts.iter().try_fold(0, |sum, part| Ok(sum + u64::from(part.count(ids, anchored)?)))
    }

    /// The tokens that follow the n-gram with these rows: ids ascending with counts, and how often it ends a document.
    /// With `top`, only so many, the most frequent first, of equals the lower id.
    ///
    /// # Errors
    /// As [`Index::next`].
    pub fn next(&self, rows: &[Rows], top: Option<usize>) -> Result<(Vec<Token>, Vec<u64>, u64)> {
        let (mut all, mut ends, mut followers) = (Vec::new(), 0, Followers::default());
        for (part, &rows) in self.parts.iter().zip(rows) {
            part.next(rows, &mut followers)?;
            ends += u64::from(followers.document_ends());
            all.extend(followers.ids().iter().copied().zip(followers.counts().iter().map(|&c| u64::from(c))));
        }
        all.sort_unstable_by_key(|&(id, _)| id);
        all.dedup_by(|next, first| {
            let same = next.0 == first.0;
            if same {
                first.1 += next.1;
            }
            same
        });
        if let Some(top) = top {
            all.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
            all.truncate(top);
        }
        let (ids, counts) = all.into_iter().unzip();
        Ok((ids, counts, ends))
    }

    /// Documents and token offsets of an n-gram, at most `limit`, evenly spaced among all in row order, part after
    /// part, then sorted.
    ///
    /// # Errors
    /// As [`Index::locate`].
    pub fn locate(&self, rows: &[Rows], length: u32, limit: usize) -> Result<Vec<(u64, u32)>> {
        self.needs_places("locate")?;
        let total: u64 = rows.iter().map(|rows| u64::from(rows.count())).sum();
        let taken = total.min(limit as u64);
        let (mut places, mut found) = (Vec::with_capacity(taken as usize), Vec::new());
        let (mut part, mut passed) = (0, 0u64);
        for i in 0..taken {
            let row = (u128::from(i) * u128::from(total) / u128::from(taken)) as u64;
            while row - passed >= u64::from(rows[part].count()) {
                passed += u64::from(rows[part].count());
                part += 1;
            }
            let row = rows[part].start + (row - passed) as u32;
            found.clear();
            self.parts[part].locate(Rows::new(row, row + 1), length, 1, &mut found)?;
            places.extend(
                found.iter().map(|&(document, offset)| (self.before[part] + u64::from(document), offset)),
            );
        }
        places.sort_unstable();
        Ok(places)
    }

    /// The part that holds a document, and its number there.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a document that does not exist.
    pub fn part_of(&self, document: u64) -> Result<(&Index, u32)> {
        if document >= self.documents() {
            let expected = format!("below {}, the number of documents", self.documents());
            return Err(Error::invalid("the document", expected, document, NUMBERED));
        }
        let part = self.before.partition_point(|&before| before <= document) - 1;
        Ok((&self.parts[part], (document - self.before[part]) as u32))
    }

    /// Tokens `start .. stop` of a document.
    ///
    /// # Errors
    /// As [`Index::extract`].
    pub fn extract(&self, document: u64, start: u32, stop: u32) -> Result<Vec<Token>> {
        let (part, document) = self.part_of(document)?;
        let mut out = Vec::new();
        part.extract(document, start, stop, &mut out)?;
        Ok(out)
    }

    /// The whole text of a document, in place of what `out` holds.
    ///
    /// # Errors
    /// As [`Index::extract`].
    pub fn read(&self, document: u64, out: &mut Vec<Token>) -> Result<()> {
        let (part, document) = self.part_of(document)?;
        out.clear();
        part.extract(document, 0, u32::MAX, out)
    }

    /// Appends the documents of all rows, in the order of the rows. Cost: one read per row in the standard tier; as
    /// [`Index::locate`] in the others.
    ///
    /// # Errors
    /// As [`Index::document_of`].
    pub fn documents_of(&self, rows: &[Rows], out: &mut Vec<u64>) -> Result<()> {
        for ((part, before), rows) in self.parts.iter().zip(&self.before).zip(rows) {
            for row in rows.start..rows.end {
                out.push(before + u64::from(part.document_of(row)?));
            }
        }
        Ok(())
    }

    /// Number of tokens of a document.
    ///
    /// # Errors
    /// As [`Index::document_length`].
    pub fn document_length(&self, document: u64) -> Result<u32> {
        let (part, document) = self.part_of(document)?;
        part.document_length(document)
    }

    /// The poorest tier of the parts.
    pub fn tier(&self) -> Tier {
        self.parts.iter().map(Index::tier).min_by_key(|&tier| tier as u32).unwrap_or(Tier::Tiny)
    }
}

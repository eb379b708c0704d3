//! Several index files as one. What is found goes into buffers of the caller, so that nothing is allocated once they have
//! grown, and any number of threads may ask.

use crate::index::{Followers, Index, Matcher, NUMBERED, Rows, Tier, occurrences};
use draftwood_base::{Error, Ragged, Result, Token};
use std::cmp::Reverse;

/// How many n-grams further on the rows are asked for.
const AHEAD: usize = 8;

/// The followers of n-grams in all indexes of a group, and the memory to find them; reused from query to query.
#[derive(Debug, Clone, Default)]
pub struct FollowerLists {
    part: Followers,
    all: Vec<(Token, u64)>,
    lists: Ragged<(Token, u64)>,
    ends: Vec<u64>,
}

impl FollowerLists {
    /// The followers of the `i`-th n-gram with their counts: ids ascending, with `top` by falling count.
    ///
    /// # Panics
    /// If there were no more than `i` n-grams.
    pub fn list(&self, i: usize) -> &[(Token, u64)] {
        self.lists.row(i)
    }

    /// How often the `i`-th n-gram ends a document instead.
    ///
    /// # Panics
    /// As [`FollowerLists::list`].
    pub fn document_ends(&self, i: usize) -> u64 {
        self.ends[i]
    }
}

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

    /// Documents before each part.
    pub(super) fn before(&self) -> &[u64] {
        &self.before
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

    /// Appends the rows of an n-gram in each part.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn find(&self, ids: &[Token], anchored: bool, out: &mut Vec<Rows>) -> Result<()> {
        self.parts.iter().try_for_each(|part| {
            out.push(part.find(ids, anchored)?);
            Ok(())
        })
    }

    /// [`Group::find`] for many n-grams at once, of any lengths, one after the other: their cache misses overlap.
    ///
    /// # Errors
    /// As [`Index::find`]; `out` is then as it was.
    pub fn find_all(&self, ngrams: &[&[Token]], anchored: bool, out: &mut Vec<Rows>) -> Result<()> {
        let (first, parts) = (out.len(), self.parts.len());
        out.resize(first + ngrams.len() * parts, Rows::default());
        let found = &mut out[first..];
        let done = self.parts.iter().enumerate().try_for_each(|(p, part)| {
            part.each_found(ngrams, anchored, |ngram, rows| found[ngram * parts + p] = rows)
        });
        if done.is_err() {
            out.truncate(first);
        }
        done
    }

    /// The longest suffix of `ids` that occurs: its number of tokens, and how often it does; the empty one, if none does,
    /// as often as there are tokens. `matcher` starts anew, and the suffix' rows in each part are appended to `rows`.
    ///
    /// Cost: one step per token, part and suffix with a count of its own, for as many of the last tokens as it takes.
    ///
    /// # Errors
    /// As [`Index::extend`].
    pub fn longest_suffix(
        &self,
        ids: &[Token],
        matcher: &mut Matcher,
        rows: &mut Vec<Rows>,
    ) -> Result<(usize, u64)> {
        // A suffix that is cut at the left may occur; doubling finds the length where the cut no longer matters.
        let mut taken = 16;
        loop {
            let tail = &ids[ids.len().saturating_sub(taken)..];
            let mut longest = 0;
            for part in &self.parts {
                matcher.clear();
                tail.iter().try_for_each(|&id| matcher.append(part, id))?;
                longest = longest.max(matcher.longest() as usize);
            }
            if longest < tail.len() || tail.len() == ids.len() {
                let (suffix, first) = (&ids[ids.len() - longest..], rows.len());
                self.find(suffix, false, rows)?;
                let count = if longest == 0 { self.tokens() } else { occurrences(&rows[first..]) };
                return Ok((longest, count));
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

    /// Appends the count of each of many n-grams, of any lengths: their cache misses overlap.
    ///
    /// # Errors
    /// As [`Index::count`]; `out` is then as it was.
    pub fn count_all(&self, ngrams: &[&[Token]], anchored: bool, out: &mut Vec<u64>) -> Result<()> {
        let first = out.len();
        out.resize(first + ngrams.len(), 0);
        let counts = &mut out[first..];
        let done = self.parts.iter().try_for_each(|part| {
            part.each_found(ngrams, anchored, |ngram, rows| {
                counts[ngram] += u64::from(part.occurrences_of(ngrams[ngram], rows, anchored));
            })
        });
        if done.is_err() {
            out.truncate(first);
        }
        done
    }

    /// The tokens that follow the n-gram with these rows, in place of what `out` holds. With `top`, only so many, the most
    /// frequent first, of equals the lower id.
    ///
    /// # Errors
    /// As [`Index::next`].
    pub fn next(&self, rows: &[Rows], top: Option<usize>, out: &mut FollowerLists) -> Result<()> {
        self.own(rows, 1)?;
        self.next_all(rows, top, out)
    }

    /// [`Group::next`] for many n-grams: `rows` has those of each part for each of them, one n-gram after the other. What
    /// the next ones read is asked for while one is read.
    ///
    /// # Errors
    /// As [`Group::next`].
    pub fn next_all(&self, rows: &[Rows], top: Option<usize>, out: &mut FollowerLists) -> Result<()> {
        let parts = self.parts.len();
        self.own(rows, rows.len() / parts)?;
        out.lists.clear();
        out.ends.clear();
        let ask = |ahead: &[Rows]| self.parts.iter().zip(ahead).for_each(|(part, &rows)| part.ask_rows(rows));
        rows.chunks_exact(parts).take(AHEAD).for_each(ask);
        for (i, mine) in rows.chunks_exact(parts).enumerate() {
            if let Some(ahead) = rows.get((i + AHEAD) * parts..(i + AHEAD + 1) * parts) {
                ask(ahead);
            }
            self.gather(mine, top, out)?;
        }
        Ok(())
    }

    /// Appends the followers of one n-gram.
    fn gather(&self, rows: &[Rows], top: Option<usize>, out: &mut FollowerLists) -> Result<()> {
        let FollowerLists { part: followers, all, lists, ends } = out;
        all.clear();
        let mut ended = 0;
        for (part, &rows) in self.parts.iter().zip(rows) {
            part.next(rows, followers)?;
            ended += u64::from(followers.document_ends());
            all.extend(followers.ids().iter().copied().zip(followers.counts().iter().map(|&c| u64::from(c))));
        }
        if self.parts.len() > 1 {
            add_up(all);
        }
        if let Some(top) = top {
            let order = |&(id, count): &(Token, u64)| (Reverse(count), id);
            if (1..all.len()).contains(&top) {
                all.select_nth_unstable_by_key(top - 1, order);
            }
            all.truncate(top);
            all.sort_unstable_by_key(order);
        }
        lists.extend_row(all.iter().copied());
        ends.push(ended);
        Ok(())
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

    /// Appends tokens `start .. stop` of a document to `out`.
    ///
    /// # Errors
    /// As [`Index::extract`].
    pub fn extract(&self, document: u64, start: u32, stop: u32, out: &mut Vec<Token>) -> Result<()> {
        let (part, document) = self.part_of(document)?;
        part.extract(document, start, stop, out)
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

/// Ids ascending, each once, with the sum of its counts.
pub(crate) fn add_up(counted: &mut Vec<(Token, u64)>) {
    counted.sort_unstable_by_key(|&(id, _)| id);
    counted.dedup_by(|next, first| {
        let same = next.0 == first.0;
        if same {
            first.1 += next.1;
        }
        same
    });
}

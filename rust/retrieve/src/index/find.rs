//! From n-grams to rows and counts, one by one and many at once.

use crate::index::extend::BATCH;
use crate::index::store::Fault;
use crate::index::{Index, Rows};
use draftwood_base::{Result, Token};

/// An n-gram on its way: its number, and how many of its tokens have been read.
#[derive(Debug, Clone, Copy, Default)]
struct Walk {
    ngram: usize,
    read: usize,
}

impl Index {
    /// How often an n-gram occurs; the empty one as often as there are tokens, or documents if `anchored`: only at
    /// the start of documents.
    ///
    /// # Errors
    /// [`draftwood_base::Error::IndexFormat`] when a block that is touched is damaged.
    pub fn count(&self, ids: &[Token], anchored: bool) -> Result<u32> {
        Ok(self.occurrences_of(ids, self.find(ids, anchored)?, anchored))
    }

    /// The rows of an n-gram.
    ///
    /// # Errors
    /// As [`Index::count`].
    pub fn find(&self, ids: &[Token], anchored: bool) -> Result<Rows> {
        let mut rows = self.begin(anchored);
        for &id in ids {
            if rows.is_empty() {
                break;
            }
            rows = self.extend(rows, id)?;
        }
        Ok(rows)
    }

    /// [`Index::find`] for many n-grams at once, of any lengths: their cache misses overlap. Appends one entry per n-gram
    /// to `out`.
    ///
    /// # Errors
    /// As [`Index::count`]; `out` is then as it was.
    pub fn find_all(&self, ngrams: &[&[Token]], anchored: bool, out: &mut Vec<Rows>) -> Result<()> {
        let first = out.len();
        out.resize(first + ngrams.len(), Rows::default());
        let found = &mut out[first..];
        let done = self.each_found(ngrams, anchored, |ngram, rows| found[ngram] = rows);
        if done.is_err() {
            out.truncate(first);
        }
        done
    }

    /// Calls `put` with the rows of every n-gram, in the order in which their walks end. A lane that is free takes the
    /// next n-gram, so that as many walks as possible wait for memory together.
    pub(super) fn each_found(
        &self,
        ngrams: &[&[Token]],
        anchored: bool,
        mut put: impl FnMut(usize, Rows),
    ) -> Result<()> {
        let (mut walks, mut rows, mut ids) = ([Walk::default(); BATCH], [Rows::default(); BATCH], [0; BATCH]);
        let (begin, mut live, mut next) = (self.begin(anchored), 0, 0);
        loop {
            while live < BATCH && next < ngrams.len() {
                if ngrams[next].is_empty() || begin.is_empty() {
                    put(next, begin);
                } else {
                    (walks[live], rows[live]) = (Walk { ngram: next, read: 0 }, begin);
                    live += 1;
                }
                next += 1;
            }
            if live == 0 {
                return Ok(());
            }
            for (id, walk) in ids.iter_mut().zip(&walks[..live]) {
                *id = ngrams[walk.ngram][walk.read];
            }
            self.steps(&mut rows[..live], &ids[..live]).map_err(|fault: Fault| self.store.explain(fault))?;
            let mut going = 0;
            for i in 0..live {
                let (mut walk, rows_of) = (walks[i], rows[i]);
                walk.read += 1;
                if rows_of.is_empty() || walk.read == ngrams[walk.ngram].len() {
                    put(walk.ngram, rows_of);
                } else {
                    (walks[going], rows[going]) = (walk, rows_of);
                    going += 1;
                }
            }
            live = going;
        }
    }

    /// How often the n-gram with these rows occurs: the empty one's rows include those of separators.
    pub(super) fn occurrences_of(&self, ids: &[Token], rows: Rows, anchored: bool) -> u32 {
        match ids {
            [] if anchored => self.documents(),
            [] => self.tokens(),
            _ => rows.count(),
        }
    }

    fn begin(&self, anchored: bool) -> Rows {
        if anchored { self.document_start() } else { self.start() }
    }
}

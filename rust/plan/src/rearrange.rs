//! Texts that go back to an earlier row, or begin as a prefix of another: what searches do between steps with rows that
//! they have kept.

use crate::session::{Phase, Session};
use draftwood_base::{Error, Result, SequenceId, Token};

/// What becomes of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The text.
    pub source: SequenceId,
    /// Whether a new text is made, and `source` stays as it is.
    pub fork: bool,
    /// Its cached rows that stay.
    pub rows: u32,
    /// The token behind them that the next step feeds; without one the text waits.
    pub next: Option<Token>,
}

impl Session {
    /// Carries out the changes in order. Returns the text of each, `source` itself for one that has ended meanwhile.
    ///
    /// # Errors
    /// [`Error::Internal`] within a step, or for more rows than a text has in the cache.
    pub fn rearrange(&mut self, changes: &[Change]) -> Result<Vec<SequenceId>> {
        if !matches!(self.phase, Phase::Idle) {
            return Err(Error::Internal("rearrange() must follow a commit".into()));
        }
        changes.iter().map(|change| self.change(change)).collect()
    }

    fn change(&mut self, &Change { source, fork, rows, next }: &Change) -> Result<SequenceId> {
        let Some(at) = self.running.iter().position(|sequence| sequence.id == source) else {
            return Ok(source); // Cancelled between the commit and this call.
        };
        let (id, at) = if fork {
            let id = self.store.fork_at(source, rows)?;
            let text = self.running[at].fork(id);
            self.running.push(text);
            (id, self.running.len() - 1)
        } else {
            self.store.truncate(source, rows)?;
            (source, at)
        };
        let tokens = &mut self.running[at].tokens;
        tokens.truncate(rows as usize);
        tokens.extend(next);
        Ok(id)
    }
}

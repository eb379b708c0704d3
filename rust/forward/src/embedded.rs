//! Rows that are given as vectors instead of tokens, such as mixtures of several tokens' embeddings.

use draftwood_base::{Error, Result};

/// Vectors that take the place of the token embeddings of some rows of a step. A learned position is still added.
///
/// Their tokens are not looked at, but they must exist. What is cached for such a row is that of its vector: no other
/// text may take it for that of the token.
#[derive(Debug, Clone, Copy, Default)]
pub struct Embedded<'a> {
    /// [n] rows of the plan, ascending.
    pub rows: &'a [i32],
    /// [n, hidden]; a value that is not finite makes its row's logits NaN.
    pub vectors: &'a [f32],
}

impl<'a> Embedded<'a> {
    /// Refuses what does not fit a step of `rows` rows.
    pub(crate) fn check(&self, rows: usize, hidden: usize) -> Result<()> {
        let is_row = |&row: &i32| usize::try_from(row).is_ok_and(|row| row < rows);
        if !self.rows.is_sorted_by(|a, b| a < b) || !self.rows.iter().all(is_row) {
            let expected = format!("ascending and from 0 to below {rows}");
            return Err(Error::invalid("the rows with vectors", expected, format!("{:?}", self.rows), ""));
        }
        if self.vectors.len() != self.rows.len() * hidden {
            let expected = format!("{} rows of {hidden} values", self.rows.len());
            let got = format!("{} values", self.vectors.len());
            return Err(Error::invalid("the vectors of rows", expected, got, ""));
        }
        Ok(())
    }

    /// The vector of a row, if it has one.
    pub(crate) fn of(&self, row: usize, hidden: usize) -> Option<&'a [f32]> {
        let at = self.rows.binary_search(&(row as i32)).ok()?;
        Some(&self.vectors[at * hidden..][..hidden])
    }
}

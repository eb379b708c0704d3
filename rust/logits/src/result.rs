//! What the plan asks of a row, and what the executor answers.

use draftwood_base::{Error, Result};

/// What the plan wants to know of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selector {
    /// Nothing: the head need not run.
    #[default]
    None,
    /// The whole row of logits.
    Full,
}

/// The executor's answer for the rows that are read, in plan order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RowResult<'a> {
    /// Logits `[rows, vocab]`, row major.
    Full {
        /// `rows · vocab` values.
        logits: &'a [f32],
        /// Number of rows.
        rows: usize,
        /// Values per row.
        vocab: usize,
    },
}

impl<'a> RowResult<'a> {
    /// Full rows.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] unless `logits` holds `rows · vocab` values and `vocab` is 1 … 2^18, the size up to
    /// which sums of weights are exact.
    pub fn full(logits: &'a [f32], rows: usize, vocab: usize) -> Result<Self> {
        if vocab == 0 || vocab > 1 << 18 {
            return Err(Error::invalid(
                "the vocabulary size",
                "1 … 262144",
                vocab,
                "check the head's output shape",
            ));
        }
        if rows.checked_mul(vocab) != Some(logits.len()) {
            return Err(Error::invalid(
                "the logits",
                format!("{rows} rows of {vocab} values"),
                format!("{} values", logits.len()),
                "an executor returns one row per row that the plan reads, in the plan's order",
            ));
        }
        Ok(RowResult::Full { logits, rows, vocab })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        let RowResult::Full { rows, .. } = *self;
        rows
    }

    /// The logits `[vocab]` of row `i`.
    ///
    /// # Panics
    /// If `i ≥ rows()`.
    pub fn row(&self, i: usize) -> &'a [f32] {
        let RowResult::Full { logits, vocab, .. } = *self;
        &logits[i * vocab..][..vocab]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_checked() {
        let logits = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let rows = RowResult::full(&logits, 2, 3).unwrap();
        assert_eq!((rows.rows(), rows.row(1)), (2, &[3.0, 4.0, 5.0][..]));
        for (n, v, text) in [
            (2, 4, "the logits must be 2 rows of 4 values, got 6 values"),
            (usize::MAX, 3, "the logits must be"),
            (6, 0, "the vocabulary size must be 1 … 262144, got 0"),
        ] {
            let error = RowResult::full(&logits, n, v).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}

//! A row after its check, as log-probabilities.

use crate::lse::log_sum_exp;
use crate::scan::scan;
use draftwood_base::{Error, Result, Token};

/// A row whose log p(token) = value − lse. Whoever makes one by its fields has checked the values.
#[derive(Debug, Clone, Copy)]
pub struct LogRow<'a> {
    /// Logits or log-probabilities [V], finite or −∞.
    pub values: &'a [f32],
    /// Their log-sum-exp; 0 for log-probabilities, which are taken as they are.
    pub lse: f64,
}

impl<'a> LogRow<'a> {
    /// A row of logits. One with nothing above −∞ is sound.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for NaN or +∞, with `what` as the row's name.
    pub fn of_logits(values: &'a [f32], what: impl FnOnce() -> String) -> Result<Self> {
        Self::of_summed_logits(values, log_sum_exp(values), what)
    }

    /// A row of logits whose [`log_sum_exp`] is known.
    ///
    /// # Errors
    /// As [`LogRow::of_logits`].
    pub fn of_summed_logits(values: &'a [f32], lse: f64, what: impl FnOnce() -> String) -> Result<Self> {
        // A row with a fault has no finite log-sum-exp, so it is read again only where that is missing.
        if !lse.is_finite() {
            check(values, what)?;
        }
        Ok(Self { values, lse })
    }

    /// A row of log-probabilities, which are returned bit for bit.
    ///
    /// # Errors
    /// As [`LogRow::of_logits`].
    pub fn of_log_probs(values: &'a [f32], what: impl FnOnce() -> String) -> Result<Self> {
        check(values, what)?;
        Ok(Self { values, lse: 0.0 })
    }

    /// The log-probability that one of the values stands for.
    #[inline]
    pub fn of_value(&self, value: f32) -> f32 {
        // A masked row has lse = −∞.
        if self.lse == 0.0 || value == f32::NEG_INFINITY {
            value
        } else {
            (f64::from(value) - self.lse) as f32
        }
    }

    /// The log-probability of a token; −∞ for one that the row does not have.
    #[inline]
    pub fn of(&self, token: Token) -> f32 {
        self.values.get(token as usize).map_or(f32::NEG_INFINITY, |&value| self.of_value(value))
    }

    /// Writes all log-probabilities, [V].
    pub fn write(&self, out: &mut [f32]) {
        for (out, &value) in out.iter_mut().zip(self.values) {
            *out = self.of_value(value);
        }
    }
}

fn check(values: &[f32], what: impl FnOnce() -> String) -> Result<()> {
    match scan(values).fault {
        Some(token) => Err(unsound(what(), values[token as usize], token)),
        None => Ok(()),
    }
}

/// The error for a value of a row that is NaN or +∞.
pub fn unsound(what: String, value: f32, token: Token) -> Error {
    Error::invalid(
        what,
        "finite or -inf",
        format!("{value} at token {token}"),
        "check the model's weights and dtype",
    )
}

//! The rows of a model as log-probabilities.

use draftwood_base::{Error, Result};
use draftwood_logits::{RowResult, log_sum_exp, scan};

/// Rows of a forward that belong to the beams of a search: beam `i` has row `order[i]`.
#[derive(Debug, Clone, Copy)]
pub struct BeamRows<'a> {
    /// All rows, [R, V].
    pub values: RowResult<'a>,
    /// The row of each beam.
    pub order: &'a [u32],
    /// Whether a log-softmax is still to be applied.
    pub are_logits: bool,
}

impl<'a> BeamRows<'a> {
    /// Values per row.
    pub fn vocab(&self) -> usize {
        let RowResult::Full { vocab, .. } = self.values;
        vocab
    }

    /// The row of a beam and what to subtract from it.
    pub(crate) fn row(&self, beam: usize) -> Result<(&'a [f32], f64)> {
        let at = self.order[beam] as usize;
        if at >= self.values.rows() {
            return Err(Error::invalid("a beam's row", format!("below {}", self.values.rows()), at, ""));
        }
        let values = self.values.row(at);
        let lse = if self.are_logits { log_sum_exp(values) } else { 0.0 };
        // A row with a fault has no finite log-sum-exp.
        if (!self.are_logits || !lse.is_finite())
            && let Some(token) = scan(values).fault
        {
            return Err(Error::invalid(
                format!("the row of beam {beam}"),
                "finite or -inf",
                format!("{} at token {token}", values[token as usize]),
                "check the model's weights and dtype",
            ));
        }
        Ok((values, lse))
    }

    /// Writes the log-probabilities [beams, V] of all beams into `out`, the same bits as a beam search over these rows
    /// sees.
    pub(crate) fn write(&self, out: &mut Vec<f32>) -> Result<()> {
        out.clear();
        for beam in 0..self.order.len() {
            let (values, lse) = self.row(beam)?;
            out.extend(values.iter().map(|&value| minus(value, lse)));
        }
        Ok(())
    }

    /// Refuses another number of rows than the search has beams.
    pub(crate) fn check(&self, beams: usize) -> Result<()> {
        match self.order.len() == beams {
            true => Ok(()),
            false => Err(Error::invalid(
                "the number of rows",
                format!("{beams}, one per beam"),
                self.order.len(),
                "",
            )),
        }
    }
}

/// A value of a row as a log-probability.
pub(crate) fn minus(value: f32, lse: f64) -> f32 {
    if lse == 0.0 || value == f32::NEG_INFINITY { value } else { (f64::from(value) - lse) as f32 }
}

//! The rows of a model as log-probabilities.

use draftwood_base::{Error, Result};
use draftwood_logits::{LogRow, RowResult};

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

    /// The row of a beam, checked.
    pub(crate) fn row(&self, beam: usize) -> Result<LogRow<'a>> {
        let at = self.order[beam] as usize;
        if at >= self.values.rows() {
            return Err(Error::invalid("a beam's row", format!("below {}", self.values.rows()), at, ""));
        }
        let (values, name) = (self.values.row(at), || format!("the row of beam {beam}"));
        if self.are_logits { LogRow::of_logits(values, name) } else { LogRow::of_log_probs(values, name) }
    }

    /// Writes the log-probabilities [beams, V] of all beams into `out`, the same bits as a beam search over these rows
    /// sees.
    pub(crate) fn write(&self, out: &mut Vec<f32>) -> Result<()> {
        out.resize(self.order.len() * self.vocab(), 0.0);
        for (beam, out) in out.chunks_exact_mut(self.vocab().max(1)).enumerate() {
            self.row(beam)?.write(out);
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

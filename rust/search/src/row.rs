//! The rows of a step as log-probabilities, without writing them out.

use draftwood_base::{Error, Result, Token};
use draftwood_logits::{LogRow, RowResult, log_sum_exp_and_top_k, top_k, unsound};

/// The rows of a step's live beams, in the order of the beams.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    result: RowResult<'a>,
    /// Rows behind those of the result.
    kept: &'a [f32],
    order: Option<&'a [u32]>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Logits,
    LogProbs,
    Processed,
}

impl<'a> Rows<'a> {
    /// Logits: a log-softmax is applied.
    pub fn logits(result: RowResult<'a>) -> Self {
        Self { result, kept: &[], order: None, kind: Kind::Logits }
    }

    /// Log-probabilities, used as given.
    pub fn log_probs(result: RowResult<'a>) -> Self {
        Self { result, kept: &[], order: None, kind: Kind::LogProbs }
    }

    /// What [`crate::BeamSearch::write_rows`] wrote, after further processors: no processor is applied again.
    pub fn processed(result: RowResult<'a>) -> Self {
        Self { result, kept: &[], order: None, kind: Kind::Processed }
    }

    /// Adds rows of earlier steps, `kept` [any, V]: they count on behind those of the result.
    pub fn with_kept(self, kept: &'a [f32]) -> Self {
        Self { kept, ..self }
    }

    /// Beam `i` has row `order[i]` of the result, or a row that is not known if that is [`Rows::UNKNOWN`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a row that the result does not have.
    pub fn in_order(self, order: &'a [u32]) -> Result<Self> {
        let rows = self.result.rows() + self.kept.len() / self.vocab();
        match order.iter().find(|&&row| row as usize >= rows && row != Self::UNKNOWN) {
            Some(row) => Err(Error::invalid("a beam's row", format!("below {rows}"), row, "")),
            None => Ok(Self { order: Some(order), ..self }),
        }
    }

    /// The row of a beam that nobody has computed, see [`crate::BeamSearch::step_known`].
    pub const UNKNOWN: u32 = u32::MAX;

    /// Whether the row of beam `i` is not known.
    pub(crate) fn is_unknown(&self, i: usize) -> bool {
        self.order.is_some_and(|order| order[i] == Self::UNKNOWN)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.order.map_or(self.result.rows(), <[u32]>::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values per row.
    pub fn vocab(&self) -> usize {
        let RowResult::Full { vocab, .. } = self.result;
        vocab
    }

    pub(crate) fn are_processed(&self) -> bool {
        self.kind == Kind::Processed
    }

    fn values(&self, i: usize) -> &'a [f32] {
        let place = self.order.map_or(i, |order| order[i] as usize);
        match place.checked_sub(self.result.rows()) {
            None => self.result.row(place),
            Some(kept) => &self.kept[kept * self.vocab()..][..self.vocab()],
        }
    }

    /// What is read after row `i`, if that is known.
    fn next(&self, i: usize) -> &'a [f32] {
        let next = i + 1;
        if next < self.len() && !self.is_unknown(next) { self.values(next) } else { &[] }
    }

    /// Row `i`, which has been checked, with its log-sum-exp.
    pub(crate) fn known(&self, i: usize, lse: f64) -> LogRow<'a> {
        LogRow { values: self.values(i), lse }
    }

    /// Log-sum-exp of row `i` of which only `tokens` will be read: log-probabilities are checked there alone.
    pub(crate) fn check_at(&self, i: usize, tokens: &[Token]) -> Result<f64> {
        let values = self.values(i);
        if self.kind == Kind::Logits {
            return Ok(self.row(i)?.lse);
        }
        let value = |token: Token| values.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        match tokens.iter().find(|&&token| value(token).is_nan() || value(token) == f32::INFINITY) {
            Some(&token) => Err(unsound(self.name(i), value(token), token)),
            None => Ok(0.0),
        }
    }

    /// Row `i` after its check; a row with nothing above −inf is sound and has no candidates.
    pub(crate) fn row(&self, i: usize) -> Result<LogRow<'a>> {
        match self.kind {
            Kind::Logits => LogRow::of_logits(self.values(i), || self.name(i)),
            Kind::LogProbs | Kind::Processed => LogRow::of_log_probs(self.values(i), || self.name(i)),
        }
    }

    /// [`Rows::row`], with the k largest values in `top`.
    pub(crate) fn row_and_top(
        &self,
        i: usize,
        k: usize,
        scratch: &mut Vec<f32>,
        top: &mut Vec<(Token, f32)>,
    ) -> Result<LogRow<'a>> {
        let values = self.values(i);
        if self.kind == Kind::Logits {
            let lse = log_sum_exp_and_top_k(values, self.next(i), k, scratch, top);
            return LogRow::of_summed_logits(values, lse, || self.name(i));
        }
        let row = self.row(i)?;
        top_k(values, k, top);
        Ok(row)
    }

    /// What errors call row `i`.
    fn name(&self, i: usize) -> String {
        let what = if self.kind == Kind::Logits { "logits" } else { "log-probabilities" };
        format!("the {what} of beam {i}")
    }
}

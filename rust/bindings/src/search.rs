//! Beam search over rows that Python hands over.

use crate::buffer::{F32Out, LogitRows};
use crate::enter::{enter, lock};
use crate::events::bytes_of;
use draftwood_base::{Error, Result, Token};
use draftwood_logits::RowResult;
use draftwood_sample::Params;
use draftwood_search::{
    self as search, AnyProcessor, BeamConfig, BeamSampling, EarlyStopping, FinishReason, NoRepeatNgrams,
    RepetitionPenalty, Rows, TokenSet,
};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Mutex;

/// (tokens as int32 bytes, score, reason, step scores as float32 bytes, beam indices as int32 bytes).
type Found = (Py<PyBytes>, f32, &'static str, Py<PyBytes>, Py<PyBytes>);

/// One prompt's search; a step takes one row per live beam and tells which beams go on.
#[pyclass(frozen, module = "draftwood._core")]
pub struct BeamSearch(Mutex<search::BeamSearch>);

#[pymethods]
impl BeamSearch {
    /// `early_stopping` None is "never"; `sampling` is (temperature, top_k, top_p, min_p, seed).
    #[new]
    #[pyo3(signature = (prompt, *, num_beams, num_return, max_new_tokens, min_new_tokens, length_penalty, early_stopping, end_tokens, banned, sampling, repetition_penalty, no_repeat_ngram_size))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        prompt: PyBuffer<i32>,
        num_beams: u32,
        num_return: u32,
        max_new_tokens: u32,
        min_new_tokens: u32,
        length_penalty: f64,
        early_stopping: Option<bool>,
        end_tokens: Vec<Token>,
        banned: Vec<Token>,
        sampling: Option<(f32, u32, f32, f32, u64)>,
        repetition_penalty: f32,
        no_repeat_ngram_size: u32,
    ) -> PyResult<Self> {
        let prompt: Vec<Token> = prompt.to_vec(py)?.into_iter().map(|id| id as Token).collect();
        let sampling = sampling.map(|(temperature, top_k, top_p, min_p, seed)| BeamSampling {
            params: Params { temperature, top_k, top_p, min_p },
            seed,
        });
        enter(py, || {
            let config = BeamConfig {
                num_beams,
                num_return,
                max_new_tokens,
                min_new_tokens,
                length_penalty,
                early_stopping: match early_stopping {
                    Some(false) => EarlyStopping::Heuristic,
                    Some(true) => EarlyStopping::WhenFull,
                    None => EarlyStopping::Never,
                },
                end_tokens,
                banned: TokenSet::new(&banned),
                sampling,
            };
            let mut rules = Vec::new();
            if repetition_penalty != 1.0 {
                rules.push(AnyProcessor::new(RepetitionPenalty::new(repetition_penalty)?));
            }
            if no_repeat_ngram_size > 0 {
                rules.push(AnyProcessor::new(NoRepeatNgrams::new(no_repeat_ngram_size)?));
            }
            Ok(Self(Mutex::new(search::BeamSearch::new(config, &prompt, rules)?)))
        })
    }

    /// Beam i has row `rows[i]` of `values` [R, V], which are "logits", "log_probs" or "processed"; returns
    /// (row, token, score) of each beam that goes on, best first.
    fn step(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        rows: Vec<u32>,
        kind: &str,
    ) -> PyResult<Vec<(u32, Token, f32)>> {
        let values = LogitRows::borrow(values)?;
        enter(py, || {
            let rows = rows_of(&values, &rows, kind)?;
            let mut search = lock(&self.0);
            Ok(search.step(&rows)?.iter().map(|s| (s.row, s.token, s.score)).collect())
        })
    }

    /// Writes the log-probabilities [beams, V] after the built-in rules into `out`.
    fn write_rows(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        rows: Vec<u32>,
        kind: &str,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let values = LogitRows::borrow(values)?;
        let mut out = F32Out::borrow(out, "out", rows.len() * values.shape.1)?;
        enter(py, || lock(&self.0).write_rows(&rows_of(&values, &rows, kind)?, out.as_mut_slice()))
    }

    /// Number of live beams.
    #[getter]
    fn live(&self, py: Python<'_>) -> PyResult<usize> {
        enter(py, || Ok(lock(&self.0).live()))
    }

    /// Whether the search has ended.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        enter(py, || Ok(lock(&self.0).is_done()))
    }

    /// The best hypotheses so far, best first.
    fn hypotheses(&self, py: Python<'_>) -> PyResult<Vec<Found>> {
        let found = enter(py, || Ok(lock(&self.0).hypotheses()))?;
        let bytes = |bytes: Vec<u8>| PyBytes::new(py, &bytes).unbind();
        let found = found.into_iter().map(|h| {
            let reason = match h.finish {
                FinishReason::Stop => "stop",
                FinishReason::Length => "length",
                FinishReason::Constraint => "constraint",
            };
            (
                bytes(bytes_of(&h.tokens, u32::to_ne_bytes)),
                h.score,
                reason,
                bytes(bytes_of(&h.step_scores, f32::to_ne_bytes)),
                bytes(bytes_of(&h.beam_indices, u32::to_ne_bytes)),
            )
        });
        Ok(found.collect())
    }
}

fn rows_of<'a>(values: &'a LogitRows, order: &'a [u32], kind: &str) -> Result<Rows<'a>> {
    let result = RowResult::full(values.as_slice(), values.shape.0, values.shape.1)?;
    let rows = match kind {
        "logits" => Rows::logits(result),
        "log_probs" => Rows::log_probs(result),
        "processed" => Rows::processed(result),
        _ => {
            return Err(Error::invalid("the kind of rows", "logits, log_probs or processed", kind, ""));
        }
    };
    rows.in_order(order)
}

//! SEAL: the searches that an engine's steps drive, and the ranking of documents.

use crate::buffer::LogitRows;
use crate::enter::{enter, lock};
use crate::events::bytes_of;
use crate::index::Index;
use draftwood_base::{Error, Locked, Result, Token};
use draftwood_logits::RowResult;
use draftwood_retrieve::index::Group;
use draftwood_retrieve::{self as core, BeamRows, CorpusSearchConfig, Key, Onward, SealConfig, Unigrams};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Arc;

/// (tokens as uint32 bytes, log-probability, count, whether it ends a title).
type Found<'py> = (Bound<'py, PyBytes>, f32, u64, bool);
/// (document, score, (key, what it added) of each).
type Hit = (u64, f64, Vec<(u32, f64)>);
/// (tokens, anchored, log-probability).
type GivenKey = (Vec<Token>, bool, f64);

/// A beam search for n-grams of an index; a step takes one row per live beam and tells which beams go on.
#[pyclass(frozen, module = "draftwood._core")]
pub struct CorpusSearch {
    search: Locked<core::CorpusSearch>,
    group: Arc<Group>,
}

#[pymethods]
impl CorpusSearch {
    #[new]
    #[pyo3(signature = (index, *, beam, length, anchored, title_end, end, stop_at_count, without_last_document))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        index: &Index,
        beam: usize,
        length: usize,
        anchored: bool,
        title_end: Vec<Token>,
        end: Option<Token>,
        stop_at_count: u64,
        without_last_document: bool,
    ) -> PyResult<Self> {
        let group = Arc::clone(&index.group);
        let config = CorpusSearchConfig {
            beam,
            length,
            anchored,
            title_end,
            end,
            stop_at_count,
            without_last_document,
        };
        let search = enter(py, || core::CorpusSearch::new(&group, config))?;
        Ok(Self { search: Locked::new(search), group })
    }

    /// As `BeamSearch.step`.
    fn step(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        rows: Vec<u32>,
        kind: &str,
    ) -> PyResult<Vec<(u32, Token, f32)>> {
        let values = LogitRows::borrow(values)?;
        enter(py, || Ok(told(lock(&self.search).step(&self.group, rows_of(&values, &rows, kind)?)?)))
    }

    /// Number of live beams.
    #[getter]
    fn live(&self, py: Python<'_>) -> PyResult<usize> {
        enter(py, || Ok(lock(&self.search).live()))
    }

    /// Whether the search has ended.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        enter(py, || Ok(lock(&self.search).is_done()))
    }

    /// Every n-gram that was considered.
    fn found<'py>(&self, py: Python<'py>) -> PyResult<Vec<Found<'py>>> {
        let found = enter(py, || Ok(lock(&self.search).found()))?;
        let ids = |ids: &[Token]| PyBytes::new(py, &bytes_of(ids, u32::to_le_bytes));
        Ok(found.iter().map(|one| (ids(&one.ids), one.log_prob, one.count, one.is_complete)).collect())
    }

    /// Log-probabilities [V] of the first token, float32.
    fn first<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let first = enter(py, || Ok(bytes_of(lock(&self.search).first(), f32::to_le_bytes)))?;
        Ok(PyBytes::new(py, &first))
    }
}

/// A search whose texts are given: their log-probabilities.
#[pyclass(frozen, module = "draftwood._core")]
pub struct KeyScorer(Locked<core::KeyScorer>);

#[pymethods]
impl KeyScorer {
    #[new]
    fn new(py: Python<'_>, keys: Vec<Vec<Token>>) -> PyResult<Self> {
        enter(py, || Ok(Self(Locked::new(core::KeyScorer::new(keys)?))))
    }

    /// As `BeamSearch.step`.
    fn step(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        rows: Vec<u32>,
        kind: &str,
    ) -> PyResult<Vec<(u32, Token, f32)>> {
        let values = LogitRows::borrow(values)?;
        enter(py, || Ok(told(lock(&self.0).step(rows_of(&values, &rows, kind)?)?)))
    }

    /// Number of live beams.
    #[getter]
    fn live(&self, py: Python<'_>) -> PyResult<usize> {
        enter(py, || Ok(lock(&self.0).live()))
    }

    /// Whether every key has been read.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        enter(py, || Ok(lock(&self.0).is_done()))
    }

    /// Log-probability of each key.
    fn scores(&self, py: Python<'_>) -> PyResult<Vec<f32>> {
        enter(py, || Ok(lock(&self.0).scores().to_vec()))
    }
}

/// Ranks the documents of an index by keys; returns the keys that were appended (the best unigrams), the weights of all,
/// and the hits.
#[pyfunction]
#[pyo3(signature = (index, keys, unigrams, special, *, use_fm_index_frequency, score_exponent, beta, length_penalty, single_key, smoothing, max_hits, skip_frequent_keys, allow_overlaps, fully_score, use_top_k_unigrams, add_best_unigrams_to_ngrams, hits, compat))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub fn seal_rank(
    py: Python<'_>,
    index: &Index,
    keys: Vec<GivenKey>,
    unigrams: PyBuffer<f32>,
    special: Vec<Token>,
    use_fm_index_frequency: bool,
    score_exponent: f64,
    beta: f64,
    length_penalty: f64,
    single_key: f64,
    smoothing: f64,
    max_hits: u64,
    skip_frequent_keys: Option<u64>,
    allow_overlaps: bool,
    fully_score: usize,
    use_top_k_unigrams: usize,
    add_best_unigrams_to_ngrams: bool,
    hits: usize,
    compat: bool,
) -> PyResult<(Vec<GivenKey>, Vec<f64>, Vec<Hit>)> {
    let config = SealConfig {
        use_fm_index_frequency,
        score_exponent,
        beta,
        length_penalty,
        single_key,
        smoothing,
        max_hits,
        skip_frequent_keys,
        allow_overlaps,
        fully_score,
        use_top_k_unigrams,
        hits,
        compat,
    };
    let log_probs = unigrams.to_vec(py)?;
    enter(py, || {
        let unigrams = Unigrams { log_probs: &log_probs, special: &special };
        let key = |(ids, anchored, log_prob)| Key { ids, anchored, log_prob };
        let keys = keys.into_iter().map(key).collect();
        let ranking = core::rank_found(&index.group, keys, unigrams, add_best_unigrams_to_ngrams, config)?;
        let told = |key: Key| (key.ids, key.anchored, key.log_prob);
        let hits = ranking.hits.into_iter().map(|hit| (hit.document, hit.score, hit.keys));
        Ok((ranking.added.into_iter().map(told).collect(), ranking.weights, hits.collect()))
    })
}

pub(crate) fn told(onward: &[Onward]) -> Vec<(u32, Token, f32)> {
    onward.iter().map(|beam| (beam.beam, beam.token, beam.score)).collect()
}

pub(crate) fn rows_of<'a>(values: &'a LogitRows, order: &'a [u32], kind: &str) -> Result<BeamRows<'a>> {
    if !["logits", "log_probs"].contains(&kind) {
        return Err(Error::invalid("the kind of rows", "logits or log_probs", kind, ""));
    }
    let values = RowResult::full(values.as_slice(), values.shape.0, values.shape.1)?;
    Ok(BeamRows { values, order, are_logits: kind == "logits" })
}

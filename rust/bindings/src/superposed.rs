//! Superposed decoding: the search that an engine's steps drive with one row.

use crate::buffer::LogitRows;
use crate::enter::{enter, lock};
use crate::events::bytes_of;
use crate::index::Index;
use crate::seal::{rows_of, told};
use draftwood_base::{Locked, Token};
use draftwood_retrieve::index::Group;
use draftwood_retrieve::{self as core, SuperposedConfig};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Arc;

/// (tokens as int32 bytes, what each added as float64 bytes, draft that each continued as int32 bytes, score, whether an
/// end token ended it).
type Draft<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, f64, bool);

/// Several drafts from one row per step.
#[pyclass(frozen, module = "draftwood._core")]
pub struct Superposed {
    search: Locked<core::Superposed>,
    group: Option<Arc<Group>>,
}

#[pymethods]
impl Superposed {
    #[new]
    #[pyo3(signature = (index, prompt, *, drafts, length, tokens, temperature, alpha, orders, ends, banned))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        index: Option<&Index>,
        prompt: Vec<Token>,
        drafts: usize,
        length: usize,
        tokens: usize,
        temperature: f64,
        alpha: f64,
        orders: Vec<f64>,
        ends: Vec<Token>,
        banned: Vec<Token>,
    ) -> PyResult<Self> {
        let group = index.map(|index| Arc::clone(&index.group));
        let config = SuperposedConfig { drafts, length, tokens, temperature, alpha, orders, ends, banned };
        let search = enter(py, || core::Superposed::new(group.as_deref(), &prompt, config))?;
        Ok(Self { search: Locked::new(search), group })
    }

    /// As `BeamSearch.step`, with one row.
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
            let onward = lock(&self.search).step(self.group.as_deref(), rows)?;
            Ok(told(onward.as_slice()))
        })
    }

    /// Whether the search has ended.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        enter(py, || Ok(lock(&self.search).is_done()))
    }

    /// Tokens and weights of the next row; empty before the first step.
    fn mixture(&self, py: Python<'_>) -> PyResult<Vec<(Token, f32)>> {
        enter(py, || Ok(lock(&self.search).mixture()))
    }

    /// The drafts, best first.
    fn drafts<'py>(&self, py: Python<'py>) -> PyResult<Vec<Draft<'py>>> {
        let drafts = enter(py, || Ok(lock(&self.search).drafts()))?;
        let told = |one: &core::Draft| {
            (
                PyBytes::new(py, &bytes_of(&one.ids, u32::to_ne_bytes)),
                PyBytes::new(py, &bytes_of(&one.steps, f64::to_ne_bytes)),
                PyBytes::new(py, &bytes_of(&one.parents, u32::to_ne_bytes)),
                one.score,
                one.is_finished,
            )
        };
        Ok(drafts.iter().map(told).collect())
    }
}

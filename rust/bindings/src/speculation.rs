//! Speculative beams: the rows that a search may need next, and steps of the search while rows are known.

use crate::buffer::LogitRows;
use crate::enter::{enter, lock};
use crate::forest::Forest;
use crate::search::{BeamSearch, Search};
use draftwood_base::{Locked, Token};
use draftwood_logits::RowResult;
use draftwood_search as search;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use std::sync::Arc;

/// What is computed and guessed of one search's texts; it drives the search.
#[pyclass(frozen, module = "draftwood._core")]
pub struct Speculation {
    search: Arc<Locked<Search>>,
    inner: Locked<search::Speculation>,
}

/// Steps of the search, drafted rows of the forward, (sequence, node, next token) that go on, sequences that end.
type Advance = (u32, u32, Vec<(u32, u32, Token)>, Vec<u32>);

#[pymethods]
impl Speculation {
    /// For a search that has not begun, whose prompt is cached in `sequence` but for its last token.
    #[new]
    fn new(
        py: Python<'_>,
        search: &BeamSearch,
        prompt: PyBuffer<i32>,
        lanes: usize,
        sequence: u32,
    ) -> PyResult<Self> {
        let prompt: Vec<Token> = prompt.to_vec(py)?.into_iter().map(|id| id as Token).collect();
        let search = Arc::clone(&search.0);
        enter(py, || {
            let inner = search::Speculation::new(lock(&search).beams()?, &prompt, lanes, sequence)?;
            Ok(Self { search, inner: Locked::new(inner) })
        })
    }

    /// Sequences of the session that belong to this search.
    #[getter]
    fn sequences(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        enter(py, || Ok(lock(&self.inner).sequences()))
    }

    /// Sequences that the next step forwards.
    #[getter]
    fn texts(&self, py: Python<'_>) -> PyResult<usize> {
        enter(py, || Ok(lock(&self.inner).texts()))
    }

    /// Appends the tree of a sequence to `forest`; returns its nodes.
    fn write_tree(&self, py: Python<'_>, sequence: u32, forest: &Forest) -> PyResult<usize> {
        enter(py, || Ok(lock(&self.inner).write_tree(sequence, &mut lock(&forest.0))))
    }

    /// Moves the search on with the logits [R, V] of a forward, of which (sequence, first row) belong to this search,
    /// and drafts the next step: at most `most` rows, as many as pay by `costs` if `searches` share the step.
    #[pyo3(signature = (values, forwarded, most, costs, searches))]
    fn advance(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        forwarded: Vec<(u32, u32)>,
        most: usize,
        costs: Option<&StepCosts>,
        searches: usize,
    ) -> PyResult<Advance> {
        let values = LogitRows::borrow(values)?;
        enter(py, || {
            let rows = RowResult::full(values.as_slice(), values.shape.0, values.shape.1)?;
            let costs = costs.map(|costs| lock(&costs.0).clone());
            let budget = search::Budget { most, costs: costs.as_ref(), searches };
            let mut search = lock(&self.search);
            let done = lock(&self.inner).advance(search.beams()?, rows, &forwarded, budget)?;
            Ok((done.steps, done.drafted, done.survivors, done.closed))
        })
    }

    /// The commit has made these sequences of the survivors; returns what `Session.rearrange` must do.
    fn committed(&self, py: Python<'_>, ids: Vec<u32>) -> PyResult<Vec<search::LaneChange>> {
        enter(py, || Ok(lock(&self.inner).committed(&ids)))
    }

    /// `Session.rearrange` has made these sequences.
    fn arranged(&self, py: Python<'_>, ids: Vec<u32>) -> PyResult<()> {
        enter(py, || {
            lock(&self.inner).arranged(&ids);
            Ok(())
        })
    }
}

/// What forwards of so many rows have cost lately.
#[pyclass(frozen, module = "draftwood._core")]
#[derive(Default)]
pub struct StepCosts(Locked<search::StepCosts>);

#[pymethods]
impl StepCosts {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// A step of `rows` rows has taken so many nanoseconds.
    fn observe(&self, py: Python<'_>, rows: u32, nanoseconds: u64) -> PyResult<()> {
        enter(py, || {
            lock(&self.0).observe(rows, nanoseconds as f32 * 1e-9);
            Ok(())
        })
    }
}

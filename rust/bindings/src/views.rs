//! What drafters see of a step.

use crate::enter::{enter, lock, unpoisoned};
use crate::errors;
use crate::events::bytes_of;
use crate::session::Failures;
use draftwood_base::{Error, Locked, SequenceId, Token};
use draftwood_plan as plan;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Arc;

/// One view, without its tokens.
#[derive(Clone, Copy)]
pub struct Item {
    pub sequence: u32,
    pub root: Token,
    pub budget: u32,
    pub max_depth: u32,
}

/// What drafters see of a step: one view per text that gets a token.
#[pyclass(frozen, module = "draftwood._core")]
pub struct Views {
    pub session: Arc<Locked<plan::Session>>,
    pub failures: Failures,
    pub items: Vec<Item>,
    /// Whether no text runs in this step.
    #[pyo3(get)]
    pub idle: bool,
    /// Whether drafts can pay in this step.
    #[pyo3(get)]
    pub wants_drafts: bool,
    /// Whether the largest logits of the rows are all that is asked of them.
    #[pyo3(get)]
    pub wants_best: bool,
    pub vocab: u32,
}

impl Views {
    /// View `i`.
    pub fn item(&self, py: Python<'_>, i: usize) -> PyResult<Item> {
        self.items.get(i).copied().ok_or_else(|| {
            errors::raise(py, Error::invalid("a view", format!("below {}", self.items.len()), i, ""))
        })
    }
}

#[pymethods]
impl Views {
    fn __len__(&self) -> usize {
        self.items.len()
    }

    /// (sequence, tokens as int32 bytes, budget, max_depth) of view `i`.
    fn view(&self, py: Python<'_>, i: usize) -> PyResult<(u32, Py<PyBytes>, u32, u32)> {
        let item = self.item(py, i)?;
        let tokens = enter(py, || {
            let session = lock(&self.session);
            Ok(bytes_of(session.tokens(SequenceId(item.sequence)).unwrap_or(&[]), u32::to_ne_bytes))
        })?;
        Ok((item.sequence, PyBytes::new(py, &tokens).unbind(), item.budget, item.max_depth))
    }

    /// What the encoder read for view `i`, as int32 bytes; empty without one.
    fn source(&self, py: Python<'_>, i: usize) -> PyResult<Py<PyBytes>> {
        let item = self.item(py, i)?;
        let tokens = enter(py, || {
            let session = lock(&self.session);
            Ok(bytes_of(session.source(SequenceId(item.sequence)).unwrap_or(&[]), u32::to_ne_bytes))
        })?;
        Ok(PyBytes::new(py, &tokens).unbind())
    }

    /// Ends the text of view `i` with `error`, when the step is over; the others go on.
    fn fail(&self, py: Python<'_>, i: usize, error: Py<PyAny>) -> PyResult<()> {
        let item = self.item(py, i)?;
        let words = error.bind(py).to_string();
        let texts = enter(py, || {
            let mut session = lock(&self.session);
            let texts = session
                .samples(SequenceId(item.sequence))
                .map(|(request, samples)| (request, samples.to_vec()));
            session.fail(SequenceId(item.sequence), Error::Internal(words));
            Ok(texts)
        })?;
        if let Some((request, samples)) = texts {
            let mut failures = unpoisoned(&self.failures);
            failures.extend(samples.into_iter().map(|sample| ((request.0, sample), error.clone_ref(py))));
        }
        Ok(())
    }
}

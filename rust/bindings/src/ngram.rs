//! `NGram`: the prompt-lookup drafter.

use crate::enter::{enter, lock};
use crate::errors;
use crate::forest::{Forest, propose};
use crate::session::Views;
use draftwood_base::SequenceId;
use draftwood_retrieve::NGramConfig;
use draftwood_tree::Drafter;
use pyo3::prelude::*;
use std::sync::Mutex;

/// Drafts what followed earlier occurrences of the last tokens of prompt and output, as a tree.
#[pyclass(frozen, subclass, dict, module = "draftwood._core")]
pub struct NGram {
    /// The drafter and its state per sequence; locked inside the door only.
    core: Mutex<draftwood_retrieve::NGram>,
    /// The drafts of the present step; the same object every time.
    forest: Py<Forest>,
}

#[pymethods]
impl NGram {
    #[new]
    #[pyo3(signature = (max_ngram = 3, min_prob = 0.01))]
    fn new(py: Python<'_>, max_ngram: usize, min_prob: f32) -> PyResult<Self> {
        let core = draftwood_retrieve::NGram::new(NGramConfig { max_ngram, min_prob })
            .map_err(|error| errors::raise(py, error))?;
        Ok(Self { core: Mutex::new(core), forest: Py::new(py, Forest::default())? })
    }

    /// Longest n-gram that is looked up.
    #[getter]
    fn max_ngram(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.config(py)?.max_ngram)
    }

    /// Least probability of a drafted path.
    #[getter]
    fn min_prob(&self, py: Python<'_>) -> PyResult<f32> {
        Ok(self.config(py)?.min_prob)
    }

    /// One tree per view; the forest is overwritten by the next call.
    fn propose_batch(&self, py: Python<'_>, views: &Views) -> PyResult<Py<Forest>> {
        propose(py, views, &self.core, self.forest.get())?;
        Ok(self.forest.clone_ref(py))
    }

    /// Forgets a text that has ended.
    fn close(&self, py: Python<'_>, sequence: u32) -> PyResult<()> {
        enter(py, || {
            lock(&self.core).close(SequenceId(sequence));
            Ok(())
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let NGramConfig { max_ngram, min_prob } = self.config(py)?;
        Ok(format!("NGram(max_ngram={max_ngram}, min_prob={min_prob})"))
    }
}

impl NGram {
    fn config(&self, py: Python<'_>) -> PyResult<NGramConfig> {
        enter(py, || Ok(lock(&self.core).config()))
    }
}

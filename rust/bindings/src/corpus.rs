//! `Corpus`: the documents of an index to be built.

use crate::enter::{enter, lock};
use draftwood_base::Locked;
use draftwood_retrieve::index;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use std::path::PathBuf;

/// Documents of token ids, 4 bytes per token.
#[pyclass(frozen, module = "draftwood._core")]
#[derive(Default)]
pub struct Corpus(pub(crate) Locked<index::Corpus>);

#[pymethods]
impl Corpus {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Appends a document (uint32 buffer).
    fn push(&self, py: Python<'_>, document: PyBuffer<u32>) -> PyResult<()> {
        let document = document.to_vec(py)?;
        enter(py, || lock(&self.0).push(&document))
    }

    /// Refuses ids (uint32 buffer) that document `number` may not have.
    #[staticmethod]
    fn check(py: Python<'_>, document: PyBuffer<u32>, number: u64) -> PyResult<()> {
        let document = document.to_vec(py)?;
        enter(py, || index::Corpus::check(&document, 0, number))
    }

    /// Appends documents whose tokens lie in a file: their lengths (uint32 buffer), and a name and a title for each, or
    /// none at all.
    fn push_file(
        &self,
        py: Python<'_>,
        path: PathBuf,
        offset: u64,
        lengths: PyBuffer<u32>,
        names: Vec<(String, String)>,
    ) -> PyResult<()> {
        let lengths = lengths.to_vec(py)?;
        enter(py, || lock(&self.0).push_file(&path, offset, &lengths, &names))
    }

    /// Gives the last document a name and a title.
    fn name_last(&self, py: Python<'_>, name: &str, title: &str) -> PyResult<()> {
        enter(py, || {
            lock(&self.0).name_last(name, title);
            Ok(())
        })
    }

    /// Declares the tokens that end titles.
    fn set_title_end(&self, py: Python<'_>, ids: PyBuffer<u32>) -> PyResult<()> {
        let ids = ids.to_vec(py)?;
        enter(py, || lock(&self.0).set_title_end(&ids))
    }

    /// Number of tokens.
    #[getter]
    fn tokens(&self, py: Python<'_>) -> PyResult<usize> {
        enter(py, || Ok(lock(&self.0).tokens()))
    }

    /// Number of documents.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        enter(py, || Ok(lock(&self.0).documents()))
    }
}

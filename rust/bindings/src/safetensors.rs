//! safetensors for Python: tensors dequantised into the caller's memory.

use crate::enter::enter;
use crate::{errors, tensors};
use draftwood_weights as weights;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// An opened safetensors file, or all shards of a folder.
#[pyclass(frozen, module = "draftwood._core")]
pub struct SafeTensors(pub(crate) Arc<weights::SafeTensors>);

#[pymethods]
impl SafeTensors {
    /// Maps a file, or the files of a folder, and checks their structure.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        enter(py, || weights::SafeTensors::open(path).map(Arc::new)).map(Self)
    }

    /// Paths of the files.
    fn files(&self) -> Vec<&str> {
        self.0.files().collect()
    }

    /// (name, shape in NumPy's order, stored type) of each tensor that can be read.
    fn tensors<'py>(&self, py: Python<'py>) -> PyResult<Vec<tensors::Row<'py>>> {
        tensors::describe(py, self.0.weights())
    }

    /// Writes the f32 values of a tensor into `out`, a writable contiguous float32 buffer of its size.
    fn dequantize(&self, py: Python<'_>, name: &str, out: &Bound<'_, PyAny>) -> PyResult<()> {
        let tensor = self.0.weights().require(name).map_err(|error| errors::raise(py, error))?;
        tensors::dequantize(py, tensor, out)
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

//! GGUF files for Python: metadata as Python objects, tensors dequantised into the caller's memory.

use crate::enter::enter;
use crate::{errors, tensors};
use draftwood_base::Error;
use draftwood_weights::{self as weights, Value};
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::path::PathBuf;
use std::sync::Arc;

/// An opened GGUF file, or a whole split set.
#[pyclass(frozen, module = "draftwood._core")]
pub struct GgufFile(pub(crate) Arc<weights::GgufFile>);

#[pymethods]
impl GgufFile {
    /// Maps the file and checks its structure; with the first file of a split set the whole set.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        enter(py, || weights::GgufFile::open(path).map(Arc::new)).map(Self)
    }

    /// Paths of the files.
    fn files(&self) -> Vec<&str> {
        self.0.files().collect()
    }

    /// Metadata keys in the order of the file.
    fn keys(&self) -> &[String] {
        self.0.keys()
    }

    /// A metadata value, None if the file has no such key. Arrays become new lists on each call.
    fn metadata<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let value = self.0.get(key).map_err(|error| errors::raise(py, error))?;
        value.map(|value| to_python(py, value)).transpose()
    }

    /// (name, shape in NumPy's order, stored type) of each tensor.
    fn tensors<'py>(&self, py: Python<'py>) -> PyResult<Vec<tensors::Row<'py>>> {
        tensors::describe(py, self.0.weights())
    }

    /// Writes the f32 values of a tensor into `out`, a writable contiguous float32 buffer of its size.
    fn dequantize(&self, py: Python<'_>, name: &str, out: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(tensor) = self.0.tensor(name) else {
            let file = self.0.files().next().unwrap_or_default();
            let expected = format!("a tensor of {file}");
            return Err(errors::raise(
                py,
                Error::invalid("name", expected, format!("\"{name}\""), "see tensors()"),
            ));
        };
        tensors::dequantize(py, tensor, out)
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

fn to_python<'py>(py: Python<'py>, value: Value<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::U8(v) => v.into_pyobject(py)?.into_any(),
        Value::I8(v) => v.into_pyobject(py)?.into_any(),
        Value::U16(v) => v.into_pyobject(py)?.into_any(),
        Value::I16(v) => v.into_pyobject(py)?.into_any(),
        Value::U32(v) => v.into_pyobject(py)?.into_any(),
        Value::I32(v) => v.into_pyobject(py)?.into_any(),
        Value::U64(v) => v.into_pyobject(py)?.into_any(),
        Value::I64(v) => v.into_pyobject(py)?.into_any(),
        Value::F32(v) => v.into_pyobject(py)?.into_any(),
        Value::F64(v) => v.into_pyobject(py)?.into_any(),
        Value::Bool(v) => v.into_pyobject(py)?.to_owned().into_any(),
        Value::Str(v) => v.into_pyobject(py)?.into_any(),
        Value::Array(array) => {
            let list = PyList::empty(py);
            for item in array.iter() {
                list.append(to_python(py, item.map_err(|error| errors::raise(py, error))?)?)?;
            }
            list.into_any()
        }
    })
}

//! From the core's error enum to the Python classes of `draftwood.errors`, one class per variant.

use draftwood_base::{Error, Mismatch};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// The Python exception for `error`, with its parts as attributes.
pub fn raise(py: Python<'_>, error: Error) -> PyErr {
    build(py, &error).unwrap_or_else(|failure| failure)
}

fn build(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let details = PyDict::new(py);
    let class = match error {
        Error::InvalidArgument(mismatch) => {
            describe(&details, mismatch)?;
            "InvalidArgument"
        }
        Error::ModelFormat { file, offset, problem } => {
            describe(&details, problem)?;
            details.set_item("file", file)?;
            details.set_item("offset", offset)?;
            "ModelFormatError"
        }
        Error::IndexFormat { file, offset, problem } => {
            describe(&details, problem)?;
            details.set_item("file", file)?;
            details.set_item("offset", offset)?;
            "IndexFormatError"
        }
        Error::OutOfPages { needed, free, total, hint } => {
            details.set_item("needed", needed)?;
            details.set_item("free", free)?;
            details.set_item("total", total)?;
            details.set_item("hint", hint)?;
            "OutOfPages"
        }
        Error::UnsupportedModel { what, hint } => {
            details.set_item("what", what)?;
            details.set_item("hint", hint)?;
            "UnsupportedModel"
        }
        Error::Internal(_) => "InternalError",
    };
    let module = MODULE.get_or_try_init(py, || py.import("draftwood.errors").map(Bound::unbind))?;
    let exception = module.bind(py).getattr(class)?.call((error.to_string(),), Some(&details))?;
    Ok(PyErr::from_value(exception))
}

fn describe(details: &Bound<'_, PyDict>, mismatch: &Mismatch) -> PyResult<()> {
    details.set_item("what", &mismatch.what)?;
    details.set_item("expected", &mismatch.expected)?;
    details.set_item("got", &mismatch.got)?;
    details.set_item("hint", &mismatch.hint)
}

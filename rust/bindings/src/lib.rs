//! `draftwood._core`: the list of what Python sees.
use pyo3::prelude::*;

#[pymodule]
mod _core {}

//! The two sides of the roofline, as the kernels see them.

use crate::enter::enter;
use draftwood_base::Error;
use draftwood_forward::panels::Layout;
use draftwood_forward::probe;
use pyo3::prelude::*;

/// Bytes per second of reading `bytes` of fresh memory in huge pages with `threads` threads; the best of several passes.
/// 8 last-level caches or more are read from memory.
#[pyfunction]
pub fn read_bandwidth(py: Python<'_>, threads: usize, bytes: usize) -> PyResult<f64> {
    enter(py, || probe::read_bandwidth(threads, bytes))
}

/// Multiply-adds per second of the kernel for weights of a type, as GGUF spells it, with everything in cache.
#[pyfunction]
pub fn multiply_rate(py: Python<'_>, threads: usize, kind: &str) -> PyResult<f64> {
    let layout = Layout::ALL.into_iter().find(|layout| layout.source().name() == kind);
    enter(py, || {
        let expected = || Layout::ALL.map(|layout| layout.source().name()).join(", ");
        let layout =
            layout.ok_or_else(|| Error::invalid("kind", format!("one of {}", expected()), kind, ""))?;
        probe::multiply_rate(threads, layout)
    })
}

//! The bandwidth probe, over memory that NumPy gives: it asks the system for huge pages.

use crate::buffer::F32Out;
use crate::enter::enter;
use pyo3::prelude::*;

/// Bytes per second of reading `bytes` of fresh memory with `threads` threads, each on its own piece; the best of three
/// passes. `bytes` should be 8 last-level caches or more.
#[pyfunction]
pub fn read_bandwidth(py: Python<'_>, threads: usize, bytes: usize) -> PyResult<f64> {
    let words = bytes / size_of::<f32>();
    let numpy = py.import("numpy")?;
    let memory = numpy.call_method1("ones", (words, numpy.getattr("float32")?))?;
    let mut memory = F32Out::borrow(&memory, "memory", words)?;
    enter(py, || draftwood_base::read_bandwidth(memory.as_mut_slice(), threads))
}

//! `draftwood._core`: the list of what Python sees. The bindings convert and check; every algorithm lives below.
use pyo3::prelude::*;

mod buffer;
mod enter;
mod errors;
mod ngram;

#[pymodule]
mod _core {
    use super::*;
    #[pymodule_export]
    use ngram::NGram;

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        m.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

//! `draftwood._core`: the list of what Python sees. The bindings convert and check; every algorithm lives below.
use pyo3::prelude::*;

mod buffer;
mod corpus;
mod drafters;
mod enter;
mod errors;
mod events;
mod forest;
mod gguf;
mod index;
mod session;
mod text;

#[pymodule]
mod _core {
    use super::*;

    #[pymodule_export]
    use corpus::Corpus;
    #[pymodule_export]
    use drafters::{Drafter, Mix, NGram, Retrieval, Suffix, Trigram};
    #[pymodule_export]
    use events::Event;
    #[pymodule_export]
    use forest::Forest;
    #[pymodule_export]
    use gguf::GgufFile;
    #[pymodule_export]
    use index::Index;
    #[pymodule_export]
    use session::{Session, Views};
    #[pymodule_export]
    use text::{ChatTemplate, TokenBytes};

    /// The instruction set of the vector kernels: avx512, avx2 or scalar; `DRAFTWOOD_ISA` chooses a lesser one.
    #[pyfunction]
    fn isa(py: Python<'_>) -> PyResult<&'static str> {
        enter::enter(py, draftwood_logits::isa_checked).map(|isa| isa.name())
    }

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        m.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

//! `draftwood._core`: the list of what Python sees. The bindings convert and check; every algorithm lives below.
use draftwood_base::pool::Pool;
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
mod native;
mod paths;
mod plan_block;
mod probe;
mod rules;
mod safetensors;
mod seal;
mod search;
mod session;
mod speculation;
mod superposed;
mod tensors;
mod text;
mod views;

#[pymodule]
mod _core {
    use super::*;

    #[pymodule_export]
    use corpus::Corpus;
    #[pymodule_export]
    use drafters::{Drafter, Mix, NGram, Outputs, Retrieval, Suffix, Trigram};
    #[pymodule_export]
    use events::Event;
    #[pymodule_export]
    use forest::Forest;
    #[pymodule_export]
    use gguf::GgufFile;
    #[pymodule_export]
    use index::{Index, IndexClaim};
    #[pymodule_export]
    use native::{NativeExecutor, NativeModel};
    #[pymodule_export]
    use probe::{multiply_rate, read_bandwidth};
    #[pymodule_export]
    use rules::{Rule, RuleState};
    #[pymodule_export]
    use safetensors::SafeTensors;
    #[pymodule_export]
    use seal::{CorpusSearch, KeyScorer, seal_rank};
    #[pymodule_export]
    use search::BeamSearch;
    #[pymodule_export]
    use session::Session;
    #[pymodule_export]
    use speculation::{Speculation, StepCosts};
    #[pymodule_export]
    use superposed::Superposed;
    #[pymodule_export]
    use text::{ChatTemplate, TokenBytes};
    #[pymodule_export]
    use views::Views;

    /// The instruction set of the vector kernels: avx512, avx2 or scalar; `DRAFTWOOD_ISA` chooses a lesser one.
    #[pyfunction]
    fn isa(py: Python<'_>) -> PyResult<&'static str> {
        enter::enter(py, draftwood_logits::isa_checked).map(|isa| isa.name())
    }

    /// Whether `numerics="fast"` finds products of bf16 on this machine.
    #[pyfunction]
    fn bf16_products(py: Python<'_>) -> PyResult<bool> {
        enter::enter(py, || Ok(draftwood_forward::Machine::has_pairs()))
    }

    /// Threads of the native executor, and how to change them; engines share one pool.
    #[pyfunction]
    fn num_threads(py: Python<'_>) -> PyResult<usize> {
        enter::enter(py, || Ok(Pool::shared().threads()))
    }

    #[pyfunction]
    fn set_num_threads(py: Python<'_>, threads: usize) -> PyResult<()> {
        enter::enter(py, || {
            let threads = draftwood_base::pool::threads_from(Some(&threads.to_string()))?;
            Pool::share(threads);
            Ok(())
        })
    }

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        m.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

//! The CPU forward pass for Python: a model, and executors that each have a cache of their own.

use crate::buffer::{F32Out, I32In, LentTensor};
use crate::enter::{enter, lock};
use crate::errors;
use crate::events::bytes_of;
use crate::tensors::Files;
use draftwood_base::pool::Pool;
use draftwood_base::{Error, Locked};
use draftwood_forward::linear::Form;
use draftwood_forward::{
    CacheType, Dtype, Embedded, Executor, Keep, Live, Machine, Model, Spec, Stored, Weights,
};
use draftwood_tree::StepRows;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use std::collections::HashMap;
use std::sync::Arc;

/// Weights: repacked for the kernels of this machine, or where their owner has them.
#[pyclass(frozen, module = "draftwood._core")]
pub struct NativeModel(Arc<Model>);

#[pymethods]
impl NativeModel {
    /// Reads all weights; `spec` is the JSON of `rust/forward/src/spec.rs`, `places` that of `files.rs`. Matrices keep the
    /// bits of the files unless `float32` is set. `mapped`: they stay in the files' own memory.
    #[staticmethod]
    #[pyo3(signature = (files, spec, places, float32, mapped=false))]
    fn load(
        py: Python<'_>,
        files: Files<'_>,
        spec: &str,
        places: &str,
        float32: bool,
        mapped: bool,
    ) -> PyResult<Self> {
        let set = files.set();
        model(py, spec, float32, mapped, || Ok(Arc::new(Stored::new(set, places)?)))
    }

    /// The same over tensors of another library by their names, through DLPack. `borrowed`: matrices stay where they are;
    /// without it they are copied.
    #[staticmethod]
    fn lend(
        py: Python<'_>,
        tensors: HashMap<String, Bound<'_, PyAny>>,
        spec: &str,
        places: &str,
        float32: bool,
        borrowed: bool,
    ) -> PyResult<Self> {
        let lend = |(name, tensor): (String, Bound<'_, PyAny>)| {
            let lent = LentTensor::borrow(&tensor, &name)?;
            Ok((name, lent.into_live()))
        };
        let tensors = tensors.into_iter().map(lend).collect::<PyResult<HashMap<_, _>>>()?;
        model(py, spec, float32, borrowed, || Ok(Arc::new(Live::new(tensors, places)?)))
    }

    /// Whether matrices are read where their owner has them.
    #[getter]
    fn in_place(&self) -> bool {
        self.0.reads_in_place()
    }

    /// How most of the matrices' bytes are stored, as GGUF spells it.
    #[getter]
    fn main_type(&self) -> &str {
        self.0.main_type()
    }

    /// Bytes of weights that a step of one row reads.
    #[getter]
    fn step_bytes(&self) -> usize {
        self.0.step_bytes()
    }
}

fn model(
    py: Python<'_>,
    spec: &str,
    float32: bool,
    in_place: bool,
    source: impl FnOnce() -> draftwood_base::Result<Arc<dyn Weights>> + Send,
) -> PyResult<NativeModel> {
    let dtype = if float32 { Dtype::F32 } else { Dtype::Stored };
    let keep = if in_place { Keep::InPlace } else { Keep::Packed };
    enter(py, || Model::load(Spec::from_json(spec)?, source()?, dtype, keep, &Pool::shared()).map(Arc::new))
        .map(NativeModel)
}

/// Runs plans on a model.
#[pyclass(frozen, module = "draftwood._core")]
pub struct NativeExecutor {
    inner: Locked<Executor>,
    kernels: String,
    instruction_set: String,
    page_bytes: usize,
}

#[pymethods]
impl NativeExecutor {
    /// `fast`: bf16 activations for 16-bit weights where the processor multiplies such pairs; `float_activations`: f32
    /// ones for quantised weights; `half_cache`: keys and values as f16.
    #[new]
    fn new(model: &NativeModel, fast: bool, float_activations: bool, half_cache: bool) -> Self {
        let mut machine = Machine::get();
        if fast {
            machine = machine.with_pairs();
        }
        if float_activations {
            machine = machine.with_float_activations();
        }
        let stored = if half_cache { CacheType::F16 } else { CacheType::F32 };
        let executor = Executor::new(Arc::clone(&model.0), machine, Pool::shared()).with_cache_type(stored);
        let page_bytes = executor.cache_shape().page_bytes();
        let kernels = kernels(machine, &model.0, fast);
        let instruction_set = instruction_set(machine, Some(&model.0));
        Self { inner: Locked::new(executor), kernels, instruction_set, page_bytes }
    }

    /// What the exact kernels of this machine may use: "avx512+vnni", "avx512", "avx2" or "scalar".
    #[staticmethod]
    fn machine(py: Python<'_>) -> PyResult<String> {
        enter(py, || Ok(instruction_set(Machine::get(), None)))
    }

    /// The instruction set that this model's kernels use: with "+vnni" if it has quantised weights that are multiplied in
    /// 8 bits, with "+bf16" if 16-bit weights are multiplied in pairs.
    #[getter]
    fn instruction_set(&self) -> &str {
        &self.instruction_set
    }

    /// The instruction set in use, and what departs from the exact kernels or was asked for in vain.
    #[getter]
    fn kernels(&self) -> &str {
        &self.kernels
    }

    /// Bytes of a cache page of 16 tokens.
    #[getter]
    fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Makes the cache.
    fn allocate(&self, py: Python<'_>, pages: usize) -> PyResult<()> {
        enter(py, || lock(&self.inner).allocate(pages))
    }

    /// Computes a plan: `plan` holds the arrays of a `StepPlan` in the order of `StepRows`, `logits` is [R', V]. Without
    /// logits it returns the best tokens, int32 [R', 2], as `Session.verify_best` takes them. `embedded`: rows [n] whose
    /// embeddings are given, and those [n, hidden]; with logits only.
    #[pyo3(signature = (plan, mask_words, logits=None, hidden=None, embedded=None))]
    fn forward(
        &self,
        py: Python<'_>,
        plan: &Bound<'_, PyTuple>,
        mask_words: usize,
        logits: Option<&Bound<'_, PyAny>>,
        hidden: Option<&Bound<'_, PyAny>>,
        embedded: Option<(PyBuffer<i32>, PyBuffer<f32>)>,
    ) -> PyResult<Option<Py<PyBytes>>> {
        let arrays = plan.iter().map(|array| I32In::borrow(&array, "an array of the plan"));
        let arrays = arrays.collect::<PyResult<Vec<_>>>()?;
        let Ok(arrays) = <[I32In; 11]>::try_from(arrays) else {
            return Err(errors::raise(py, Error::invalid("the plan", "11 arrays", plan.len(), "")));
        };
        let mut logits = logits.map(|out| F32Out::borrow_any(out, "logits")).transpose()?;
        let mut hidden = hidden.map(|out| F32Out::borrow_any(out, "hidden")).transpose()?;
        let vectors = |(rows, vectors): (PyBuffer<i32>, PyBuffer<f32>)| {
            Ok::<_, PyErr>((rows.to_vec(py)?, vectors.to_vec(py)?))
        };
        let embedded = embedded.map(vectors).transpose()?;
        let embedded = embedded.as_ref().map(|(rows, vectors)| Embedded { rows, vectors });
        let (logits, hidden) =
            (logits.as_mut().map(F32Out::as_mut_slice), hidden.as_mut().map(F32Out::as_mut_slice));
        let [
            tokens,
            positions,
            parents,
            slots,
            row_offsets,
            chain,
            context,
            page_offsets,
            pages,
            masks,
            head_rows,
        ] = arrays.each_ref().map(I32In::as_slice);
        let rows = StepRows {
            tokens,
            positions,
            parents,
            slots,
            row_offsets,
            chain,
            context,
            page_offsets,
            pages,
            masks,
            mask_words,
            head_rows,
        };
        let run = |executor: &mut Executor| {
            executor.set_pool(Pool::shared());
            match (logits, embedded) {
                (Some(logits), embedded) => {
                    let embedded = embedded.unwrap_or_default();
                    executor.forward_embedded(&rows, embedded, logits, hidden).map(|()| None)
                }
                (None, None) => executor.forward_best(&rows, hidden).map(|best| Some(best.to_vec())),
                (None, Some(_)) => Err(Error::invalid("embedded rows", "with logits", "without", "")),
            }
        };
        enter(py, || run(&mut lock(&self.inner)))
            .map(|best| best.map(|best| PyBytes::new(py, &bytes_of(&best, i32::to_ne_bytes)).unbind()))
    }

    /// Writes the embeddings of tokens into `out` [n, hidden].
    fn embed(&self, py: Python<'_>, tokens: &Bound<'_, PyAny>, out: &Bound<'_, PyAny>) -> PyResult<()> {
        let tokens = I32In::borrow(tokens, "tokens")?;
        let mut out = F32Out::borrow_any(out, "embeddings")?;
        let (tokens, out) = (tokens.as_slice(), out.as_mut_slice());
        enter(py, || lock(&self.inner).embed(tokens, out))
    }

    /// Copies cache rows from `sources` to `destinations`.
    fn apply(
        &self,
        py: Python<'_>,
        sources: &Bound<'_, PyAny>,
        destinations: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let sources = I32In::borrow(sources, "sources")?;
        let destinations = I32In::borrow(destinations, "destinations")?;
        let (sources, destinations) = (sources.as_slice(), destinations.as_slice());
        enter(py, || lock(&self.inner).apply(sources, destinations))
    }

    /// Frees cache and working memory.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, || {
            lock(&self.inner).close();
            Ok(())
        })
    }
}

fn kernels(machine: Machine, model: &Model, fast: bool) -> String {
    let products = match (fast, machine.pairs()) {
        (false, _) => "",
        (true, false) => ", exact: no bf16 products here",
        (true, true) if model.takes(machine, Form::Halves) => ", bf16 products",
        (true, true) => ", exact: no 16-bit weights",
    };
    format!("{}{products}", machine.name())
}

fn instruction_set(machine: Machine, model: Option<&Model>) -> String {
    let takes = |form| model.is_none_or(|model| model.takes(machine, form));
    let vnni = if machine.vnni() && takes(Form::Blocks) { "+vnni" } else { "" };
    let pairs = if machine.pairs() && takes(Form::Halves) { "+bf16" } else { "" };
    format!("{}{vnni}{pairs}", machine.isa().name())
}

//! What the two kinds of model files show of their tensors.

use crate::buffer::F32Out;
use crate::enter::enter;
use crate::gguf::GgufFile;
use crate::safetensors::SafeTensors;
use draftwood_weights::{Tensor, TensorSet};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::Arc;

/// Opened files of either kind.
#[derive(FromPyObject)]
pub enum Files<'py> {
    /// A GGUF file or set.
    Gguf(Bound<'py, GgufFile>),
    /// A safetensors file or folder.
    SafeTensors(Bound<'py, SafeTensors>),
}

impl Files<'_> {
    /// Their tensors.
    pub fn set(&self) -> Arc<dyn AsRef<TensorSet> + Send + Sync> {
        match self {
            Files::Gguf(file) => Arc::<draftwood_weights::GgufFile>::clone(&file.get().0),
            Files::SafeTensors(files) => Arc::<draftwood_weights::SafeTensors>::clone(&files.get().0),
        }
    }
}

/// Name, shape in NumPy's order, stored type.
pub type Row<'py> = (String, Bound<'py, PyTuple>, &'static str);

/// A row for each tensor that can be read.
pub fn describe<'py>(py: Python<'py>, set: &TensorSet) -> PyResult<Vec<Row<'py>>> {
    let row = |t: Tensor<'_>| {
        let shape = PyTuple::new(py, t.dims.iter().rev())?;
        Ok((t.name.clone(), shape, t.kind.name()))
    };
    set.iter().map(row).collect()
}

/// Writes the f32 values of a tensor into `out`, a writable contiguous float32 buffer of its size.
pub fn dequantize(py: Python<'_>, tensor: Tensor<'_>, out: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut out = F32Out::borrow(out, "out", tensor.values as usize)?;
    let out = out.as_mut_slice();
    enter(py, || tensor.dequantize(out))
}

//! GGUF files as a source of weights.

use crate::model::Weights;
use draftwood_base::{Error, Result};
use draftwood_weights::{GgmlType, GgufFile};

impl Weights for GgufFile {
    fn info(&self, name: &str) -> Option<(Vec<usize>, GgmlType)> {
        let tensor = self.tensor(name)?;
        Some((tensor.dims.iter().rev().map(|&d| d as usize).collect(), tensor.kind))
    }

    fn row(&self, name: &str, row: usize, to: &mut [f32]) -> Result<()> {
        self.tensor(name).ok_or_else(|| missing(name))?.dequantize_row(row, to)
    }

    fn stored_row(&self, name: &str, row: usize, to: &mut [u8]) -> Result<()> {
        let tensor = self.tensor(name).ok_or_else(|| missing(name))?;
        let bytes =
            row.checked_mul(to.len()).and_then(|at| tensor.bytes().get(at..at.checked_add(to.len())?));
        let refuse = || Error::invalid("the row", format!("a row of tensor \"{name}\""), row, "");
        to.copy_from_slice(bytes.ok_or_else(refuse)?);
        Ok(())
    }
}

fn missing(name: &str) -> Error {
    Error::invalid("the name", "a tensor of the file", format!("\"{name}\""), "")
}

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
        self.weights().require(name)?.dequantize_row(row, to)
    }

    fn stored_row(&self, name: &str, row: usize, to: &mut [u8]) -> Result<()> {
        let refuse = || Error::invalid("the row", format!("a row of tensor \"{name}\""), row, "");
        let bytes = self.weights().require(name)?.row_bytes(row).filter(|bytes| bytes.len() == to.len());
        to.copy_from_slice(bytes.ok_or_else(refuse)?);
        Ok(())
    }
}

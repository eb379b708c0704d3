//! GGUF files as a source of weights.

use crate::model::Weights;
use draftwood_base::{Error, Result};
use draftwood_weights::GgufFile;

impl Weights for GgufFile {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensor(name).map(|tensor| tensor.dims.iter().rev().map(|&d| d as usize).collect())
    }

    fn row(&self, name: &str, row: usize, to: &mut [f32]) -> Result<()> {
        let missing = || Error::invalid("the name", "a tensor of the file", format!("\"{name}\""), "");
        self.tensor(name).ok_or_else(missing)?.dequantize_row(row, to)
    }
}

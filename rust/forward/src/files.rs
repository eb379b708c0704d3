//! Tensors of model files as a source of weights.

use crate::model::Weights;
use crate::panels::Lying;
use draftwood_base::{Error, Result};
use draftwood_weights::{DequantizeError, GgmlType, Tensor, TensorSet, dequantize_blocks};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;

/// Where one of the model's tensors lies in its files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its name there.
    pub(crate) tensor: String,
    /// First row and number of rows, where it is a part of that tensor.
    pub(crate) rows: Option<(usize, usize)>,
    /// It is stored as [columns, rows]; `rows` are then columns there.
    pub(crate) transposed: bool,
}

/// Reads a JSON table from the names of [`Weights`] to [`Place`]s.
pub(crate) fn places_of(table: &str) -> Result<HashMap<String, Place>> {
    serde_json::from_str(table).map_err(|error| Error::Internal(format!("a table of tensors with {error}")))
}

/// Opened files, and where in them the model's tensors lie.
pub struct Stored {
    files: Arc<dyn AsRef<TensorSet> + Send + Sync>,
    places: HashMap<String, Place>,
}

impl Stored {
    /// `places` is a JSON table from the names of [`Weights`] to [`Place`]s.
    ///
    /// # Errors
    /// [`Error::Internal`] if it is not.
    pub fn new(files: Arc<dyn AsRef<TensorSet> + Send + Sync>, places: &str) -> Result<Self> {
        Ok(Self { files, places: places_of(places)? })
    }

    fn find(&self, name: &str) -> Option<(&Place, Tensor<'_>)> {
        let place = self.places.get(name)?;
        Some((place, (*self.files).as_ref().get(&place.tensor)?))
    }

    fn require(&self, name: &str) -> Result<(&Place, Tensor<'_>)> {
        let place = self.places.get(name).ok_or_else(|| Error::Internal(format!("no place of {name}")))?;
        Ok((place, (*self.files).as_ref().require(&place.tensor)?))
    }
}

impl Weights for Stored {
    fn info(&self, name: &str) -> Option<(Vec<usize>, GgmlType)> {
        let (place, tensor) = self.find(name)?;
        let mut shape: Vec<usize> = tensor.dims.iter().map(|&d| d as usize).collect();
        if !place.transposed {
            shape.reverse();
        }
        // Only values that are stored one by one can be read across rows, or from the middle of one.
        let values = tensor.kind.block_len() == 1;
        let whole = place.rows.is_none() || shape.len() > 1;
        if !(values || whole && !place.transposed) || place.transposed && shape.len() != 2 {
            return None;
        }
        if let Some((first, count)) = place.rows {
            let rows =
                shape.first_mut().filter(|rows| first.checked_add(count).is_some_and(|end| end <= **rows))?;
            *rows = count;
        }
        Some((shape, tensor.kind))
    }

    fn row(&self, name: &str, row: usize, to: &mut [f32]) -> Result<()> {
        let (place, tensor) = self.require(name)?;
        if !place.transposed && (tensor.dims.len() > 1 || place.rows.is_none()) {
            let first = place.rows.map_or(0, |(first, _)| first);
            return tensor.dequantize_row(first + row, to);
        }
        let kind = tensor.kind;
        let mut bytes = vec![0; to.len() / kind.block_len() * kind.block_bytes()];
        self.stored_row(name, row, &mut bytes)?;
        let what = || format!("row {row} of tensor \"{}\" ({})", place.tensor, kind.name());
        dequantize_blocks(kind, &bytes, to, 1).map_err(|error| match error {
            DequantizeError::NotFinite(at) => {
                Error::model_format(tensor.path(), tensor.offset, what(), "finite", to[at], "")
            }
            _ => Error::UnsupportedModel {
                what: format!("{}: {}", tensor.path(), what()),
                hint: format!("the types that can be dequantised are {}", GgmlType::dequantizable()),
            },
        })
    }

    fn stored_row(&self, name: &str, row: usize, to: &mut [u8]) -> Result<()> {
        let (place, tensor) = self.require(name)?;
        let (first, size) = (place.rows.map_or(0, |(first, _)| first), tensor.kind.block_bytes());
        let copied = if place.transposed {
            let stride = tensor.dims[0] as usize * size;
            let column = (first + row) * size;
            let rows = tensor.bytes().chunks_exact(stride.max(1));
            let matches = column < stride && rows.len() * size == to.len();
            if matches {
                for (to, stored) in to.chunks_exact_mut(size).zip(rows) {
                    to.copy_from_slice(&stored[column..column + size]);
                }
            }
            matches
        } else {
            let stored = match tensor.dims.len() {
                1 => tensor.bytes().get(first * size..).and_then(|bytes| bytes.get(..to.len())),
                _ => tensor.row_bytes(first + row).filter(|bytes| bytes.len() == to.len()),
            };
            stored.map(|stored| to.copy_from_slice(stored)).is_some()
        };
        if copied {
            return Ok(());
        }
        Err(Error::invalid("the row", format!("a row of tensor \"{}\"", place.tensor), row, ""))
    }

    fn lying(&self, name: &str) -> Option<Lying> {
        let (shape, _) = self.info(name)?;
        let (place, tensor) = self.find(name)?;
        let [_, columns] = shape[..] else { return None };
        let first = place.rows.map_or(0, |(first, _)| first);
        let size = tensor.kind.block_bytes();
        let row = columns / tensor.kind.block_len() * size;
        let stored = tensor.dims[0] as usize * size;
        let (row_step, step) = if place.transposed { (size, stored) } else { (row, size) };
        // `info` has checked the rows, the files their tensors: the bytes are there.
        Some(Lying { start: tensor.bytes().as_ptr().wrapping_add(first * row_step), row_step, step })
    }

    fn release(&self, name: &str) {
        if let Some((_, tensor)) = self.find(name) {
            tensor.release();
        }
    }
}

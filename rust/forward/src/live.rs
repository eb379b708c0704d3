//! Tensors in the memory of another library as a source of weights.

use crate::files::{Place, places_of};
use crate::model::Weights;
use crate::panels::Lying;
use draftwood_base::{Error, Result};
use draftwood_weights::{GgmlType, dequantize_blocks};
use std::collections::HashMap;

/// A tensor that belongs to somebody else: one value after the other, rows one after the other.
pub struct LiveTensor {
    start: *const u8,
    kind: GgmlType,
    /// [rows, columns]; a vector is one row.
    shape: [usize; 2],
    vector: bool,
    _owner: Box<dyn Send + Sync>,
}

// SAFETY: memory that is only read here; the owner may be sent and shared.
unsafe impl Send for LiveTensor {}
// SAFETY: as above.
unsafe impl Sync for LiveTensor {}

impl LiveTensor {
    /// A tensor of one or two dimensions; None for others, and for types that are no floats.
    ///
    /// # Safety
    /// `start` is valid for all values as long as `owner` lives. Who changes them meanwhile must not run at the same
    /// time as a step.
    pub unsafe fn new(
        start: *const u8,
        kind: GgmlType,
        shape: &[usize],
        owner: Box<dyn Send + Sync>,
    ) -> Option<Self> {
        let (shape, vector) = match *shape {
            [len] => ([1, len], true),
            [rows, columns] => ([rows, columns], false),
            _ => return None,
        };
        let floats = matches!(kind, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16);
        floats.then_some(Self { start, kind, shape, vector, _owner: owner })
    }

    fn size(&self) -> usize {
        self.kind.block_bytes()
    }
}

/// Tensors by their names, and where among them the model's tensors lie.
pub struct Live {
    tensors: HashMap<String, LiveTensor>,
    places: HashMap<String, Place>,
}

impl Live {
    /// `places` is a JSON table as in [`crate::Stored::new`].
    ///
    /// # Errors
    /// [`Error::Internal`] if it is not.
    pub fn new(tensors: HashMap<String, LiveTensor>, places: &str) -> Result<Self> {
        Ok(Self { tensors, places: places_of(places)? })
    }

    /// The tensor, and shape and place of the part that is meant.
    fn part(&self, name: &str) -> Option<(&LiveTensor, [usize; 2], Lying)> {
        let place = self.places.get(name)?;
        let tensor = self.tensors.get(&place.tensor)?;
        let size = tensor.size();
        let [mut rows, mut columns] = tensor.shape;
        let within = |(first, count): (usize, usize), all| {
            first.checked_add(count).filter(|&end| end <= all).map(|_| (first, count))
        };
        if tensor.vector {
            let (first, count) = within(place.rows.unwrap_or((0, columns)), columns)?;
            let start = tensor.start.wrapping_add(first * size);
            return Some((tensor, [1, count], Lying { start, row_step: count * size, step: size }));
        }
        let (mut row_step, mut step) = (columns * size, size);
        if place.transposed {
            (rows, columns, row_step, step) = (columns, rows, step, row_step);
        }
        let (first, rows) = within(place.rows.unwrap_or((0, rows)), rows)?;
        let start = tensor.start.wrapping_add(first * row_step);
        Some((tensor, [rows, columns], Lying { start, row_step, step }))
    }

    /// The tensor and the place of a part that has this row, of so many bytes.
    fn row_of(&self, name: &str, row: usize, bytes: usize) -> Option<(&LiveTensor, Lying)> {
        let (tensor, [rows, columns], lying) = self.part(name)?;
        (row < rows && bytes == columns * tensor.size()).then_some((tensor, lying))
    }

    /// The bytes of such a row, if its values lie one behind the other.
    fn whole_row(&self, name: &str, row: usize, bytes: usize) -> Option<&[u8]> {
        let (tensor, lying) = self.row_of(name, row, bytes)?;
        let start = lying.start.wrapping_add(row * lying.row_step);
        // SAFETY: `LiveTensor::new` was promised all values, and `row_of` has checked row and length.
        (lying.step == tensor.size()).then(|| unsafe { std::slice::from_raw_parts(start, bytes) })
    }
}

impl Weights for Live {
    fn info(&self, name: &str) -> Option<(Vec<usize>, GgmlType)> {
        let (tensor, [rows, columns], _) = self.part(name)?;
        Some((if tensor.vector { vec![columns] } else { vec![rows, columns] }, tensor.kind))
    }

    fn row(&self, name: &str, row: usize, to: &mut [f32]) -> Result<()> {
        let kind = self.part(name).map_or(GgmlType::F32, |(tensor, ..)| tensor.kind);
        let size = to.len() * kind.block_bytes();
        let mut copied = Vec::new();
        let bytes = match self.whole_row(name, row, size) {
            Some(bytes) => bytes,
            None => {
                copied.resize(size, 0);
                self.stored_row(name, row, &mut copied)?;
                &copied
            }
        };
        dequantize_blocks(kind, bytes, to, 1).map_err(|_| {
            Error::invalid(format!("row {row} of tensor \"{name}\""), "finite", "infinity or NaN", "")
        })
    }

    fn stored_row(&self, name: &str, row: usize, to: &mut [u8]) -> Result<()> {
        if let Some(bytes) = self.whole_row(name, row, to.len()) {
            to.copy_from_slice(bytes);
            return Ok(());
        }
        let Some((tensor, lying)) = self.row_of(name, row, to.len()) else {
            return Err(Error::invalid("the row", format!("a row of tensor \"{name}\""), row, ""));
        };
        let (size, from) = (tensor.size(), lying.start.wrapping_add(row * lying.row_step));
        for (column, to) in to.chunks_exact_mut(size).enumerate() {
            // SAFETY: `LiveTensor::new` was promised all values, and `row_of` has checked row and length.
            unsafe {
                std::ptr::copy_nonoverlapping(from.wrapping_add(column * lying.step), to.as_mut_ptr(), size);
            }
        }
        Ok(())
    }

    fn lying(&self, name: &str) -> Option<Lying> {
        self.part(name).map(|(.., lying)| lying)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(shape: &[usize], place: &str) -> Live {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| i as f32).collect();
        // SAFETY: the values move into the owner's box, their heap memory stays.
        let tensor = unsafe {
            let start = values.as_ptr().cast();
            LiveTensor::new(start, GgmlType::F32, shape, Box::new(values)).unwrap()
        };
        Live::new(HashMap::from([("t".into(), tensor)]), &format!("{{\"x\": {place}}}")).unwrap()
    }

    fn rows(live: &Live) -> Vec<Vec<f32>> {
        let (shape, _) = live.info("x").unwrap();
        let (count, len) = if shape.len() == 1 { (1, shape[0]) } else { (shape[0], shape[1]) };
        let row = |row| {
            let mut to = vec![0.0; len];
            live.row("x", row, &mut to).unwrap();
            to
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn parts_and_transposed_parts() {
        let place = |rows: &str, transposed: bool| {
            format!("{{\"tensor\": \"t\", \"rows\": {rows}, \"transposed\": {transposed}}}")
        };
        assert_eq!(rows(&live(&[2, 3], &place("null", false))), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        assert_eq!(rows(&live(&[3, 2], &place("[1, 2]", false))), [[2.0, 3.0], [4.0, 5.0]]);
        assert_eq!(rows(&live(&[2, 3], &place("null", true))), [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]);
        assert_eq!(rows(&live(&[2, 3], &place("[1, 2]", true))), [[1.0, 4.0], [2.0, 5.0]]);
        assert_eq!(rows(&live(&[5], &place("null", false))), [[0.0, 1.0, 2.0, 3.0, 4.0]]);
        assert_eq!(rows(&live(&[5], &place("[3, 2]", false))), [[3.0, 4.0]]);
        assert!(live(&[2, 3], &place("[2, 2]", true)).info("x").is_none());
        assert!(live(&[3, 2], &place("[2, 2]", false)).info("x").is_none());
        let whole = live(&[2, 3], &place("null", false));
        assert!(whole.row("x", 2, &mut [0.0; 3]).is_err() && whole.row("x", 0, &mut [0.0; 2]).is_err());
        assert!(whole.info("y").is_none() && Live::new(HashMap::new(), "[]").is_err());
    }
}

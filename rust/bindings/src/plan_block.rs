//! The arrays of a step's plan, one after the other in one int32 block that Python reads through views.

use crate::buffer::I32Block;
use draftwood_plan::StepPlan;
use pyo3::prelude::*;

/// Fills `block`; returns the borders of its arrays, in the order of `draftwood.step.StepPlan`, and the mask words per row.
pub fn write(py: Python<'_>, step: &StepPlan, block: &I32Block) -> PyResult<([usize; 14], usize)> {
    let (r, copies) = (step.rows(), step.copies());
    let starts = block.fill(
        py,
        [
            r.tokens,
            r.positions,
            r.parents,
            r.slots,
            r.row_offsets,
            r.chain,
            r.context,
            r.page_offsets,
            r.pages,
            r.masks,
            r.head_rows,
            step.requests(),
            copies.0,
            copies.1,
        ],
    )?;
    let mut borders = starts;
    borders[13] = starts[13] + copies.1.len();
    Ok((borders, r.mask_words))
}

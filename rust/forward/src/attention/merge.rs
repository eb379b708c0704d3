//! The splits of a row become one result.

use super::{Partials, splits};
use crate::activations::{Activations, Forms};
use crate::lanes::{Lanes, WIDTH};
use crate::linear::dots::{BlockKernel, Dots};
use crate::math::exp;
use crate::sight::Sight;
use std::ops::Range;

/// Merges the splits of some rows and heads, in the forms that the next product takes: M = max m; w = exp(m − M);
/// L = Σ w·l, o = Σ w·o as chains of fused multiply-adds over the splits in order; o / L.
#[derive(Clone)]
pub(crate) struct MergeRows<'a> {
    pub partials: Partials,
    pub sight: &'a Sight,
    pub window: Option<usize>,
    /// Heads of an item, whose dimensions are whole blocks.
    pub together: usize,
    pub head_dim: usize,
    pub to: Activations,
    pub forms: Forms,
    /// Values of a row of `to`.
    pub stride: usize,
    /// Item i: the heads from i mod g · `together` on of row i / g of the block, where g such groups make a row.
    pub items: Range<usize>,
}

impl MergeRows<'_> {
    /// The same for other items.
    ///
    /// # Safety
    /// The partial results of their rows are complete, and no other thread touches those parts of `to`.
    pub unsafe fn of(&self, items: Range<usize>) -> Self {
        Self { items, ..self.clone() }
    }
}

impl BlockKernel for MergeRows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dots>(self) {
        let Self { partials, together, head_dim, to, forms, stride, .. } = self;
        let groups = partials.heads / together;
        for item in self.items.clone() {
            let (row, first) = (partials.first_row + item / groups, item % groups * together);
            let seen = splits(self.sight.rows[row].position, self.window);
            // SAFETY: by the word of `of`.
            unsafe {
                for head in first..first + together {
                    let at = to.floats.at(row * stride + head * head_dim, head_dim);
                    merge::<D::Lanes>(partials, (row, head), seen.clone(), head_dim, at);
                }
                to.convert_on::<D>(forms, row, stride, first * head_dim, together * head_dim);
            }
        }
    }
}

/// One row and head to `head_dim` values from `to` on.
///
/// # Safety
/// The machine has `L`; partial results hold `padded_dim` + 16 values and are complete; `to` is valid and the caller's.
#[inline(always)]
unsafe fn merge<L: Lanes>(
    partials: Partials,
    (row, head): (usize, usize),
    splits: Range<usize>,
    head_dim: usize,
    to: *mut f32,
) {
    // Addresses only: vector code in a closure would be compiled without the instruction set.
    let part = |split| partials.at(row, head, split);
    let padded = partials.padded_dim;
    let single = splits.len() == 1;
    // SAFETY: passed on to the caller.
    unsafe {
        // The weight of a single split is exp(0) = 1.
        let total =
            if single { L::splat(*part(splits.start).add(padded + 1)) } else { weigh(part, padded, &splits) };
        for d in (0..head_dim).step_by(WIDTH) {
            let mut sum = L::splat(0.0);
            for split in splits.clone() {
                let weight = L::splat(if single { 1.0 } else { *part(split).add(padded + 2) });
                sum = weight.fma(L::load(part(split).add(d)), sum);
            }
            let result = sum.div(total);
            if d + WIDTH <= head_dim {
                result.store(to.add(d));
            } else {
                let mut lanes = [0f32; WIDTH];
                result.store(lanes.as_mut_ptr());
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), to.add(d), head_dim - d);
            }
        }
    }
}

/// L; each split's weight is kept behind its m and l, so that it is computed once and not for each vector of dimensions.
#[inline(always)]
unsafe fn weigh<L: Lanes>(part: impl Fn(usize) -> *mut f32, padded: usize, splits: &Range<usize>) -> L {
    // SAFETY: as `merge`.
    unsafe {
        let mut largest = *part(splits.start).add(padded);
        for split in splits.start + 1..splits.end {
            let m = *part(split).add(padded);
            largest = if largest > m { largest } else { m };
        }
        let mut total = L::splat(0.0);
        for split in splits.clone() {
            let weight = exp(L::splat(*part(split).add(padded)).sub(L::splat(largest)));
            total = weight.fma(L::splat(*part(split).add(padded + 1)), total);
            part(split).add(padded + 2).write(weight.largest());
        }
        total
    }
}

//! The splits of a row become one result.

use super::Partials;
use crate::lanes::{Lanes, WIDTH};
use crate::machine::Kernel;
use crate::math::exp;
use crate::memory::Shared;
use std::ops::Range;

/// M = max m; w = exp(m − M); L = Σ w·l, o = Σ w·o as chains of fused multiply-adds over the splits in order; o / L.
pub struct Merge {
    partials: Partials,
    row: usize,
    head: usize,
    splits: Range<usize>,
    head_dim: usize,
    to: Shared<f32>,
    at: usize,
}

impl Merge {
    /// One row and head, and the splits of which it sees something ([`super::splits`]); `head_dim` values go to `to[at..]`.
    ///
    /// # Safety
    /// The partial results of the row are complete, and no other thread touches that part of `to`.
    pub unsafe fn new(
        partials: Partials,
        (row, head): (usize, usize),
        splits: Range<usize>,
        head_dim: usize,
        to: Shared<f32>,
        at: usize,
    ) -> Self {
        Self { partials, row, head, splits, head_dim, to, at }
    }
}

impl Kernel for Merge {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Range { start, end } = self.splits;
        let padded = self.partials.padded_dim;
        let part = |split| self.partials.at(self.row, self.head, split);
        // Addresses only: vector code in a closure would be compiled without the instruction set.
        // SAFETY: partial results hold `padded` + 16 values and are complete; `to` is ours, by the word of `new`.
        unsafe {
            let mut largest = *part(start).add(padded);
            for split in start + 1..end {
                let m = *part(split).add(padded);
                largest = if largest > m { largest } else { m };
            }
            let largest = L::splat(largest);
            let mut total = L::splat(0.0);
            for split in start..end {
                let weight = exp(L::splat(*part(split).add(padded)).sub(largest));
                total = weight.fma(L::splat(*part(split).add(padded + 1)), total);
                // Kept behind m and l, so that it is computed once and not for each vector of dimensions.
                part(split).add(padded + 2).write(weight.largest());
            }
            for d in (0..self.head_dim).step_by(WIDTH) {
                let mut sum = L::splat(0.0);
                for split in start..end {
                    let weight = L::splat(*part(split).add(padded + 2));
                    sum = weight.fma(L::load(part(split).add(d)), sum);
                }
                let result = sum.div(total);
                let width = WIDTH.min(self.head_dim - d);
                let to = self.to.at(self.at + d, width);
                if width == WIDTH {
                    result.store(to);
                } else {
                    let mut lanes = [0f32; WIDTH];
                    result.store(lanes.as_mut_ptr());
                    std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, width);
                }
            }
        }
    }
}

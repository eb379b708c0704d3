//! Activations as signed bytes, for weights that are stored in few bits.
//!
//! Per row and 32 columns: with a = max |x|, q = x · (127 / a) rounded to the nearest integer, ties to even, and
//! x ≈ q · (a / 127). Sums of q are kept, since weights with an offset or a minimum need them.

use crate::linear::dots::{BlockKernel, Dots};
use crate::machine::Machine;

/// Columns of a block.
pub const BLOCK: usize = 32;

/// 32 activations of one row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[repr(C, align(16))]
pub struct Block {
    /// q, each in −127..=127.
    pub values: [i8; BLOCK],
    /// What one unit of q stands for.
    pub scale: f32,
    /// `scale` · `sum`, rounded once.
    pub scaled_sum: f32,
    /// Σ q.
    pub sum: i32,
    /// Σ q of the first 16 columns.
    pub first_sum: i32,
}

impl Block {
    /// Stands for 32 values of which one is not finite: all outputs that use it are NaN.
    const NOT_FINITE: Block =
        Block { values: [0; BLOCK], scale: f32::NAN, scaled_sum: f32::NAN, sum: 0, first_sum: 0 };

    /// Stores the scale of a largest magnitude `largest` and gives 127 / `largest`; 0 below 127 / [`f32::MAX`], where
    /// that is infinite and all values count as 0.
    #[inline(always)]
    pub(crate) fn inverse(largest: f32) -> (f32, f32) {
        let inverse = 127.0 / largest;
        if inverse < f32::INFINITY { (largest / 127.0, inverse) } else { (0.0, 0.0) }
    }

    /// The block of bytes whose sums are known.
    #[inline(always)]
    pub(crate) fn set_sums(&mut self, scale: f32, first: i32, second: i32) {
        self.scale = scale;
        self.sum = first + second;
        self.first_sum = first;
        self.scaled_sum = scale * self.sum as f32;
    }

    /// Marks the block as made from values of which one is not finite.
    #[inline(always)]
    pub(crate) fn refuse(&mut self) -> bool {
        *self = Self::NOT_FINITE;
        false
    }
}

/// Quantises a row. False when a value is not finite: outputs that use its block are NaN then.
///
/// The bits are the same on every machine.
///
/// # Panics
/// If `to` does not hold `values.len() / 32` blocks exactly.
pub fn quantise(machine: Machine, values: &[f32], to: &mut [Block]) -> bool {
    assert_eq!(values.len(), to.len() * BLOCK, "values in blocks of {BLOCK}");
    machine.run_blocks(Quantise { values, to })
}

struct Quantise<'a> {
    values: &'a [f32],
    to: &'a mut [Block],
}

impl BlockKernel for Quantise<'_> {
    type Output = bool;

    #[inline(always)]
    unsafe fn run<D: Dots>(self) -> bool {
        let mut finite = true;
        for (values, block) in self.values.as_chunks::<BLOCK>().0.iter().zip(self.to) {
            // SAFETY: this runs where the machine has `D`'s instruction set.
            finite &= unsafe { D::quantise(values, block) };
        }
        finite
    }
}

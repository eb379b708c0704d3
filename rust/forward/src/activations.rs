//! What matrices take as inputs: floats, the same in blocks of signed bytes, the same as bf16.

use crate::linear::dots::{BlockKernel, Dots};
use crate::linear::{Form, Rows, round};
use crate::machine::Machine;
use crate::memory::Shared;
use crate::model::Linear;
use crate::panels::Panels;
use crate::quantise::{BLOCK, Block};

/// The inputs of a matrix, [rows][stride]: floats, and the same quantised where a matrix takes that.
#[derive(Clone, Copy)]
pub(crate) struct Activations {
    pub floats: Shared<f32>,
    blocks: Shared<Block>,
    halves: Shared<u16>,
}

impl Activations {
    pub fn new((floats, blocks, halves): (&mut [f32], &mut [Block], &mut [u16])) -> Self {
        Self { floats: Shared::new(floats), blocks: Shared::new(blocks), halves: Shared::new(halves) }
    }

    pub fn rows(self, stride: usize, count: usize) -> Rows {
        let block_stride = stride.div_ceil(BLOCK);
        Rows {
            start: self.floats.at(0, count * stride),
            stride,
            count,
            blocks: self.blocks.at(0, count * block_stride),
            block_stride,
            halves: self.halves.at(0, 0),
        }
    }

    /// Makes the other forms of `len` values of a row from `at` on, whole blocks both.
    ///
    /// # Safety
    /// The values are complete, and nobody else touches their blocks.
    pub unsafe fn convert(self, forms: Forms, row: usize, stride: usize, at: usize, len: usize) {
        forms.machine.run_blocks(Convert { to: self, forms, row, stride, at, len });
    }

    /// As [`Activations::convert`], inside a kernel.
    ///
    /// # Safety
    /// The same, and the machine has `D`.
    #[inline(always)]
    pub unsafe fn convert_on<D: Dots>(self, forms: Forms, row: usize, stride: usize, at: usize, len: usize) {
        if forms.halves {
            let at = row * stride + at;
            // SAFETY: passed on to the caller.
            unsafe { round(forms.machine, self.floats.read(at, len), self.halves.write(at, len)) };
        }
        if !forms.blocks {
            return;
        }
        let blocks = row * stride.div_ceil(BLOCK) + at / BLOCK;
        // SAFETY: passed on to the caller.
        unsafe {
            let values = self.floats.read(row * stride + at, len).as_chunks::<BLOCK>().0;
            for (values, block) in values.iter().zip(self.blocks.write(blocks, len / BLOCK)) {
                // A value that is not finite makes its block, and so the row's logits, NaN; `verify` reports those.
                D::quantise(values, block);
            }
        }
    }
}

struct Convert {
    to: Activations,
    forms: Forms,
    row: usize,
    stride: usize,
    at: usize,
    len: usize,
}

impl BlockKernel for Convert {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dots>(self) {
        let Self { to, forms, row, stride, at, len } = self;
        // SAFETY: by the word of `Activations::convert`.
        unsafe { to.convert_on::<D>(forms, row, stride, at, len) }
    }
}

/// What the next matrices take activations as, beside floats.
#[derive(Clone, Copy)]
pub(crate) struct Forms {
    machine: Machine,
    blocks: bool,
    halves: bool,
}

impl Forms {
    pub fn of<'m>(machine: Machine, matrices: impl IntoIterator<Item = &'m Panels>) -> Self {
        let mut forms = Self { machine, blocks: false, halves: false };
        for matrix in matrices {
            match machine.form(matrix.layout) {
                Form::Floats => {}
                Form::Blocks => forms.blocks = true,
                Form::Halves => forms.halves = true,
            }
        }
        forms
    }

    pub fn of_linear<'m>(machine: Machine, matrices: impl IntoIterator<Item = &'m Linear>) -> Self {
        Self::of(machine, matrices.into_iter().map(|linear| &linear.weights))
    }
}

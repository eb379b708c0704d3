//! Between the two products of the feed-forward layer: bias, activation, gate, and the form that the next product takes,
//! for all rows of a unit in one pass, so that the processor works on several rows at once.

use crate::activations::{Activations, Forms};
use crate::lanes::{Lanes, WIDTH};
use crate::linear::dots::{BlockKernel, Dots};
use crate::math::{gelu_tanh, silu};
use crate::model::GATED;
use crate::spec::Activation;

/// activation(gate) · up, or activation(up), of a unit of [`GATED`] outputs.
pub(crate) struct Gate<'a> {
    activation: Activation,
    /// [rows][width]: gate, if there is one, and up.
    outputs: &'a [f32],
    width: usize,
    /// [width].
    bias: Option<&'a [f32]>,
    to: Activations,
    forms: Forms,
    stride: usize,
    at: usize,
}

impl<'a> Gate<'a> {
    /// `outputs` [rows][width] with a width of [`GATED`], or twice that with a gate; results go to the columns
    /// `at..at + GATED` of rows of `stride`.
    ///
    /// # Safety
    /// Nobody else touches these columns of `to`, which has so many rows.
    pub unsafe fn new(
        activation: Activation,
        (outputs, width): (&'a [f32], usize),
        bias: Option<&'a [f32]>,
        (to, forms): (Activations, Forms),
        (stride, at): (usize, usize),
    ) -> Self {
        assert!(width == GATED || width == 2 * GATED, "{width} outputs of a unit");
        assert!(outputs.len().is_multiple_of(width) && bias.is_none_or(|bias| bias.len() == width));
        Self { activation, outputs, width, bias, to, forms, stride, at }
    }
}

impl BlockKernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dots>(self) {
        let Self { activation, outputs, width, bias, to, forms, stride, at } = self;
        let has_gate = width > GATED;
        for row in 0..outputs.len() / width {
            // SAFETY: a row has `width` values, as the bias; the columns are ours by the word of `new`.
            unsafe {
                let from = outputs.as_ptr().add(row * width);
                let result = to.floats.at(row * stride + at, GATED);
                for d in (0..GATED).step_by(WIDTH) {
                    let x = biased::<D::Lanes>(from, bias, d);
                    let mut y = match activation {
                        Activation::Silu => silu(x),
                        Activation::GeluTanh => gelu_tanh(x),
                    };
                    if has_gate {
                        y = y.mul(biased::<D::Lanes>(from, bias, GATED + d));
                    }
                    y.store(result.add(d));
                }
                to.convert_on::<D>(forms, row, stride, at, GATED);
            }
        }
    }
}

/// Sixteen outputs with their bias.
#[inline(always)]
unsafe fn biased<L: Lanes>(from: *const f32, bias: Option<&[f32]>, at: usize) -> L {
    // SAFETY: passed on to the caller.
    unsafe {
        let x = L::load(from.add(at));
        // No closure: it would be compiled without the instruction set.
        match bias {
            Some(bias) => x.add(L::load(bias.as_ptr().add(at))),
            None => x,
        }
    }
}

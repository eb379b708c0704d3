//! Row by row: RMSNorm (Zhang and Sennrich 2019) and SwiGLU (Shazeer 2020), rounded as transformers rounds them.

use crate::lanes::{Lanes, WIDTH};
use crate::machine::Kernel;

/// x / √(mean(x²) + ε), then times the weight, of one row. All slices are padded with zeros to whole vectors; `count` values are real.
pub struct RmsNorm<'a> {
    /// Values.
    pub x: &'a [f32],
    /// Weights.
    pub weight: &'a [f32],
    /// Result, as long as x.
    pub to: &'a mut [f32],
    /// Values without padding.
    pub count: usize,
    /// ε.
    pub epsilon: f32,
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { x, weight, to, count, epsilon } = self;
        assert!(x.len().is_multiple_of(WIDTH) && weight.len() == x.len() && to.len() == x.len());
        // SAFETY: whole vectors of slices of equal length; the machine was detected.
        unsafe {
            let mut squares = L::splat(0.0);
            for at in (0..x.len()).step_by(WIDTH) {
                let x = L::load(x.as_ptr().add(at));
                squares = x.fma(x, squares);
            }
            let inverse = L::splat(1.0 / (squares.sum() / count as f32 + epsilon).sqrt());
            for at in (0..x.len()).step_by(WIDTH) {
                let x = L::load(x.as_ptr().add(at)).mul(inverse);
                x.mul(L::load(weight.as_ptr().add(at))).store(to.as_mut_ptr().add(at));
            }
        }
    }
}

/// silu(gate) · up in whole vectors, to `to`.
pub struct SwiGlu<'a> {
    /// Gate values.
    pub gate: &'a [f32],
    /// Up values.
    pub up: &'a [f32],
    /// Result.
    pub to: &'a mut [f32],
}

impl Kernel for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { gate, up, to } = self;
        assert!(to.len().is_multiple_of(WIDTH) && gate.len() == to.len() && up.len() == to.len());
        for at in (0..to.len()).step_by(WIDTH) {
            // SAFETY: as above.
            unsafe {
                let gate = crate::math::silu(L::load(gate.as_ptr().add(at)));
                gate.mul(L::load(up.as_ptr().add(at))).store(to.as_mut_ptr().add(at));
            }
        }
    }
}

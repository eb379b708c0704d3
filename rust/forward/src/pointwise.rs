//! Norms of a row (RMSNorm, Zhang and Sennrich 2019; LayerNorm, Ba et al. 2016), rounded as transformers rounds them.

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

/// (x − mean(x)) / √(variance(x) + ε), then times the weight plus the bias, of one row; padded as [`RmsNorm`].
pub struct LayerNorm<'a> {
    /// Values.
    pub x: &'a [f32],
    /// Weights.
    pub weight: &'a [f32],
    /// Biases.
    pub bias: &'a [f32],
    /// Result, as long as x.
    pub to: &'a mut [f32],
    /// Values without padding.
    pub count: usize,
    /// ε.
    pub epsilon: f32,
}

impl Kernel for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { x, weight, bias, to, count, epsilon } = self;
        assert!(x.len().is_multiple_of(WIDTH) && weight.len() == x.len() && to.len() == x.len());
        assert!(bias.len() == x.len() && count <= x.len());
        // SAFETY: as above.
        unsafe {
            let mut sum = L::splat(0.0);
            for at in (0..x.len()).step_by(WIDTH) {
                sum = sum.add(L::load(x.as_ptr().add(at)));
            }
            let mean = L::splat(sum.sum() / count as f32);
            for at in (0..x.len()).step_by(WIDTH) {
                L::load(x.as_ptr().add(at)).sub(mean).store(to.as_mut_ptr().add(at));
            }
            // The padding is no value: its distance from the mean must not count.
            to[count..].fill(0.0);
            let mut squares = L::splat(0.0);
            for at in (0..x.len()).step_by(WIDTH) {
                let x = L::load(to.as_ptr().add(at));
                squares = x.fma(x, squares);
            }
            let inverse = L::splat(1.0 / (squares.sum() / count as f32 + epsilon).sqrt());
            for at in (0..x.len()).step_by(WIDTH) {
                let x = L::load(to.as_ptr().add(at)).mul(inverse);
                let (weight, bias) = (L::load(weight.as_ptr().add(at)), L::load(bias.as_ptr().add(at)));
                x.fma(weight, bias).store(to.as_mut_ptr().add(at));
            }
        }
    }
}

//! Elementary functions of our own: the same bits on every machine, which no libm promises.

use crate::lanes::Lanes;

/// log₂ e, and ln 2 in two parts whose first has room for exact products.
const LOG2_E: f32 = std::f32::consts::LOG2_E;
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Added to a number below 2²², it leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;

/// eˣ with a relative error below 2·10⁻⁷ for −87 ≤ x ≤ 88; x outside is taken as the nearer end. exp(0) = 1 exactly; NaN
/// stays NaN. A polynomial of degree 6 after splitting off the power of two (Cody and Waite 1980).
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub unsafe fn exp<L: Lanes>(x: L) -> L {
    // SAFETY: passed on to the caller.
    unsafe {
        let x = L::splat(88.0).min(L::splat(-87.0).max(x));
        let rounded = x.fma(L::splat(LOG2_E), L::splat(ROUND));
        let n = rounded.sub(L::splat(ROUND));
        let r = n.fma(L::splat(-LN2_HIGH), x);
        let r = n.fma(L::splat(-LN2_LOW), r);
        let mut p = L::splat(1.0 / 720.0);
        for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = p.fma(r, L::splat(c));
        }
        p.scale_by_power(rounded)
    }
}

/// x / (1 + e⁻ˣ), the SiLU of SwiGLU.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub unsafe fn silu<L: Lanes>(x: L) -> L {
    // SAFETY: passed on to the caller.
    unsafe { x.div(exp(L::splat(0.0).sub(x)).add(L::splat(1.0))) }
}

/// tanh x = 1 − 2 / (e²ˣ + 1), absolute error below 2·10⁻⁷.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub unsafe fn tanh<L: Lanes>(x: L) -> L {
    // SAFETY: passed on to the caller.
    unsafe {
        let one = L::splat(1.0);
        one.sub(L::splat(2.0).div(exp(x.add(x)).add(one)))
    }
}

/// The GELU in its tanh form (Hendrycks and Gimpel 2016), GPT-2's `gelu_new`.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub unsafe fn gelu_tanh<L: Lanes>(x: L) -> L {
    // SAFETY: passed on to the caller.
    unsafe {
        let cube = x.mul(x).mul(x);
        let inner = L::splat(0.797_884_6).mul(cube.fma(L::splat(0.044_715), x));
        L::splat(0.5).mul(x).mul(L::splat(1.0).add(tanh(inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::WIDTH;
    use crate::machine::{Kernel, Machine};

    struct Apply<'a>(&'a [f32], &'a mut [f32], u8);

    impl Kernel for Apply<'_> {
        type Output = ();
        #[inline(always)]
        unsafe fn run<L: Lanes>(self) {
            for (from, to) in self.0.chunks_exact(WIDTH).zip(self.1.chunks_exact_mut(WIDTH)) {
                // SAFETY: chunks of 16 values; the machine was detected.
                unsafe {
                    let x = L::load(from.as_ptr());
                    let y = match self.2 {
                        0 => exp(x),
                        1 => silu(x),
                        2 => tanh(x),
                        _ => gelu_tanh(x),
                    };
                    y.store(to.as_mut_ptr());
                }
            }
        }
    }

    fn apply(machine: Machine, x: &[f32], function: u8) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        machine.run(Apply(x, &mut y, function));
        y
    }

    #[test]
    fn values_are_right_and_bits_the_same_everywhere() {
        let mut x: Vec<f32> = (0..160_000).map(|i| (i as f32 - 80_000.0) * 1.1e-3).collect();
        x.extend([0.0, -0.0, 88.0, -87.0, 1e-30, -1e-30, f32::INFINITY, f32::NEG_INFINITY].repeat(2));
        let exact: [fn(f64) -> f64; 4] = [
            f64::exp,
            |x| x / (1.0 + (-x).exp()),
            f64::tanh,
            |x| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x * x * x)).tanh()),
        ];
        for (function, exact) in (0..).zip(exact) {
            let reference = apply(Machine::at_most(draftwood_logits::Isa::Scalar), &x, function);
            for machine in Machine::all() {
                let y = apply(machine, &x, function);
                assert!(
                    y.iter().zip(&reference).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{}",
                    machine.name()
                );
            }
            for (&x, &y) in x.iter().zip(&reference).filter(|(x, _)| x.abs() <= 87.0) {
                let right = exact(f64::from(x));
                let scale = if function == 0 { right.abs() } else { right.abs().max(1.0) };
                assert!(
                    (f64::from(y) - right).abs() <= 3e-7 * scale,
                    "function {function} of {x}: {y} {right}"
                );
            }
        }
        assert_eq!(apply(Machine::get(), &[0.0; 16], 0), [1.0; 16]);
        assert!(apply(Machine::get(), &[f32::NAN; 16], 0)[0].is_nan());
    }
}

//! Lanes as an array: the reference, and what machines without AVX2 run.

use super::Lanes;
use half::f16;

/// Sixteen values in memory. Slow where the target has no fused multiply-add, since that is then emulated exactly.
#[derive(Debug, Clone, Copy)]
pub struct Scalar([f32; 16]);

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> Scalar {
    Scalar(std::array::from_fn(f))
}

#[inline(always)]
fn fold(mut lanes: [f32; 16], f: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
    }
    lanes[0]
}

impl Lanes for Scalar {
    const FLOAT_ROWS: usize = 4;
    const SCORE_PAGES: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Scalar([value; 16])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's pointer is valid for 16 values.
        Scalar(unsafe { from.cast::<[f32; 16]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: as `load`.
        let bits = unsafe { from.cast::<[u16; 16]>().read_unaligned() };
        each(|i| f16::from_bits(bits[i]).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16_even(from: *const u32) -> Self {
        // SAFETY: as `load`.
        let bits = unsafe { from.cast::<[u32; 16]>().read_unaligned() };
        each(|i| f32::from_bits(bits[i] << 16))
    }
    #[inline(always)]
    unsafe fn load_bf16_odd(from: *const u32) -> Self {
        // SAFETY: as `load`.
        let bits = unsafe { from.cast::<[u32; 16]>().read_unaligned() };
        each(|i| f32::from_bits(bits[i] & 0xFFFF_0000))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's pointer is valid for 16 values.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        each(|i| self.0[i] + other.0[i])
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        each(|i| self.0[i] - other.0[i])
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        each(|i| self.0[i] * other.0[i])
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        each(|i| self.0[i] / other.0[i])
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        each(|i| self.0[i].mul_add(b.0[i], c.0[i]))
    }
    #[inline(always)]
    unsafe fn min(self, value: Self) -> Self {
        each(|i| if self.0[i] < value.0[i] { self.0[i] } else { value.0[i] })
    }
    #[inline(always)]
    unsafe fn max(self, value: Self) -> Self {
        each(|i| if self.0[i] > value.0[i] { self.0[i] } else { value.0[i] })
    }
    #[inline(always)]
    unsafe fn scale_by_power(self, n_bits: Self) -> Self {
        each(|i| f32::from_bits(self.0[i].to_bits().wrapping_add(n_bits.0[i].to_bits() << 23)))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        fold(self.0, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        fold(self.0, |a, b| if a > b { a } else { b })
    }
}

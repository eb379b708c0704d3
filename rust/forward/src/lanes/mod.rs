//! Sixteen f32 lanes: the width that all arithmetic of this crate is written in.
//!
//! One AVX-512 register, two AVX2 registers, or an array: each operation rounds the same way on all of them, and sums
//! over lanes fold in one fixed order, so the three give the same bits (part of *row invariance*).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use scalar::Scalar;

/// Lanes per vector.
pub const WIDTH: usize = 16;

/// Sixteen f32.
///
/// # Safety
/// Every function may only be called on a machine that has the instruction set of the type, from code that is compiled
/// for it (`machine::Kernel` sees to both); pointers must be valid for 16 values of their type.
pub trait Lanes: Copy {
    /// Most rows of activations that a float panel kernel keeps in registers.
    const FLOAT_ROWS: usize;
    /// Pages whose scores are computed together for six queries.
    const SCORE_PAGES: usize;

    /// The same value in each lane.
    unsafe fn splat(value: f32) -> Self;
    /// Sixteen values, unaligned.
    unsafe fn load(from: *const f32) -> Self;
    /// Sixteen IEEE halves, widened exactly.
    unsafe fn load_f16(from: *const u16) -> Self;
    /// Sixteen 32-bit words taken as f32 after a shift left by 16: the even bf16 values of pairs.
    unsafe fn load_bf16_even(from: *const u32) -> Self;
    /// Sixteen 32-bit words taken as f32 without their lower half: the odd bf16 values of pairs.
    unsafe fn load_bf16_odd(from: *const u32) -> Self;
    /// Writes sixteen values, unaligned.
    unsafe fn store(self, to: *mut f32);
    /// self + other.
    unsafe fn add(self, other: Self) -> Self;
    /// self − other.
    unsafe fn sub(self, other: Self) -> Self;
    /// self · other.
    unsafe fn mul(self, other: Self) -> Self;
    /// self / other, correctly rounded.
    unsafe fn div(self, other: Self) -> Self;
    /// self · b + c with one rounding.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// `self < value ? self : value`: NaN in `value` stays.
    unsafe fn min(self, value: Self) -> Self;
    /// `self > value ? self : value`: NaN in `value` stays.
    unsafe fn max(self, value: Self) -> Self;
    /// self · 2ⁿ for normal results, where n is the low bits of `n_bits`, an integer that was added to 1.5·2²³.
    unsafe fn scale_by_power(self, n_bits: Self) -> Self;
    /// All lanes in one: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
    unsafe fn sum(self) -> f32;
    /// The largest lane, folded as [`Lanes::sum`].
    unsafe fn largest(self) -> f32;
}

/// Reads into the cache that comes closest to "once": lines that are used once do not push others out.
///
/// A prefetch is no access: the address may lie anywhere.
#[inline(always)]
pub fn prefetch_once(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching has no effect that a program can see, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_NTA }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Reads into the level-2 cache; not limited by the few miss buffers of level 1. As harmless as [`prefetch_once`].
#[inline(always)]
pub fn prefetch_level2(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

//! Integer products of weights and activations in blocks of 32 columns, one type per instruction set.
//!
//! Sums of integers are exact, so how they are formed is free: what differs between instruction sets is only that.
//! Sixteen rows of weights are sixteen 32-bit lanes; a vector holds for each of them the bytes of four neighbouring
//! columns, and four bytes of activations are broadcast against it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod narrow;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod vnni;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2Dots;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512Dots;
pub(crate) use scalar::ScalarDots;
#[cfg(target_arch = "x86_64")]
pub(crate) use vnni::VnniDots;

use crate::lanes::Lanes;
use crate::quantise::{BLOCK, Block};

/// Bytes of one vector: four columns of sixteen rows.
pub(crate) const VECTOR: usize = 64;

/// Products of one block of 16 rows of weights with N rows of activations.
///
/// **High bits** extend nibbles: bit k of a byte of their vector belongs to the same byte of vector k, where the vectors
/// 0 to 3 are the low nibbles (columns 0 to 15) and 4 to 7 the high ones. Pairs of high bits take two vectors, the first
/// for the low nibbles: bits 2k and 2k + 1 belong to vector k.
///
/// # Safety
/// As [`Lanes`]: only where the machine has the instruction set; pointers valid for the bytes named, aligned or not.
pub(crate) trait Dots {
    /// The floats beside.
    type Lanes: Lanes;
    /// Sixteen i32.
    type Sums: Copy;
    /// Most rows of activations at once.
    const ROWS: usize;

    /// Σ (w − 128)·x of 8 vectors of unsigned bytes; vector v holds the columns 4v to 4v + 3.
    unsafe fn bytes<const N: usize>(w: *const u8, x: &[*const Block; N]) -> [Self::Sums; N];
    /// Σ w·x of 4 vectors of nibbles; vector v holds the columns 4v to 4v + 3 in its low and 16 more in its high nibbles.
    unsafe fn nibbles<const N: usize>(w: *const u8, x: &[*const Block; N]) -> [Self::Sums; N];
    /// As `nibbles` with a fifth bit from a vector at `high`.
    unsafe fn fives<const N: usize>(w: *const u8, high: *const u8, x: &[*const Block; N]) -> [Self::Sums; N];
    /// As `nibbles` with two more bits from two vectors at `high`, and 32 less: the sums of the columns 0 to 15 and of
    /// 16 to 31, each times its scale (16 i8 of `scales`, then 16 more), added.
    unsafe fn sixes<const N: usize>(
        w: *const u8,
        high: *const u8,
        scales: *const i8,
        x: &[*const Block; N],
    ) -> [Self::Sums; N];
    /// Each sum less `value`.
    unsafe fn less(sums: Self::Sums, value: i32) -> Self::Sums;
    /// As floats, rounded to nearest; exact below 2²⁴.
    unsafe fn floats(sums: Self::Sums) -> Self::Lanes;
    /// Sixteen unsigned bytes as floats.
    unsafe fn load_u8(from: *const u8) -> Self::Lanes;
    /// Sixteen signed bytes as floats.
    unsafe fn load_i8(from: *const i8) -> Self::Lanes;
    /// A vector: sixteen words.
    unsafe fn words(from: *const u8) -> Self::Sums;
    /// `words >> shift & mask`, without sign.
    unsafe fn field(words: Self::Sums, shift: usize, mask: i32) -> Self::Sums;
    /// `low | high << shift`.
    unsafe fn join(low: Self::Sums, high: Self::Sums, shift: usize) -> Self::Sums;
    /// One block of activations; see [`crate::quantise`]. False if a value is not finite.
    unsafe fn quantise(values: &[f32; BLOCK], to: &mut Block) -> bool;
}

/// Arithmetic written once over [`Dots`]; `run` must be `#[inline(always)]`.
pub(crate) trait BlockKernel {
    /// What it returns.
    type Output;
    /// # Safety
    /// The machine has the instruction set of `D`; what the kernel points to is valid as its constructor demands.
    unsafe fn run<D: Dots>(self) -> Self::Output;
}

/// Four activations from column `column` on, as one 32-bit word.
///
/// # Safety
/// `x` is valid, `column` ≤ 28.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn four(x: *const Block, column: usize) -> i32 {
    // SAFETY: inside `values`.
    unsafe { x.cast::<u8>().add(std::mem::offset_of!(Block, values) + column).cast::<i32>().read_unaligned() }
}

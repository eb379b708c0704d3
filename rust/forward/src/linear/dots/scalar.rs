//! The reference: one product after the other.

use super::{Dots, VECTOR};
use crate::lanes::{Lanes, Scalar};
use crate::quantise::{BLOCK, Block};

pub(crate) struct ScalarDots;

type Sums = [i32; 16];

/// Σ weight(row, column)·x[column] over `columns`, for 16 rows.
#[inline(always)]
fn products(x: *const Block, columns: std::ops::Range<usize>, weight: impl Fn(usize, usize) -> i32) -> Sums {
    // SAFETY: the callers' pointers are valid blocks.
    let x = unsafe { &(*x).values };
    let mut sums = [0; 16];
    for column in columns {
        for (row, sum) in sums.iter_mut().enumerate() {
            *sum += weight(row, column) * i32::from(x[column]);
        }
    }
    sums
}

/// Byte of a row and column in vectors of four columns.
///
/// # Safety
/// `w` is valid for the vector of `column`.
#[inline(always)]
unsafe fn byte(w: *const u8, row: usize, column: usize) -> i32 {
    // SAFETY: the caller's word.
    i32::from(unsafe { *w.add(column / 4 * VECTOR + 4 * row + column % 4) })
}

/// # Safety
/// `w` is valid for four vectors.
#[inline(always)]
unsafe fn nibble(w: *const u8, row: usize, column: usize) -> i32 {
    // SAFETY: `column % 16` lies in the four vectors.
    (unsafe { byte(w, row, column % 16) } >> (column / 16 * 4)) & 15
}

/// The bits of a column above its nibble, `count` of them.
///
/// # Safety
/// `high` is valid for `count` vectors.
#[inline(always)]
unsafe fn bits(high: *const u8, count: usize, row: usize, column: usize) -> i32 {
    let first = column / 4 * count;
    // SAFETY: 8 / `count` vectors of four columns share one of high bits.
    let byte = unsafe { *high.add(first / 8 * VECTOR + 4 * row + column % 4) };
    i32::from(byte >> (first % 8) & ((1 << count) - 1))
}

// SAFETY of all blocks below: the caller of a `Dots` function gives valid pointers.
impl Dots for ScalarDots {
    type Lanes = Scalar;
    type Sums = Sums;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn bytes<const N: usize>(w: *const u8, x: &[*const Block; N]) -> [Sums; N] {
        // SAFETY: see above.
        x.map(|x| products(x, 0..BLOCK, |r, c| unsafe { byte(w, r, c) } - 128))
    }
    #[inline(always)]
    unsafe fn nibbles<const N: usize>(w: *const u8, x: &[*const Block; N]) -> [Sums; N] {
        // SAFETY: see above.
        x.map(|x| products(x, 0..BLOCK, |r, c| unsafe { nibble(w, r, c) }))
    }
    #[inline(always)]
    unsafe fn fives<const N: usize>(w: *const u8, high: *const u8, x: &[*const Block; N]) -> [Sums; N] {
        // SAFETY: see above.
        x.map(|x| products(x, 0..BLOCK, |r, c| unsafe { nibble(w, r, c) + 16 * bits(high, 1, r, c) }))
    }
    #[inline(always)]
    unsafe fn sixes<const N: usize>(
        w: *const u8,
        high: *const u8,
        scales: *const i8,
        x: &[*const Block; N],
    ) -> [Sums; N] {
        // SAFETY: see above.
        let weight = |r, c| unsafe { nibble(w, r, c) + 16 * bits(high, 2, r, c) - 32 };
        x.map(|x| {
            let (first, second) = (products(x, 0..16, weight), products(x, 16..32, weight));
            // SAFETY: see above.
            let scale = |i| i32::from(unsafe { *scales.add(i) });
            std::array::from_fn(|r| first[r] * scale(r) + second[r] * scale(16 + r))
        })
    }
    #[inline(always)]
    unsafe fn less(sums: Sums, value: i32) -> Sums {
        sums.map(|sum| sum - value)
    }
    #[inline(always)]
    unsafe fn floats(sums: Sums) -> Scalar {
        // SAFETY: an array of sixteen.
        unsafe { Scalar::load(sums.map(|sum| sum as f32).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Scalar {
        // SAFETY: sixteen bytes by contract, then an array of sixteen.
        unsafe { Scalar::load(from.cast::<[u8; 16]>().read_unaligned().map(f32::from).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Scalar {
        // SAFETY: as `load_u8`.
        unsafe { Scalar::load(from.cast::<[i8; 16]>().read_unaligned().map(f32::from).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn words(from: *const u8) -> Sums {
        // SAFETY: a vector by contract.
        unsafe { from.cast::<Sums>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn field(words: Sums, shift: usize, mask: i32) -> Sums {
        words.map(|word| (word as u32 >> shift) as i32 & mask)
    }
    #[inline(always)]
    unsafe fn join(low: Sums, high: Sums, shift: usize) -> Sums {
        std::array::from_fn(|row| low[row] | high[row] << shift)
    }
    #[inline(always)]
    unsafe fn quantise(values: &[f32; BLOCK], to: &mut Block) -> bool {
        let largest = values.iter().fold(0, |most, v| v.abs().to_bits().max(most));
        if largest >= f32::INFINITY.to_bits() {
            return to.refuse();
        }
        let (scale, inverse) = Block::inverse(f32::from_bits(largest));
        to.values = values.map(|v| (v * inverse).round_ties_even() as i8);
        let sum = |values: &[i8]| values.iter().map(|&v| i32::from(v)).sum();
        to.set_sums(scale, sum(&to.values[..16]), sum(&to.values[16..]));
        true
    }
}

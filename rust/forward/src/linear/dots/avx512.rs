//! Sixteen rows in one register, without VNNI: sums of pairs in 16 bits, as [`super::Avx2Dots`] counts them.

use super::{Dots, VECTOR, four, narrow};
use crate::lanes::Avx512;
use crate::quantise::{BLOCK, Block};
use std::arch::x86_64::*;

pub(crate) struct Avx512Dots;

// SAFETY of all blocks in this file: the caller guarantees AVX-512 F, BW and valid pointers.
impl Avx512Dots {
    /// Low and high nibbles of a vector.
    #[inline(always)]
    pub(super) unsafe fn split(w: *const u8) -> [__m512i; 2] {
        // SAFETY: see above.
        unsafe {
            let (w, low) = (_mm512_loadu_si512(w.cast()), _mm512_set1_epi8(15));
            [_mm512_and_si512(w, low), _mm512_and_si512(_mm512_srli_epi16::<4>(w), low)]
        }
    }

    /// Nibbles with bit k of each byte of `high` above them.
    #[inline(always)]
    pub(super) unsafe fn five(nibbles: __m512i, high: __m512i, k: usize) -> __m512i {
        // SAFETY: see above. Bits that cross into a neighbouring byte do not reach bit 4.
        unsafe {
            let bit = match k {
                0 => _mm512_slli_epi16::<4>(high),
                1 => _mm512_slli_epi16::<3>(high),
                2 => _mm512_slli_epi16::<2>(high),
                3 => _mm512_slli_epi16::<1>(high),
                4 => high,
                5 => _mm512_srli_epi16::<1>(high),
                6 => _mm512_srli_epi16::<2>(high),
                _ => _mm512_srli_epi16::<3>(high),
            };
            _mm512_or_si512(nibbles, _mm512_and_si512(bit, _mm512_set1_epi8(16)))
        }
    }

    /// Nibbles with bits 2k and 2k + 1 of each byte of `high` above them.
    #[inline(always)]
    pub(super) unsafe fn six(nibbles: __m512i, high: __m512i, k: usize) -> __m512i {
        // SAFETY: as above.
        unsafe {
            let bits = match k {
                0 => _mm512_slli_epi16::<4>(high),
                1 => _mm512_slli_epi16::<2>(high),
                2 => high,
                _ => _mm512_srli_epi16::<2>(high),
            };
            _mm512_or_si512(nibbles, _mm512_and_si512(bits, _mm512_set1_epi8(48)))
        }
    }

    /// Takes 32 off the weights of both halves of a block, and adds the halves times their scales.
    #[inline(always)]
    pub(super) unsafe fn scale_sixes<const N: usize>(
        sums: [[__m512i; N]; 2],
        scales: *const i8,
        x: &[*const Block; N],
    ) -> [__m512i; N] {
        // SAFETY: see above.
        unsafe {
            let first = _mm512_cvtepi8_epi32(_mm_loadu_si128(scales.cast()));
            let second = _mm512_cvtepi8_epi32(_mm_loadu_si128(scales.add(16).cast()));
            let mut both = [_mm512_setzero_si512(); N];
            for n in 0..N {
                let sum = (*x[n]).first_sum;
                let a = _mm512_sub_epi32(sums[0][n], _mm512_set1_epi32(32 * sum));
                let b = _mm512_sub_epi32(sums[1][n], _mm512_set1_epi32(32 * ((*x[n]).sum - sum)));
                both[n] = _mm512_add_epi32(_mm512_mullo_epi32(a, first), _mm512_mullo_epi32(b, second));
            }
            both
        }
    }
}

// SAFETY of all blocks below: as above.
impl Dots for Avx512Dots {
    type Lanes = Avx512;
    type Sums = __m512i;
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn bytes<const N: usize>(w: *const u8, x: &[*const Block; N]) -> [__m512i; N] {
        // SAFETY: see above.
        unsafe {
            let (ones, zero) = (_mm512_set1_epi16(1), _mm512_setzero_si512());
            let mut sums = [zero; N];
            for v in 0..8 {
                let w = _mm512_loadu_si512(w.add(v * VECTOR).cast());
                let w = _mm512_xor_si512(w, _mm512_set1_epi8(-128));
                let (magnitude, negative) = (_mm512_abs_epi8(w), _mm512_movepi8_mask(w));
                for n in 0..N {
                    let x = _mm512_set1_epi32(four(x[n], 4 * v));
                    let x = _mm512_mask_sub_epi8(x, negative, zero, x);
                    let pairs = _mm512_maddubs_epi16(magnitude, x);
                    sums[n] = _mm512_add_epi32(sums[n], _mm512_madd_epi16(pairs, ones));
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn nibbles<const N: usize>(w: *const u8, x: &[*const Block; N]) -> [__m512i; N] {
        // SAFETY: see above.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); N];
            for v in 0..4 {
                let [first, second] = Self::split(w.add(v * VECTOR));
                for n in 0..N {
                    let a = _mm512_maddubs_epi16(first, _mm512_set1_epi32(four(x[n], 4 * v)));
                    let b = _mm512_maddubs_epi16(second, _mm512_set1_epi32(four(x[n], 16 + 4 * v)));
                    sums[n] = _mm512_add_epi16(_mm512_add_epi16(sums[n], a), b);
                }
            }
            for sum in &mut sums {
                *sum = _mm512_madd_epi16(*sum, _mm512_set1_epi16(1));
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn fives<const N: usize>(w: *const u8, high: *const u8, x: &[*const Block; N]) -> [__m512i; N] {
        // SAFETY: see above.
        unsafe {
            let high = _mm512_loadu_si512(high.cast());
            let mut sums = [_mm512_setzero_si512(); N];
            for half in [0, 2] {
                let mut pairs = [_mm512_setzero_si512(); N];
                for v in half..half + 2 {
                    let [first, second] = Self::split(w.add(v * VECTOR));
                    let first = Self::five(first, high, v);
                    let second = Self::five(second, high, 4 + v);
                    for n in 0..N {
                        let a = _mm512_maddubs_epi16(first, _mm512_set1_epi32(four(x[n], 4 * v)));
                        let b = _mm512_maddubs_epi16(second, _mm512_set1_epi32(four(x[n], 16 + 4 * v)));
                        pairs[n] = _mm512_add_epi16(_mm512_add_epi16(pairs[n], a), b);
                    }
                }
                for n in 0..N {
                    let wide = _mm512_madd_epi16(pairs[n], _mm512_set1_epi16(1));
                    sums[n] = _mm512_add_epi32(sums[n], wide);
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn sixes<const N: usize>(
        w: *const u8,
        high: *const u8,
        scales: *const i8,
        x: &[*const Block; N],
    ) -> [__m512i; N] {
        // SAFETY: see above.
        unsafe {
            let high = [_mm512_loadu_si512(high.cast()), _mm512_loadu_si512(high.add(VECTOR).cast())];
            let mut sums = [[_mm512_setzero_si512(); N]; 2];
            for half in [0, 2] {
                let mut pairs = [[_mm512_setzero_si512(); N]; 2];
                for v in half..half + 2 {
                    let nibbles = Self::split(w.add(v * VECTOR));
                    for i in 0..2 {
                        let w = Self::six(nibbles[i], high[i], v);
                        for n in 0..N {
                            let x = _mm512_set1_epi32(four(x[n], 16 * i + 4 * v));
                            pairs[i][n] = _mm512_add_epi16(pairs[i][n], _mm512_maddubs_epi16(w, x));
                        }
                    }
                }
                for i in 0..2 {
                    for n in 0..N {
                        let wide = _mm512_madd_epi16(pairs[i][n], _mm512_set1_epi16(1));
                        sums[i][n] = _mm512_add_epi32(sums[i][n], wide);
                    }
                }
            }
            Self::scale_sixes(sums, scales, x)
        }
    }

    #[inline(always)]
    unsafe fn less(sums: __m512i, value: i32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_sub_epi32(sums, _mm512_set1_epi32(value)) }
    }
    #[inline(always)]
    unsafe fn floats(sums: __m512i) -> Avx512 {
        // SAFETY: see above.
        unsafe { Avx512::from_register(_mm512_cvtepi32_ps(sums)) }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Avx512 {
        // SAFETY: see above.
        unsafe { Self::floats(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Avx512 {
        // SAFETY: see above.
        unsafe { Self::floats(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn words(from: *const u8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn field(words: __m512i, shift: usize, mask: i32) -> __m512i {
        // SAFETY: see above. Where the shift is known when compiling, it becomes part of the instruction.
        unsafe {
            let moved = _mm512_srl_epi32(words, _mm_cvtsi32_si128(shift as i32));
            _mm512_and_si512(moved, _mm512_set1_epi32(mask))
        }
    }
    #[inline(always)]
    unsafe fn join(low: __m512i, high: __m512i, shift: usize) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_or_si512(low, _mm512_sll_epi32(high, _mm_cvtsi32_si128(shift as i32))) }
    }
    #[inline(always)]
    unsafe fn quantise(values: &[f32; BLOCK], to: &mut Block) -> bool {
        // SAFETY: AVX-512 includes AVX2.
        unsafe { narrow::quantise(values, to) }
    }
}

//! Sixteen rows as two halves of eight lanes.
//!
//! `maddubs` multiplies unsigned by signed bytes and adds pairs in 16 bits, saturating: how many such pairs may be added
//! before they are widened is counted at each use, with |x| ≤ 127.

use super::{Dots, VECTOR, four, narrow};
use crate::lanes::Avx2;
use crate::quantise::{BLOCK, Block};
use std::arch::x86_64::*;

pub(crate) struct Avx2Dots;

/// Rows 0 to 7 and 8 to 15.
type Sums = (__m256i, __m256i);

/// Both halves of one vector's worth of work: the block sees the byte offset inside a vector as `at`, and gives N sums.
/// A macro and no closure, see [`crate::linear`].
macro_rules! halves {
    ($at:ident => $half:block) => {{
        let mut sums = [(_mm256_setzero_si256(), _mm256_setzero_si256()); N];
        let $at = 0;
        let low = $half;
        for n in 0..N {
            sums[n].0 = low[n];
        }
        let $at = VECTOR / 2;
        let high = $half;
        for n in 0..N {
            sums[n].1 = high[n];
        }
        sums
    }};
}

/// Bit k of each byte, as 16 or 0.
#[inline(always)]
unsafe fn fifth(high: __m256i, k: usize) -> __m256i {
    // SAFETY: AVX2, as the callers promise. Bits that cross into a neighbouring byte do not reach bit 4.
    unsafe {
        let bit = match k {
            0 => _mm256_slli_epi16::<4>(high),
            1 => _mm256_slli_epi16::<3>(high),
            2 => _mm256_slli_epi16::<2>(high),
            3 => _mm256_slli_epi16::<1>(high),
            4 => high,
            5 => _mm256_srli_epi16::<1>(high),
            6 => _mm256_srli_epi16::<2>(high),
            _ => _mm256_srli_epi16::<3>(high),
        };
        _mm256_and_si256(bit, _mm256_set1_epi8(16))
    }
}

/// Bits 2k and 2k + 1 of each byte, times 16.
#[inline(always)]
unsafe fn fifth_and_sixth(high: __m256i, k: usize) -> __m256i {
    // SAFETY: as above.
    unsafe {
        let bits = match k {
            0 => _mm256_slli_epi16::<4>(high),
            1 => _mm256_slli_epi16::<2>(high),
            2 => high,
            _ => _mm256_srli_epi16::<2>(high),
        };
        _mm256_and_si256(bits, _mm256_set1_epi8(48))
    }
}

// SAFETY of all blocks below: the caller of a `Dots` function guarantees AVX2 and valid pointers.
impl Dots for Avx2Dots {
    type Lanes = Avx2;
    type Sums = Sums;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn bytes<const N: usize>(w: *const u8, x: &[*const Block; N]) -> [Sums; N] {
        // SAFETY: see above.
        unsafe {
            let (ones, offset) = (_mm256_set1_epi16(1), _mm256_set1_epi8(-128));
            halves!(at => {
                let mut sums = [_mm256_setzero_si256(); N];
                for v in 0..8 {
                    let w = _mm256_loadu_si256(w.add(v * VECTOR + at).cast());
                    let w = _mm256_xor_si256(w, offset);
                    let magnitude = _mm256_abs_epi8(w);
                    for n in 0..N {
                        // |w| ≤ 128 as unsigned; a pair is at most 2 · 128 · 127 = 32 512: one fits, two don't.
                        let x = _mm256_sign_epi8(_mm256_set1_epi32(four(x[n], 4 * v)), w);
                        let pairs = _mm256_maddubs_epi16(magnitude, x);
                        sums[n] = _mm256_add_epi32(sums[n], _mm256_madd_epi16(pairs, ones));
                    }
                }
                sums
            })
        }
    }

    #[inline(always)]
    unsafe fn nibbles<const N: usize>(w: *const u8, x: &[*const Block; N]) -> [Sums; N] {
        // SAFETY: see above.
        unsafe {
            let (ones, low) = (_mm256_set1_epi16(1), _mm256_set1_epi8(15));
            halves!(at => {
                let mut sums = [_mm256_setzero_si256(); N];
                for v in 0..4 {
                    let w = _mm256_loadu_si256(w.add(v * VECTOR + at).cast());
                    let first = _mm256_and_si256(w, low);
                    let second = _mm256_and_si256(_mm256_srli_epi16::<4>(w), low);
                    for n in 0..N {
                        // A pair is at most 2 · 15 · 127 = 3 810: all eight of a block fit (30 480).
                        let a = _mm256_maddubs_epi16(first, _mm256_set1_epi32(four(x[n], 4 * v)));
                        let b = _mm256_maddubs_epi16(second, _mm256_set1_epi32(four(x[n], 16 + 4 * v)));
                        sums[n] = _mm256_add_epi16(_mm256_add_epi16(sums[n], a), b);
                    }
                }
                for sum in &mut sums {
                    *sum = _mm256_madd_epi16(*sum, ones);
                }
                sums
            })
        }
    }

    #[inline(always)]
    unsafe fn fives<const N: usize>(w: *const u8, high: *const u8, x: &[*const Block; N]) -> [Sums; N] {
        // SAFETY: see above.
        unsafe {
            let (ones, low) = (_mm256_set1_epi16(1), _mm256_set1_epi8(15));
            halves!(at => {
                let high = _mm256_loadu_si256(high.add(at).cast());
                let mut sums = [_mm256_setzero_si256(); N];
                for half in [0, 2] {
                    let mut pairs = [_mm256_setzero_si256(); N];
                    for v in half..half + 2 {
                        let w = _mm256_loadu_si256(w.add(v * VECTOR + at).cast());
                        let first = _mm256_or_si256(_mm256_and_si256(w, low), fifth(high, v));
                        let second = _mm256_and_si256(_mm256_srli_epi16::<4>(w), low);
                        let second = _mm256_or_si256(second, fifth(high, 4 + v));
                        for n in 0..N {
                            // A pair is at most 2 · 31 · 127 = 7 874: four fit (31 496).
                            let a = _mm256_maddubs_epi16(first, _mm256_set1_epi32(four(x[n], 4 * v)));
                            let b = _mm256_maddubs_epi16(second, _mm256_set1_epi32(four(x[n], 16 + 4 * v)));
                            pairs[n] = _mm256_add_epi16(_mm256_add_epi16(pairs[n], a), b);
                        }
                    }
                    for n in 0..N {
                        sums[n] = _mm256_add_epi32(sums[n], _mm256_madd_epi16(pairs[n], ones));
                    }
                }
                sums
            })
        }
    }

    #[inline(always)]
    unsafe fn sixes<const N: usize>(
        w: *const u8,
        high: *const u8,
        scales: *const i8,
        x: &[*const Block; N],
    ) -> [Sums; N] {
        // SAFETY: see above.
        unsafe {
            let (ones, low) = (_mm256_set1_epi16(1), _mm256_set1_epi8(15));
            halves!(at => {
                           let high = [
            _mm256_loadu_si256(high.add(at).cast()),
            _mm256_loadu_si256(high.add(VECTOR + at).cast()),
            ];
                           let mut sums = [[_mm256_setzero_si256(); N]; 2];
                           for half in [0, 2] {
                               let mut pairs = [[_mm256_setzero_si256(); N]; 2];
                               for v in half..half + 2 {
                                   let w = _mm256_loadu_si256(w.add(v * VECTOR + at).cast());
                                   let second = _mm256_srli_epi16::<4>(w);
                                   let nibbles = [w, second];
                                   for i in 0..2 {
                                       let bits = fifth_and_sixth(high[i], v);
                                       let w = _mm256_or_si256(_mm256_and_si256(nibbles[i], low), bits);
                                       for n in 0..N {
                                           // A pair is at most 2 · 63 · 127 = 16 002: two fit (32 004).
                                           let x = _mm256_set1_epi32(four(x[n], 16 * i + 4 * v));
                                           pairs[i][n] = _mm256_add_epi16(pairs[i][n], _mm256_maddubs_epi16(w, x));
                                       }
                                   }
                               }
                               for i in 0..2 {
                                   for n in 0..N {
                                       let wide = _mm256_madd_epi16(pairs[i][n], ones);
                                       sums[i][n] = _mm256_add_epi32(sums[i][n], wide);
                                   }
                               }
                           }
                           let first = _mm256_cvtepi8_epi32(_mm_loadl_epi64(scales.add(at / 4).cast()));
                           let second = _mm256_cvtepi8_epi32(_mm_loadl_epi64(scales.add(16 + at / 4).cast()));
                           let mut both = [_mm256_setzero_si256(); N];
                           for n in 0..N {
                               let sum = (*x[n]).first_sum;
                               let a = _mm256_sub_epi32(sums[0][n], _mm256_set1_epi32(32 * sum));
                               let b = _mm256_sub_epi32(sums[1][n], _mm256_set1_epi32(32 * ((*x[n]).sum - sum)));
                               both[n] = _mm256_add_epi32(_mm256_mullo_epi32(a, first), _mm256_mullo_epi32(b, second));
                           }
                           both
                       })
        }
    }

    #[inline(always)]
    unsafe fn less(sums: Sums, value: i32) -> Sums {
        // SAFETY: see above.
        unsafe {
            let value = _mm256_set1_epi32(value);
            (_mm256_sub_epi32(sums.0, value), _mm256_sub_epi32(sums.1, value))
        }
    }

    #[inline(always)]
    unsafe fn floats(sums: Sums) -> Avx2 {
        // SAFETY: see above.
        unsafe { Avx2::from_halves(_mm256_cvtepi32_ps(sums.0), _mm256_cvtepi32_ps(sums.1)) }
    }

    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Avx2 {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
            let high = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast()));
            Self::floats((low, high))
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Avx2 {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()));
            let high = _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(8).cast()));
            Self::floats((low, high))
        }
    }

    #[inline(always)]
    unsafe fn words(from: *const u8) -> Sums {
        // SAFETY: see above.
        unsafe { (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(VECTOR / 2).cast())) }
    }

    #[inline(always)]
    unsafe fn field(words: Sums, shift: usize, mask: i32) -> Sums {
        // SAFETY: see above. Where the shift is known when compiling, it becomes part of the instruction.
        unsafe {
            let (shift, mask) = (_mm_cvtsi32_si128(shift as i32), _mm256_set1_epi32(mask));
            (
                _mm256_and_si256(_mm256_srl_epi32(words.0, shift), mask),
                _mm256_and_si256(_mm256_srl_epi32(words.1, shift), mask),
            )
        }
    }

    #[inline(always)]
    unsafe fn join(low: Sums, high: Sums, shift: usize) -> Sums {
        // SAFETY: see above.
        unsafe {
            let shift = _mm_cvtsi32_si128(shift as i32);
            (
                _mm256_or_si256(low.0, _mm256_sll_epi32(high.0, shift)),
                _mm256_or_si256(low.1, _mm256_sll_epi32(high.1, shift)),
            )
        }
    }

    #[inline(always)]
    unsafe fn quantise(values: &[f32; BLOCK], to: &mut Block) -> bool {
        // SAFETY: see above.
        unsafe { narrow::quantise(values, to) }
    }
}

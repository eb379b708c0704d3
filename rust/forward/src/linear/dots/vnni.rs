//! Sixteen rows in one register, four products per lane and instruction (AVX-512 VNNI), exact in 32 bits.

use super::{Avx512Dots, Dots, VECTOR, four, narrow};
use crate::lanes::Avx512;
use crate::quantise::{BLOCK, Block};
use std::arch::x86_64::*;

pub(crate) struct VnniDots;

/// sums + Σ w·x of the four columns from `column` on.
#[inline(always)]
unsafe fn add<const N: usize>(sums: &mut [__m512i; N], w: __m512i, x: &[*const Block; N], column: usize) {
    for n in 0..N {
        // SAFETY: VNNI, and valid blocks, as the callers promise.
        sums[n] = unsafe { _mm512_dpbusd_epi32(sums[n], w, _mm512_set1_epi32(four(x[n], column))) };
    }
}

// SAFETY of all blocks below: the caller of a `Dots` function guarantees AVX-512 F, BW, VNNI and valid pointers.
impl Dots for VnniDots {
    type Lanes = Avx512;
    type Sums = __m512i;
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn bytes<const N: usize>(w: *const u8, x: &[*const Block; N]) -> [__m512i; N] {
        // SAFETY: see above.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); N];
            for n in 0..N {
                sums[n] = _mm512_set1_epi32(-128 * (*x[n]).sum);
            }
            for v in 0..8 {
                add(&mut sums, _mm512_loadu_si512(w.add(v * VECTOR).cast()), x, 4 * v);
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn nibbles<const N: usize>(w: *const u8, x: &[*const Block; N]) -> [__m512i; N] {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_set1_epi8(15);
            let mut sums = [_mm512_setzero_si512(); N];
            for v in 0..4 {
                let w = _mm512_loadu_si512(w.add(v * VECTOR).cast());
                add(&mut sums, _mm512_and_si512(w, low), x, 4 * v);
                add(&mut sums, _mm512_and_si512(_mm512_srli_epi16::<4>(w), low), x, 16 + 4 * v);
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
            for v in 0..4 {
                let [first, second] = Avx512Dots::split(w.add(v * VECTOR));
                add(&mut sums, Avx512Dots::five(first, high, v), x, 4 * v);
                add(&mut sums, Avx512Dots::five(second, high, 4 + v), x, 16 + 4 * v);
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
            for v in 0..4 {
                let nibbles = Avx512Dots::split(w.add(v * VECTOR));
                for i in 0..2 {
                    let w = Avx512Dots::six(nibbles[i], high[i], v);
                    add(&mut sums[i], w, x, 16 * i + 4 * v);
                }
            }
            Avx512Dots::scale_sixes(sums, scales, x)
        }
    }

    #[inline(always)]
    unsafe fn less(sums: __m512i, value: i32) -> __m512i {
        // SAFETY: see above.
        unsafe { Avx512Dots::less(sums, value) }
    }
    #[inline(always)]
    unsafe fn floats(sums: __m512i) -> Avx512 {
        // SAFETY: see above.
        unsafe { Avx512Dots::floats(sums) }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Avx512 {
        // SAFETY: see above.
        unsafe { Avx512Dots::load_u8(from) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Avx512 {
        // SAFETY: see above.
        unsafe { Avx512Dots::load_i8(from) }
    }
    #[inline(always)]
    unsafe fn words(from: *const u8) -> __m512i {
        // SAFETY: see above.
        unsafe { Avx512Dots::words(from) }
    }
    #[inline(always)]
    unsafe fn field(words: __m512i, shift: usize, mask: i32) -> __m512i {
        // SAFETY: see above.
        unsafe { Avx512Dots::field(words, shift, mask) }
    }
    #[inline(always)]
    unsafe fn join(low: __m512i, high: __m512i, shift: usize) -> __m512i {
        // SAFETY: see above.
        unsafe { Avx512Dots::join(low, high, shift) }
    }
    #[inline(always)]
    unsafe fn quantise(values: &[f32; BLOCK], to: &mut Block) -> bool {
        // SAFETY: AVX-512 includes AVX2.
        unsafe { narrow::quantise(values, to) }
    }
}

//! One block of activations to signed bytes, with AVX2.

use crate::quantise::{BLOCK, Block};
use std::arch::x86_64::*;

/// As [`super::Dots::quantise`].
#[inline(always)]
pub(super) unsafe fn quantise(values: &[f32; BLOCK], to: &mut Block) -> bool {
    // SAFETY: AVX2, as the callers promise; the arrays hold 32 values.
    unsafe {
        let mut x = [_mm256_setzero_ps(); 4];
        let mut most = _mm256_setzero_si256();
        for (i, x) in x.iter_mut().enumerate() {
            *x = _mm256_loadu_ps(values.as_ptr().add(8 * i));
            // As integers NaN is above infinity and infinity above all numbers, in whatever order they come.
            let magnitude = _mm256_and_si256(_mm256_castps_si256(*x), _mm256_set1_epi32(i32::MAX));
            most = _mm256_max_epu32(most, magnitude);
        }
        let most = _mm_max_epu32(_mm256_castsi256_si128(most), _mm256_extracti128_si256::<1>(most));
        let most = _mm_max_epu32(most, _mm_shuffle_epi32::<0b01_00_11_10>(most));
        let most = _mm_max_epu32(most, _mm_shuffle_epi32::<0b10_11_00_01>(most));
        let largest = _mm_cvtsi128_si32(most) as u32;
        if largest >= f32::INFINITY.to_bits() {
            return to.refuse();
        }
        let (scale, inverse) = Block::inverse(f32::from_bits(largest));
        let inverse = _mm256_set1_ps(inverse);
        let mut q = [_mm256_setzero_si256(); 4];
        for (q, x) in q.iter_mut().zip(x) {
            *q = _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse));
        }
        let [a, b, c, d] = q;
        to.set_sums(scale, sum(_mm256_add_epi32(a, b)), sum(_mm256_add_epi32(c, d)));
        // Packing works on 128-bit halves; the permutation puts the groups of four back in order.
        let bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256(to.values.as_mut_ptr().cast(), bytes);
        true
    }
}

/// Sum of eight lanes.
#[inline(always)]
unsafe fn sum(lanes: __m256i) -> i32 {
    // SAFETY: AVX2, as the callers promise.
    unsafe {
        let sum = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
        let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
        _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum)))
    }
}

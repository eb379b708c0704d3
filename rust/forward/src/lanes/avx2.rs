//! Lanes as two AVX2 registers.

use super::Lanes;
use std::arch::x86_64::*;

/// Two registers of eight.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(__m256, __m256);

impl Avx2 {
    /// Lanes 0 to 7 and 8 to 15.
    #[inline(always)]
    pub(crate) fn from_halves(low: __m256, high: __m256) -> Self {
        Avx2(low, high)
    }
}

/// The same address, but the compiler cannot tell: what was read from it is read again instead of kept. Keeping a line of
/// bf16 pairs for its odd values costs two registers, and six rows of activations need all sixteen.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read through it")]
fn again(from: *const u32) -> *const u32 {
    let mut same = from;
    // SAFETY: no instruction at all.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) same, options(pure, nomem, nostack, preserves_flags)) };
    same
}

// SAFETY of all intrinsics below: the caller of a `Lanes` function guarantees AVX2, FMA and F16C, and valid pointers.
impl Lanes for Avx2 {
    const FLOAT_ROWS: usize = 6;
    const SCORE_PAGES: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: see above.
        unsafe {
            let halves = _mm256_loadu_si256(from.cast());
            Avx2(
                _mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
                _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_even(from: *const u32) -> Self {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast()));
            Avx2(
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(a)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(b)),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_odd(from: *const u32) -> Self {
        // SAFETY: see above.
        unsafe {
            let upper = _mm256_set1_epi32(0xFFFF_0000_u32 as i32);
            let from = again(from);
            let (a, b) = (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast()));
            Avx2(
                _mm256_castsi256_ps(_mm256_and_si256(a, upper)),
                _mm256_castsi256_ps(_mm256_and_si256(b, upper)),
            )
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_add_ps(self.0, o.0), _mm256_add_ps(self.1, o.1)) }
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_sub_ps(self.0, o.0), _mm256_sub_ps(self.1, o.1)) }
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_mul_ps(self.0, o.0), _mm256_mul_ps(self.1, o.1)) }
    }
    #[inline(always)]
    unsafe fn div(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_div_ps(self.0, o.0), _mm256_div_ps(self.1, o.1)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_fmadd_ps(self.0, b.0, c.0), _mm256_fmadd_ps(self.1, b.1, c.1)) }
    }
    #[inline(always)]
    unsafe fn min(self, value: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_min_ps(self.0, value.0), _mm256_min_ps(self.1, value.1)) }
    }
    #[inline(always)]
    unsafe fn max(self, value: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_max_ps(self.0, value.0), _mm256_max_ps(self.1, value.1)) }
    }
    #[inline(always)]
    unsafe fn scale_by_power(self, n_bits: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let scale = |x: __m256, n: __m256| {
                _mm256_castsi256_ps(_mm256_add_epi32(
                    _mm256_castps_si256(x),
                    _mm256_slli_epi32::<23>(_mm256_castps_si256(n)),
                ))
            };
            Avx2(scale(self.0, n_bits.0), scale(self.1, n_bits.1))
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let a = _mm256_add_ps(self.0, self.1);
            let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps::<1>(a, a)))
        }
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let a = _mm256_max_ps(self.0, self.1);
            let a = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let a = _mm_max_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_max_ss(a, _mm_shuffle_ps::<1>(a, a)))
        }
    }
}

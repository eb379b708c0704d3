//! Lanes as one AVX-512 register.

use super::{Avx2, Lanes};
use std::arch::x86_64::*;

/// One register of sixteen.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(__m512);

impl Avx512 {
    /// The register's lanes.
    #[inline(always)]
    pub(crate) fn from_register(lanes: __m512) -> Self {
        Avx512(lanes)
    }

    /// The two halves, for the folds that AVX2 shares.
    #[inline(always)]
    unsafe fn halves(self) -> Avx2 {
        let mut both = [0f32; 16];
        // SAFETY: the array holds 16 values; AVX-512 includes AVX2. Compiles to a register move.
        unsafe {
            self.store(both.as_mut_ptr());
            Avx2::load(both.as_ptr())
        }
    }
}

// SAFETY of all intrinsics below: the caller of a `Lanes` function guarantees AVX-512 F, BW, DQ, VL and valid pointers.
impl Lanes for Avx512 {
    const FLOAT_ROWS: usize = 16;
    const SCORE_PAGES: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_bf16_even(from: *const u32) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_loadu_si512(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_bf16_odd(from: *const u32) -> Self {
        // SAFETY: see above.
        unsafe {
            let upper = _mm512_set1_epi32(0xFFFF_0000_u32 as i32);
            Avx512(_mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(from.cast()), upper)))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_add_ps(self.0, o.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_sub_ps(self.0, o.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_mul_ps(self.0, o.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_div_ps(self.0, o.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, value: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_min_ps(self.0, value.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, value: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_max_ps(self.0, value.0)) }
    }
    #[inline(always)]
    unsafe fn scale_by_power(self, n_bits: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            Avx512(_mm512_castsi512_ps(_mm512_add_epi32(
                _mm512_castps_si512(self.0),
                _mm512_slli_epi32::<23>(_mm512_castps_si512(n_bits.0)),
            )))
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe { self.halves().sum() }
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        // SAFETY: see above.
        unsafe { self.halves().largest() }
    }
}

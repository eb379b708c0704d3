//! Panels of 16-bit floats against activations rounded to bf16: products of pairs (AVX-512 BF16), twice the rate of f32.
//!
//! Not exact: an activation keeps 8 bits of its mantissa, and so does a weight that is stored as f16. Each output is
//! still one accumulator in column order, so its bits depend on nothing but its row of W and its row of x; but other
//! machines have other kernels, and other bits.

use super::tiles::{AHEAD, LINE, Prefetch, Tile};
use super::{Outputs, Work};
use crate::machine::PairKernel;
use crate::panels::PANEL;
use std::arch::x86_64::*;

/// Most rows of activations at once.
const ROWS: usize = 16;

/// Columns of f16 that become bf16 at a time: 16 KiB.
const STRETCH: usize = 512;

/// Panels `[column / 2][16][2]` of bf16.
pub(super) struct Pairs(pub Work);

/// Panels `[column][16]` of f16.
pub(super) struct Halves(pub Work);

impl PairKernel for Pairs {
    #[inline(always)]
    unsafe fn run(self) {
        let Work { columns, bytes, x, .. } = self.0;
        for tile in self.0.tiles(ROWS) {
            let (panel, y) = self.0.place(&tile);
            let from = x.halves.wrapping_add(tile.first * x.stride);
            let hint = tile.hint(panel, bytes, AHEAD);
            // SAFETY: rows and outputs are as `multiply` demands.
            unsafe { rows(panel, columns.div_ceil(2), from, x.stride, tile, y, hint, false) }
        }
    }
}

/// A stretch of one panel.
#[repr(align(64))]
struct Buffer([__m512i; STRETCH / 2]);

impl PairKernel for Halves {
    #[inline(always)]
    unsafe fn run(self) {
        let Work { columns, count, bytes, first, x, .. } = self.0;
        // SAFETY: rows and outputs are as `multiply` demands, the stretch lies inside the panel and fits the buffer.
        unsafe {
            let mut buffer = Buffer([_mm512_setzero_si512(); STRETCH / 2]);
            for (panel, done) in
                (0..count).flat_map(|panel| (0..columns).step_by(STRETCH).map(move |c| (panel, c)))
            {
                let lines = STRETCH.min(columns - done).div_ceil(2);
                let from = first.wrapping_add(panel * bytes + done / 2 * LINE);
                let mut ahead = Prefetch::stream(from.wrapping_add(lines * LINE));
                for (line, to) in buffer.0[..lines].iter_mut().enumerate() {
                    if x.count == 1 {
                        ahead.line();
                    }
                    *to = narrow(from.add(line * LINE));
                }
                for tile in self.0.tiles_of_panel(ROWS) {
                    let at = panel * PANEL + tile.first * self.0.y.stride;
                    let y = Outputs { start: self.0.y.start.wrapping_add(at), stride: self.0.y.stride };
                    let hint = tile.spread(from.wrapping_add(lines * LINE), lines * LINE, lines);
                    let x_from = x.halves.wrapping_add(tile.first * x.stride + done);
                    rows(buffer.0.as_ptr().cast(), lines, x_from, x.stride, tile, y, hint, done > 0);
                }
            }
        }
    }
}

/// Two columns of f16, `[2][16]`, to pairs of bf16.
#[inline(always)]
unsafe fn narrow(line: *const u8) -> __m512i {
    // SAFETY: AVX-512 and BF16, and a line of weights, as the callers promise.
    unsafe {
        let even = _mm512_cvtph_ps(_mm256_loadu_si256(line.cast()));
        let odd = _mm512_cvtph_ps(_mm256_loadu_si256(line.add(LINE / 2).cast()));
        let even = _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(even)));
        let odd = _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(odd)));
        _mm512_or_si512(even, _mm512_slli_epi32::<16>(odd))
    }
}

/// One panel times the rows of a tile.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the arguments of a matrix product")]
unsafe fn rows(
    panel: *const u8,
    lines: usize,
    x: *const u16,
    stride: usize,
    tile: Tile,
    y: Outputs,
    hint: Prefetch,
    carry: bool,
) {
    macro_rules! tiles {
        ($($n:literal)*) => {
            match tile.rows {
                // SAFETY: as this function's.
                $($n => unsafe { rows_of::<$n>(panel, lines, x, stride, y, hint, carry) },)*
                more => unreachable!("{more} rows in a tile of at most {ROWS}"),
            }
        };
    }
    tiles!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

#[inline(always)]
unsafe fn rows_of<const N: usize>(
    panel: *const u8,
    lines: usize,
    x: *const u16,
    stride: usize,
    y: Outputs,
    mut hint: Prefetch,
    carry: bool,
) {
    // SAFETY: `lines` pairs of columns of weights and of N rows of activations, N rows of 16 outputs.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); N];
        if carry {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_loadu_ps(y.start.add(n * y.stride));
            }
        }
        for line in 0..lines {
            hint.line();
            let w =
                std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(panel.add(line * LINE).cast()));
            for (n, sum) in sums.iter_mut().enumerate() {
                let pair = x.add(n * stride + 2 * line).cast::<i32>().read_unaligned();
                *sum = _mm512_dpbf16_ps(
                    *sum,
                    w,
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair)),
                );
            }
        }
        for (n, sum) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(y.start.add(n * y.stride), sum);
        }
    }
}

/// Rounds to bf16, ties to even; a last odd column gets a zero beside it.
pub(super) struct Round<'a> {
    pub values: &'a [f32],
    pub to: &'a mut [u16],
}

impl PairKernel for Round<'_> {
    #[inline(always)]
    unsafe fn run(self) {
        let (whole, rest) = self.values.as_chunks::<16>();
        let (to, last) = self.to.split_at_mut(16 * whole.len());
        for (values, to) in whole.iter().zip(to.as_chunks_mut::<16>().0) {
            // SAFETY: sixteen values each.
            unsafe {
                let halves = _mm512_cvtneps_pbh(_mm512_loadu_ps(values.as_ptr()));
                _mm256_storeu_si256(to.as_mut_ptr().cast(), std::mem::transmute::<__m256bh, __m256i>(halves));
            }
        }
        // Masked stores take dozens of cycles on some processors.
        if !last.is_empty() {
            let (from, into) = (mask(rest.len()), mask(last.len()));
            // SAFETY: only lanes inside both slices are read and written.
            unsafe {
                let values = _mm512_maskz_loadu_ps(from, rest.as_ptr());
                let halves = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values));
                _mm256_mask_storeu_epi16(last.as_mut_ptr().cast(), into, halves);
            }
        }
    }
}

/// The first `len` ≤ 16 lanes.
#[inline(always)]
fn mask(len: usize) -> __mmask16 {
    ((1u32 << len) - 1) as __mmask16
}

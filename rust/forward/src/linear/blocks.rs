//! Panels of quantised blocks. [`crate::panels::Layout`] says how each lies in memory.

use super::Outputs;
use super::dots::{Dots, VECTOR};
use super::tiles::{LINE, Prefetch};
use crate::lanes::Lanes;
use crate::panels::PANEL;
use crate::quantise::{BLOCK, Block};

/// One kind of block: 16 rows of a number of columns.
pub(super) trait Format {
    /// Blocks of 32 columns.
    const BLOCKS: usize;
    /// Bytes of 16 rows.
    const BYTES: usize;
    /// Adds the products with N rows of activations to N sums.
    ///
    /// # Safety
    /// `w` is valid for a block, `x` for `BLOCKS` blocks each.
    unsafe fn add<D: Dots, const N: usize>(w: *const u8, x: &[*const Block; N], sums: &mut [D::Lanes; N]);
}

/// Bytes of sixteen f16.
pub(super) const HALVES: usize = 2 * PANEL;
/// Bytes of four vectors of nibbles.
pub(super) const NIBBLES: usize = 4 * VECTOR;

/// sum + dot·(scale of x)·d, where d is a scale of the weights.
#[inline(always)]
unsafe fn scaled<D: Dots, const N: usize>(
    dots: [D::Sums; N],
    d: D::Lanes,
    x: &[*const Block; N],
    sums: &mut [D::Lanes; N],
) {
    for n in 0..N {
        // SAFETY: as the caller's.
        unsafe {
            let dot = D::floats(dots[n]).mul(D::Lanes::splat((*x[n]).scale));
            sums[n] = dot.fma(d, sums[n]);
        }
    }
}

/// sum + m·(Σ of x), where m is a minimum of the weights.
#[inline(always)]
unsafe fn least<D: Dots, const N: usize>(m: D::Lanes, x: &[*const Block; N], sums: &mut [D::Lanes; N]) {
    for n in 0..N {
        // SAFETY: as the caller's.
        unsafe { sums[n] = m.fma(D::Lanes::splat((*x[n]).scaled_sum), sums[n]) };
    }
}

/// Takes the weights' offset off integer products.
#[inline(always)]
unsafe fn offset<D: Dots, const N: usize>(
    dots: [D::Sums; N],
    offset: i32,
    x: &[*const Block; N],
) -> [D::Sums; N] {
    let mut out = dots;
    for n in 0..N {
        // SAFETY: as the caller's.
        out[n] = unsafe { D::less(dots[n], offset * (*x[n]).sum) };
    }
    out
}

macro_rules! format {
    ($(#[$doc:meta])* $name:ident: $blocks:expr, $bytes:expr, |$w:ident, $x:ident, $sums:ident, $d:ident| $body:block) => {
        $(#[$doc])*
        #[allow(non_camel_case_types, reason = "names as ggml spells them")]
        pub(super) struct $name;

        impl Format for $name {
            const BLOCKS: usize = $blocks;
            const BYTES: usize = $bytes;
            #[inline(always)]
            unsafe fn add<$d: Dots, const N: usize>(
                $w: *const u8,
                $x: &[*const Block; N],
                $sums: &mut [$d::Lanes; N],
            ) {
                // SAFETY: all offsets lie inside BYTES, which the caller's pointer is valid for.
                unsafe { $body }
            }
        }
    };
}

format! {
    /// `d: [16] f16`, eight vectors.
    Q8_0: 1, HALVES + 2 * NIBBLES, |w, x, sums, D| {
        scaled::<D, N>(D::bytes(w.add(HALVES), x), D::Lanes::load_f16(w.cast()), x, sums);
    }
}
format! {
    /// `d: [16] f16`, nibbles less 8.
    Q4_0: 1, HALVES + NIBBLES, |w, x, sums, D| {
        let dots = offset::<D, N>(D::nibbles(w.add(HALVES), x), 8, x);
        scaled::<D, N>(dots, D::Lanes::load_f16(w.cast()), x, sums);
    }
}
format! {
    /// `d, m: [16] f16`, nibbles.
    Q4_1: 1, 2 * HALVES + NIBBLES, |w, x, sums, D| {
        let dots = D::nibbles(w.add(2 * HALVES), x);
        scaled::<D, N>(dots, D::Lanes::load_f16(w.cast()), x, sums);
        least::<D, N>(D::Lanes::load_f16(w.add(HALVES).cast()), x, sums);
    }
}
format! {
    /// `d: [16] f16`, high bits, nibbles; less 16.
    Q5_0: 1, HALVES + VECTOR + NIBBLES, |w, x, sums, D| {
        let dots = D::fives(w.add(HALVES + VECTOR), w.add(HALVES), x);
        let dots = offset::<D, N>(dots, 16, x);
        scaled::<D, N>(dots, D::Lanes::load_f16(w.cast()), x, sums);
    }
}
format! {
    /// `d, m: [16] f16`, high bits, nibbles.
    Q5_1: 1, 2 * HALVES + VECTOR + NIBBLES, |w, x, sums, D| {
        let dots = D::fives(w.add(2 * HALVES + VECTOR), w.add(2 * HALVES), x);
        scaled::<D, N>(dots, D::Lanes::load_f16(w.cast()), x, sums);
        least::<D, N>(D::Lanes::load_f16(w.add(HALVES).cast()), x, sums);
    }
}
format! {
    /// `d, m: [16] f16`, then eight times `[16] u8` scales, `[16] u8` minima, nibbles.
    Q4K: 8, 2 * HALVES + 8 * (HALVES + NIBBLES), |w, x, sums, D| {
        let (d, m) = (D::Lanes::load_f16(w.cast()), D::Lanes::load_f16(w.add(HALVES).cast()));
        let m = D::Lanes::splat(0.0).sub(m);
        for b in 0..8 {
            let w = w.add(2 * HALVES + b * (HALVES + NIBBLES));
            let x = &after(x, b);
            let dots = D::nibbles(w.add(HALVES), x);
            scaled::<D, N>(dots, d.mul(D::load_u8(w)), x, sums);
            least::<D, N>(m.mul(D::load_u8(w.add(PANEL))), x, sums);
        }
    }
}
format! {
    /// As `Q4K`, with high bits before the nibbles.
    Q5K: 8, 2 * HALVES + 8 * (HALVES + VECTOR + NIBBLES), |w, x, sums, D| {
        let (d, m) = (D::Lanes::load_f16(w.cast()), D::Lanes::load_f16(w.add(HALVES).cast()));
        let m = D::Lanes::splat(0.0).sub(m);
        for b in 0..8 {
            let w = w.add(2 * HALVES + b * (HALVES + VECTOR + NIBBLES));
            let x = &after(x, b);
            let dots = D::fives(w.add(HALVES + VECTOR), w.add(HALVES), x);
            scaled::<D, N>(dots, d.mul(D::load_u8(w)), x, sums);
            least::<D, N>(m.mul(D::load_u8(w.add(PANEL))), x, sums);
        }
    }
}
format! {
    /// `d: [16] f16`, then eight times `[2][16] i8` scales of 16 columns, pairs of high bits, nibbles; less 32.
    ///
    /// The scaled sum of a block stays below 2 · 16 · 32 · 127 · 128 < 2²⁴: exact as f32 too.
    Q6K: 8, HALVES + 8 * (HALVES + 2 * VECTOR + NIBBLES), |w, x, sums, D| {
        let d = D::Lanes::load_f16(w.cast());
        for b in 0..8 {
            let w = w.add(HALVES + b * (HALVES + 2 * VECTOR + NIBBLES));
            let x = &after(x, b);
            let dots = D::sixes(w.add(HALVES + 2 * VECTOR), w.add(HALVES), w.cast(), x);
            scaled::<D, N>(dots, d, x, sums);
        }
    }
}

/// Each row's block number `b` from here.
#[inline(always)]
unsafe fn after<const N: usize>(x: &[*const Block; N], b: usize) -> [*const Block; N] {
    let mut out = *x;
    for x in &mut out {
        // SAFETY: inside the row, as the caller promises.
        *x = unsafe { x.add(b) };
    }
    out
}

/// One panel times `rows` ≤ `D::ROWS` rows of x.
///
/// # Safety
/// `panel` holds 16 rows of `columns` values; x is valid for `rows` rows of `columns` / 32 blocks, y for as many rows of
/// 16 outputs; the machine has `D`.
#[inline(always)]
pub(super) unsafe fn tile<D: Dots, F: Format>(
    panel: *const u8,
    columns: usize,
    x: *const Block,
    stride: usize,
    rows: usize,
    y: Outputs,
    hint: Prefetch,
) {
    macro_rules! tiles {
        ($($n:literal)*) => {
            match rows {
                // SAFETY: as this function's.
                $($n if $n <= D::ROWS => unsafe { rows_of::<D, F, $n>(panel, columns, x, stride, y, hint) },)*
                _ => unreachable!("{rows} rows in a tile of at most {}", D::ROWS),
            }
        };
    }
    tiles!(1 2 3 4 5 6 7 8);
}

#[inline(always)]
unsafe fn rows_of<D: Dots, F: Format, const N: usize>(
    panel: *const u8,
    columns: usize,
    x: *const Block,
    stride: usize,
    y: Outputs,
    mut hint: Prefetch,
) {
    // SAFETY: whole blocks of weights and activations, as the caller promises.
    unsafe {
        let mut sums = [D::Lanes::splat(0.0); N];
        let mut rows = [x; N];
        for (n, row) in rows.iter_mut().enumerate() {
            *row = x.add(n * stride);
        }
        let mut w = panel;
        for _ in 0..columns / (F::BLOCKS * BLOCK) {
            for _ in 0..F::BYTES.div_ceil(LINE) {
                hint.line();
            }
            F::add::<D, N>(w, &rows, &mut sums);
            w = w.add(F::BYTES);
            rows = after(&rows, F::BLOCKS);
        }
        for (n, sum) in sums.into_iter().enumerate() {
            sum.store(y.start.add(n * y.stride));
        }
    }
}

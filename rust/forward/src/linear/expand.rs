//! Quantised panels against f32 activations: each block's weights become f32 in a small buffer, and the kernel of float
//! panels runs on that.
//!
//! A weight is what `draftwood_weights` makes of its bits, rounding by rounding: (d·scale)·(q − offset) or
//! (d·scale)·q ± m, no step fused. So the outputs are those of the same matrix dequantised at load, bit for bit.

use super::blocks::{Format, HALVES, NIBBLES, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use super::dots::{BlockKernel, Dots, VECTOR};
use super::float::RUN;
use super::tiles::{LINE, Prefetch};
use crate::lanes::{Lanes, WIDTH};
use crate::panels::PANEL;
use crate::quantise::BLOCK;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Columns that are expanded at a time: one run of sums, a multiple of every block; 16 KiB, half of a small level-1 cache.
const STRETCH: usize = RUN;

/// A block as floats.
pub(super) trait Expand: Format {
    /// Writes `[column][16]`.
    ///
    /// # Safety
    /// `w` is valid for a block, `to` for 16 values of each of its columns.
    unsafe fn expand<D: Dots>(w: *const u8, to: *mut f32);
}

/// d·(q − less).
#[inline(always)]
unsafe fn put<D: Dots>(q: D::Sums, less: i32, d: D::Lanes, to: *mut f32) {
    // SAFETY: as the caller's.
    unsafe { d.mul(D::floats(D::less(q, less))).store(to) }
}

/// d·q + m, or d·q − m where `BELOW`: not the same for zeros.
#[inline(always)]
unsafe fn put_beside<D: Dots, const BELOW: bool>(q: D::Sums, d: D::Lanes, m: D::Lanes, to: *mut f32) {
    // SAFETY: as the caller's.
    unsafe {
        let product = d.mul(D::floats(q));
        let w = if BELOW { product.sub(m) } else { product.add(m) };
        w.store(to);
    }
}

/// The integer of a column: its nibble, and above it `bits` bits of the vectors at `high`.
#[inline(always)]
unsafe fn integer<D: Dots>(nibbles: *const u8, high: *const u8, bits: usize, column: usize) -> D::Sums {
    let (vector, byte, upper) = (column % 16 / 4, column % 4, column / 16);
    // SAFETY: as the caller's.
    unsafe {
        let q = D::field(D::words(nibbles.add(vector * VECTOR)), 8 * byte + 4 * upper, 15);
        if bits == 0 {
            return q;
        }
        // 8 / `bits` vectors of nibbles share one of high bits.
        let (place, mask) = ((4 * upper + vector) * bits, (1 << bits) - 1);
        let high = D::words(high.add(place / 8 * VECTOR));
        D::join(q, D::field(high, 8 * byte + place % 8, mask), 4)
    }
}

/// 32 columns d·(q − less).
#[inline(always)]
unsafe fn centred<D: Dots, const BITS: usize>(
    nibbles: *const u8,
    high: *const u8,
    less: i32,
    d: [D::Lanes; 2],
    to: *mut f32,
) {
    for column in 0..BLOCK {
        // SAFETY: as the caller's.
        unsafe {
            let q = integer::<D>(nibbles, high, BITS, column);
            put::<D>(q, less, d[column / 16], to.add(column * WIDTH));
        }
    }
}

/// 32 columns d·q ± m.
#[inline(always)]
unsafe fn beside<D: Dots, const BITS: usize, const BELOW: bool>(
    nibbles: *const u8,
    high: *const u8,
    d: D::Lanes,
    m: D::Lanes,
    to: *mut f32,
) {
    for column in 0..BLOCK {
        // SAFETY: as the caller's.
        unsafe {
            let q = integer::<D>(nibbles, high, BITS, column);
            put_beside::<D, BELOW>(q, d, m, to.add(column * WIDTH));
        }
    }
}

macro_rules! expand {
    ($($name:ident: |$w:ident, $to:ident, $d:ident| $body:block)*) => {$(
        impl Expand for $name {
            #[inline(always)]
            unsafe fn expand<$d: Dots>($w: *const u8, $to: *mut f32) {
                // SAFETY: all offsets lie inside a block and its columns, which the caller's pointers are valid for.
                unsafe { $body }
            }
        }
    )*};
}

expand! {
    Q8_0: |w, to, D| {
        let d = D::Lanes::load_f16(w.cast());
        for column in 0..BLOCK {
            let words = D::words(w.add(HALVES + column / 4 * VECTOR));
            put::<D>(D::field(words, column % 4 * 8, 255), 128, d, to.add(column * WIDTH));
        }
    }
    Q4_0: |w, to, D| {
        let d = D::Lanes::load_f16(w.cast());
        centred::<D, 0>(w.add(HALVES), w, 8, [d; 2], to);
    }
    Q4_1: |w, to, D| {
        let (d, m) = (D::Lanes::load_f16(w.cast()), D::Lanes::load_f16(w.add(HALVES).cast()));
        beside::<D, 0, false>(w.add(2 * HALVES), w, d, m, to);
    }
    Q5_0: |w, to, D| {
        let d = D::Lanes::load_f16(w.cast());
        centred::<D, 1>(w.add(HALVES + VECTOR), w.add(HALVES), 16, [d; 2], to);
    }
    Q5_1: |w, to, D| {
        let (d, m) = (D::Lanes::load_f16(w.cast()), D::Lanes::load_f16(w.add(HALVES).cast()));
        beside::<D, 1, false>(w.add(2 * HALVES + VECTOR), w.add(2 * HALVES), d, m, to);
    }
    Q4K: |w, to, D| {
        let (d, m) = (D::Lanes::load_f16(w.cast()), D::Lanes::load_f16(w.add(HALVES).cast()));
        for b in 0..Self::BLOCKS {
            let w = w.add(2 * HALVES + b * (HALVES + NIBBLES));
            let m = m.mul(D::load_u8(w.add(PANEL)));
            beside::<D, 0, true>(w.add(HALVES), w, d.mul(D::load_u8(w)), m, to.add(b * BLOCK * WIDTH));
        }
    }
    Q5K: |w, to, D| {
        let (d, m) = (D::Lanes::load_f16(w.cast()), D::Lanes::load_f16(w.add(HALVES).cast()));
        for b in 0..Self::BLOCKS {
            let w = w.add(2 * HALVES + b * (HALVES + VECTOR + NIBBLES));
            let m = m.mul(D::load_u8(w.add(PANEL)));
            let (nibbles, high) = (w.add(HALVES + VECTOR), w.add(HALVES));
            beside::<D, 1, true>(nibbles, high, d.mul(D::load_u8(w)), m, to.add(b * BLOCK * WIDTH));
        }
    }
    Q6K: |w, to, D| {
        let d = D::Lanes::load_f16(w.cast());
        for b in 0..Self::BLOCKS {
            let w = w.add(HALVES + b * (HALVES + 2 * VECTOR + NIBBLES));
            let scales = [d.mul(D::load_i8(w.cast())), d.mul(D::load_i8(w.add(PANEL).cast()))];
            let (nibbles, high) = (w.add(HALVES + 2 * VECTOR), w.add(HALVES));
            centred::<D, 2>(nibbles, high, 32, scales, to.add(b * BLOCK * WIDTH));
        }
    }
}

/// A stretch of one panel.
#[repr(align(64))]
pub(super) struct Buffer(MaybeUninit<[f32; STRETCH * WIDTH]>);

impl Buffer {
    pub(super) fn new() -> Self {
        Buffer(MaybeUninit::uninit())
    }

    pub(super) fn start(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

/// Expands the next stretch of a panel.
pub(super) struct Stretch<F> {
    from: *const u8,
    blocks: usize,
    to: *mut f32,
    /// Whether what comes behind the stretch is asked for, as for one row of activations: the pass over the stretch is
    /// then too short to do it.
    ahead: bool,
    format: PhantomData<F>,
}

impl<F: Expand> Stretch<F> {
    /// Columns and bytes of the stretch that begins where `left` columns are left.
    pub(super) fn size(left: usize) -> (usize, usize) {
        let columns = STRETCH.min(left);
        (columns, columns / (F::BLOCKS * BLOCK) * F::BYTES)
    }

    /// # Safety
    /// `from` is valid for whole blocks of `columns` ≤ 256 columns, `to` for 16 values of each.
    pub(super) unsafe fn new(from: *const u8, columns: usize, to: *mut f32, ahead: bool) -> Self {
        Self { from, blocks: columns / (F::BLOCKS * BLOCK), to, ahead, format: PhantomData }
    }
}

impl<F: Expand> BlockKernel for Stretch<F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dots>(self) {
        let mut ahead = Prefetch::stream(self.from.wrapping_add(self.blocks * F::BYTES));
        for b in 0..self.blocks {
            if self.ahead {
                for _ in 0..F::BYTES.div_ceil(LINE) {
                    ahead.line();
                }
            }
            // SAFETY: as the caller of `new` promised.
            unsafe {
                F::expand::<D>(self.from.add(b * F::BYTES), self.to.add(b * F::BLOCKS * BLOCK * WIDTH))
            };
        }
    }
}

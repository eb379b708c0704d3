//! Panels of floats.

use super::{Outputs, Prefetch};
use crate::lanes::{Lanes, WIDTH, prefetch_level2, prefetch_once};

/// One panel `[column][16]` f32 times `rows` ≤ `L::FLOAT_ROWS` rows of x.
///
/// # Safety
/// `panel` holds `columns` · 16 values; x and y are valid for `rows` rows; the machine has `L`.
#[inline(always)]
pub(super) unsafe fn f32_tile<L: Lanes>(
    panel: *const f32,
    columns: usize,
    x: *const f32,
    stride: usize,
    rows: usize,
    y: Outputs,
    hint: Prefetch,
) {
    macro_rules! tiles {
        ($($n:literal)*) => {
            match rows {
                // SAFETY: as this function's.
                $($n if $n <= L::FLOAT_ROWS => unsafe { tile::<L, $n>(panel, columns, x, stride, y, hint) },)*
                _ => unreachable!("{rows} rows in a tile of at most {}", L::FLOAT_ROWS),
            }
        };
    }
    tiles!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

#[inline(always)]
unsafe fn tile<L: Lanes, const N: usize>(
    panel: *const f32,
    columns: usize,
    x: *const f32,
    stride: usize,
    y: Outputs,
    hint: Prefetch,
) {
    // SAFETY: `columns` · 16 weights, N rows of `columns` activations, N rows of 16 outputs, as the caller promises.
    unsafe {
        let mut sums = [L::splat(0.0); N];
        let mut ahead = hint.address;
        for column in 0..columns {
            if hint.level2 {
                prefetch_level2(ahead)
            } else {
                prefetch_once(ahead)
            }
            ahead = ahead.wrapping_add(hint.step);
            let w = L::load(panel.add(column * WIDTH));
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = w.fma(L::splat(*x.add(n * stride + column)), *sum);
            }
        }
        for (n, sum) in sums.into_iter().enumerate() {
            sum.store(y.start.add(n * y.stride));
        }
    }
}

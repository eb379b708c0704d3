//! Panels of floats.

use super::Outputs;
use super::tiles::{AHEAD, AHEAD_OF_FLOATS, LINE, Prefetch};
use crate::lanes::Lanes;

/// Columns whose products are summed by themselves before they are added to those of the columns before: a chain of 1536
/// roundings would err three times as much as one of 256 and a sum of six. A multiple of every line.
pub(super) const RUN: usize = 256;

/// How sixteen rows of floats lie in lines of 64 bytes.
pub(super) trait Values {
    /// Columns of a line.
    const COLUMNS: usize;
    /// How far ahead one row's own stream is hinted, see [`super::tiles`].
    const AHEAD: usize = AHEAD;
    /// The sixteen values of column `column` of a line.
    ///
    /// # Safety
    /// As [`Lanes`]; `line` is valid.
    unsafe fn load<L: Lanes>(line: *const u8, column: usize) -> L;
}

/// `[column][16]` f32.
pub(super) struct F32;
/// `[column][16]` f16.
pub(super) struct F16;
/// `[column / 2][16][2]` bf16.
pub(super) struct BF16;

impl Values for F32 {
    const COLUMNS: usize = 1;
    const AHEAD: usize = AHEAD_OF_FLOATS;
    #[inline(always)]
    unsafe fn load<L: Lanes>(line: *const u8, _: usize) -> L {
        // SAFETY: passed on to the caller.
        unsafe { L::load(line.cast()) }
    }
}

impl Values for F16 {
    const COLUMNS: usize = 2;
    #[inline(always)]
    unsafe fn load<L: Lanes>(line: *const u8, column: usize) -> L {
        // SAFETY: passed on to the caller.
        unsafe { L::load_f16(line.add(column * LINE / 2).cast()) }
    }
}

impl Values for BF16 {
    const COLUMNS: usize = 2;
    #[inline(always)]
    unsafe fn load<L: Lanes>(line: *const u8, column: usize) -> L {
        // SAFETY: passed on to the caller.
        unsafe { if column == 0 { L::load_bf16_even(line.cast()) } else { L::load_bf16_odd(line.cast()) } }
    }
}

/// One panel times `rows` ≤ `L::FLOAT_ROWS` rows of x; with `carry` the products are added to the
/// outputs.
///
/// # Safety
/// `panel` holds 16 rows of `columns` values, in whole lines; x and y are valid for `rows` rows; the machine has `L`.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the arguments of a matrix product")]
pub(super) unsafe fn tile<L: Lanes, F: Values>(
    panel: *const u8,
    columns: usize,
    x: *const f32,
    stride: usize,
    rows: usize,
    y: Outputs,
    hint: Prefetch,
    carry: bool,
) {
    macro_rules! tiles {
        ($($n:literal)*) => {
            match rows {
                // SAFETY: as this function's.
                $($n if $n <= L::FLOAT_ROWS => unsafe { rows_of::<L, F, $n>(panel, columns, x, stride, y, hint, carry) },)*
                _ => unreachable!("{rows} rows in a tile of at most {}", L::FLOAT_ROWS),
            }
        };
    }
    tiles!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

#[inline(always)]
unsafe fn rows_of<L: Lanes, F: Values, const N: usize>(
    panel: *const u8,
    columns: usize,
    x: *const f32,
    stride: usize,
    y: Outputs,
    mut hint: Prefetch,
    carry: bool,
) {
    // SAFETY: N rows of `columns` activations, as many columns of weights, N rows of 16 outputs, as the caller promises.
    unsafe {
        let (mut line, mut x, mut left, mut carry) = (panel, x, columns, carry);
        loop {
            let mut sums = [L::splat(0.0); N];
            let run = left.min(RUN);
            let mut lines = run / F::COLUMNS;
            while lines > 0 {
                hint.line();
                for c in 0..F::COLUMNS {
                    add::<L, F, N>(line, c, x, stride, &mut sums);
                }
                line = line.add(LINE);
                x = x.add(F::COLUMNS);
                lines -= 1;
            }
            // Only the last run can end inside a line.
            for c in 0..run % F::COLUMNS {
                add::<L, F, N>(line, c, x, stride, &mut sums);
            }
            for (n, sum) in sums.into_iter().enumerate() {
                let to = y.start.add(n * y.stride);
                if carry { L::load(to).add(sum) } else { sum }.store(to);
            }
            left -= run;
            if left == 0 {
                break;
            }
            carry = true;
        }
    }
}

/// Adds column `c` of a line, times each row's activation there.
#[inline(always)]
unsafe fn add<L: Lanes, F: Values, const N: usize>(
    line: *const u8,
    c: usize,
    x: *const f32,
    stride: usize,
    sums: &mut [L; N],
) {
    // SAFETY: as the caller's.
    unsafe {
        let w = F::load::<L>(line, c);
        for (n, sum) in sums.iter_mut().enumerate() {
            *sum = w.fma(L::splat(*x.add(n * stride + c)), *sum);
        }
    }
}

//! How the rows of one piece of a symbol's list are laid out: so that a rank among a thousand of them costs no more cache
//! misses than one among ten.
//!
//! Every piece spans 2^shift rows and has count · shift bits, 16 · shift on average. But a text asks where its contexts
//! repeat, and there pieces are full. Therefore a piece of [`LEAST`] rows or more is cut again, into 2^cut parts of equal
//! spans: first the number of rows before each part, `width` bits each, then of every row the bits within its part.
//! 2^cut is a quarter to a half of the count, and the numbers fit into the bits that the rows save:
//! 2^cut · width ≤ count · cut.

use crate::index::packed::{put, unpack};

/// Fewest rows of a piece that is cut.
const LEAST: u32 = 8;

/// The parts of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    /// There are 2^cut of them.
    pub(super) cut: u32,
    /// Bits of a number of rows.
    pub(super) width: u32,
    /// Bits of a row within its part.
    pub(super) rest: u32,
}

impl Parts {
    /// Of a piece of `count` rows; `None` if it is not cut, or if so many rows do not fit into 2^shift.
    #[inline(always)]
    pub(super) fn of(count: u32, shift: u32) -> Option<Self> {
        if count < LEAST {
            return None;
        }
        let width = u32::BITS - count.leading_zeros();
        let rest = shift.checked_sub(width - 2).filter(|&rest| rest > 0)?;
        Some(Self { cut: width - 2, width, rest })
    }

    /// Bits before the rows.
    #[inline(always)]
    pub(super) fn head(self) -> u64 {
        u64::from(self.width) << self.cut
    }
}

/// Cuts a piece whose rows' `shift` low bits stand one after the other from bit `at` on; `rows` is memory.
pub(super) fn cut(bytes: &mut [u8], at: u64, count: u32, shift: u32, rows: &mut Vec<u32>) {
    let Some(parts) = Parts::of(count, shift) else { return };
    let value = |i: u32| {
        let at = at + u64::from(i) * u64::from(shift);
        let window = bytes[(at / 8) as usize..].first_chunk().copied().unwrap_or_default();
        unpack(u64::from_le_bytes(window), at, shift)
    };
    rows.clear();
    rows.extend((0..count).map(value));
    clear(bytes, at, at + u64::from(count) * u64::from(shift));
    let mut before = 0;
    for part in 0..1u32 << parts.cut {
        while rows.get(before as usize).is_some_and(|row| row >> parts.rest < part) {
            before += 1;
        }
        put(bytes, at + u64::from(part) * u64::from(parts.width), before);
    }
    let first = at + parts.head();
    for (i, row) in (0..).zip(rows) {
        put(bytes, first + i * u64::from(parts.rest), *row & ((1 << parts.rest) - 1));
    }
}

/// Sets the bits `start .. end` to zero.
fn clear(bytes: &mut [u8], start: u64, end: u64) {
    let (first, last) = ((start / 8) as usize, (end / 8) as usize);
    let (below, above) = ((1u8 << (start % 8)) - 1, !((1u8 << (end % 8)) - 1));
    if first == last {
        bytes[first] &= below | above;
        return;
    }
    bytes[first] &= below;
    bytes[first + 1..last].fill(0);
    bytes[last] &= above;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_numbers_fit_into_the_bits_that_the_rows_save() {
        for shift in 1..=32u32 {
            for bit in 0..32 {
                for count in [1u32 << bit, (1 << bit) | 1, u32::MAX >> (31 - bit)] {
                    if u64::from(count) > 1 << shift {
                        continue;
                    }
                    match Parts::of(count, shift) {
                        None => assert!(count < LEAST, "{count} rows of {shift} bits"),
                        Some(parts) => {
                            let bits = parts.head() + u64::from(count) * u64::from(parts.rest);
                            assert!(
                                bits <= u64::from(count) * u64::from(shift),
                                "{count} rows of {shift} bits"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn more_rows_than_there_can_be_are_not_cut() {
        assert_eq!([Parts::of(1000, 1), Parts::of(u32::MAX, 0), Parts::of(9, 2)], [None; 3]);
    }

    proptest! {
        #[test]
        fn a_cut_piece_holds_its_rows_and_touches_nothing_else(
            shift in 1u32..12, seed: u64, lead in 0u64..40, behind in any::<u8>(),
        ) {
            let kept = |row: u32| seed.wrapping_mul(u64::from(row) * 2 + 1) >> 60 < seed & 15;
            let rows: Vec<u32> = (0..1 << shift).filter(|&row| kept(row)).collect();
            let end = lead + rows.len() as u64 * u64::from(shift);
            let mut bytes = vec![0; (end / 8) as usize + 9];
            for (i, &row) in rows.iter().enumerate() {
                put(&mut bytes, lead + i as u64 * u64::from(shift), row);
            }
            // Bits of the neighbours.
            bytes[(end / 8) as usize] |= behind << (end % 8);
            let before: Vec<u8> = bytes.clone();
            if lead > 0 {
                bytes[0] |= 1;
            }
            cut(&mut bytes, lead, rows.len() as u32, shift, &mut Vec::new());
            let bit = |bytes: &[u8], at: u64| bytes[(at / 8) as usize] >> (at % 8) & 1;
            (end..end + 8).for_each(|at| assert_eq!(bit(&bytes, at), bit(&before, at)));
            assert_eq!(lead > 0, lead > 0 && bytes[0] & 1 == 1);
            let Some(parts) = Parts::of(rows.len() as u32, shift) else {
                prop_assert!((lead..end).all(|at| bit(&bytes, at) == bit(&before, at)));
                return Ok(());
            };
            let read = |at: u64, width| {
                let window = bytes[(at / 8) as usize..].first_chunk().copied();
                window.map(|window| unpack(u64::from_le_bytes(window), at, width))
            };
            for (i, &row) in (0..).zip(&rows) {
                let part = u64::from(row >> parts.rest);
                let number = read(lead + part * u64::from(parts.width), parts.width).unwrap();
                prop_assert_eq!(number as usize, rows.partition_point(|&other| u64::from(other >> parts.rest) < part));
                let rest = read(lead + parts.head() + i * u64::from(parts.rest), parts.rest).unwrap();
                prop_assert_eq!(rest, row & ((1 << parts.rest) - 1));
            }
        }
    }
}

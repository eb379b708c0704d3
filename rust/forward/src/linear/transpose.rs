//! Sixteen rows of a matrix turned into columns of sixteen values: bits are moved, nothing is computed.

use crate::panels::PANEL;

/// Words of four bytes: `[column][16]` of `columns` columns.
///
/// # Safety
/// Each row is valid for `columns` words, `to` for 16 · `columns`; none need be aligned.
pub(super) unsafe fn words(rows: &[*const u8; PANEL], columns: usize, to: *mut u8) {
    let done = if cfg!(target_arch = "x86_64") { columns / 4 * 4 } else { 0 };
    #[cfg(target_arch = "x86_64")]
    for column in (0..done).step_by(4) {
        for group in 0..PANEL / 4 {
            // SAFETY: four columns of four rows lie inside both.
            unsafe {
                let from = std::array::from_fn(|i| rows[4 * group + i].add(4 * column));
                vectors::four_words(&from, to.add((column * PANEL + 4 * group) * 4));
            }
        }
    }
    for column in done..columns {
        for (row, from) in rows.iter().enumerate() {
            // SAFETY: as above.
            unsafe {
                let word = from.add(4 * column).cast::<u32>().read_unaligned();
                to.add((column * PANEL + row) * 4).cast::<u32>().write_unaligned(word);
            }
        }
    }
}

/// The same for halves of words.
///
/// # Safety
/// Each row is valid for `columns` values of two bytes, `to` for 16 · `columns`; none need be aligned.
pub(super) unsafe fn halves(rows: &[*const u8; PANEL], columns: usize, to: *mut u8) {
    let done = if cfg!(target_arch = "x86_64") { columns / 8 * 8 } else { 0 };
    #[cfg(target_arch = "x86_64")]
    for column in (0..done).step_by(8) {
        for group in 0..PANEL / 8 {
            // SAFETY: eight columns of eight rows lie inside both.
            unsafe {
                let from = std::array::from_fn(|i| rows[8 * group + i].add(2 * column));
                vectors::eight_halves(&from, to.add((column * PANEL + 8 * group) * 2));
            }
        }
    }
    for column in done..columns {
        for (row, from) in rows.iter().enumerate() {
            // SAFETY: as above.
            unsafe {
                let bits = from.add(2 * column).cast::<u16>().read_unaligned();
                to.add((column * PANEL + row) * 2).cast::<u16>().write_unaligned(bits);
            }
        }
    }
}

/// Squares in vectors of 16 bytes, which every x86-64 has.
#[cfg(target_arch = "x86_64")]
mod vectors {
    use super::PANEL;
    use std::arch::x86_64::*;

    /// Four rows of four words to four columns, 16 words apart.
    ///
    /// # Safety
    /// As [`super::words`].
    #[inline(always)]
    pub unsafe fn four_words(from: &[*const u8; 4], to: *mut u8) {
        // SAFETY: passed on to the caller.
        unsafe {
            let [a, b, c, d] = from.map(|row| _mm_loadu_si128(row.cast()));
            let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
            let (ab_high, cd_high) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
            let columns = [
                _mm_unpacklo_epi64(ab, cd),
                _mm_unpackhi_epi64(ab, cd),
                _mm_unpacklo_epi64(ab_high, cd_high),
                _mm_unpackhi_epi64(ab_high, cd_high),
            ];
            for (i, column) in columns.into_iter().enumerate() {
                _mm_storeu_si128(to.add(i * PANEL * 4).cast(), column);
            }
        }
    }

    /// Eight rows of eight halves to eight columns, 16 halves apart.
    ///
    /// # Safety
    /// As [`super::halves`].
    #[inline(always)]
    pub unsafe fn eight_halves(from: &[*const u8; 8], to: *mut u8) {
        // SAFETY: passed on to the caller.
        unsafe {
            let r = from.map(|row| _mm_loadu_si128(row.cast()));
            // Pairs of rows, then fours, then all eight: columns 0 and 1 of each, 2 and 3, and so on.
            let low = [0, 2, 4, 6].map(|i| _mm_unpacklo_epi16(r[i], r[i + 1]));
            let high = [0, 2, 4, 6].map(|i| _mm_unpackhi_epi16(r[i], r[i + 1]));
            let fours = |p: [__m128i; 4]| {
                [
                    _mm_unpacklo_epi32(p[0], p[1]),
                    _mm_unpacklo_epi32(p[2], p[3]),
                    _mm_unpackhi_epi32(p[0], p[1]),
                    _mm_unpackhi_epi32(p[2], p[3]),
                ]
            };
            for (first, [a, b, c, d]) in [(0, fours(low)), (4, fours(high))] {
                let columns = [
                    _mm_unpacklo_epi64(a, b),
                    _mm_unpackhi_epi64(a, b),
                    _mm_unpacklo_epi64(c, d),
                    _mm_unpackhi_epi64(c, d),
                ];
                for (i, column) in columns.into_iter().enumerate() {
                    _mm_storeu_si128(to.add((first + i) * PANEL * 2).cast(), column);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_where_it_belongs() {
        for columns in [0, 1, 3, 4, 7, 8, 9, 31, 64, 255, 256] {
            let rows: Vec<Vec<u16>> =
                (0..PANEL).map(|row| (0..2 * columns).map(|i| (row * 600 + i) as u16).collect()).collect();
            let starts = std::array::from_fn(|row| rows[row].as_ptr().cast());
            let (mut as_words, mut as_halves) = (vec![0_u32; PANEL * columns], vec![0_u16; PANEL * columns]);
            // SAFETY: rows and outputs are as long as they say.
            unsafe {
                words(&starts, columns, as_words.as_mut_ptr().cast());
                halves(&starts, columns, as_halves.as_mut_ptr().cast());
            }
            for (column, row) in (0..columns).flat_map(|c| (0..PANEL).map(move |r| (c, r))) {
                let word = u32::from(rows[row][2 * column]) | u32::from(rows[row][2 * column + 1]) << 16;
                assert_eq!(as_words[column * PANEL + row].to_le(), word);
                assert_eq!(as_halves[column * PANEL + row], rows[row][column]);
            }
        }
    }
}

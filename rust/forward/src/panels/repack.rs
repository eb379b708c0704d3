//! From sixteen rows of a file's blocks to a panel. Bits are moved, none is rounded.

use super::{Layout, PANEL};

/// Bytes of a vector: four of each row.
const VECTOR: usize = 4 * PANEL;
/// Bytes of sixteen f16.
const HALVES: usize = 2 * PANEL;

/// A row and a column whose value or scale is not finite.
pub(crate) type NotFinite = (usize, usize);

/// Sixteen rows of `row_bytes` each to one panel.
pub(crate) fn repack(
    layout: Layout,
    rows: &[&[u8]; PANEL],
    row_bytes: usize,
    to: &mut [u8],
) -> Result<(), NotFinite> {
    let file = layout.source().block_bytes();
    let pack = match layout {
        Layout::F32 => f32_column,
        Layout::F16 => f16_column,
        Layout::BF16 => return bf16_pairs(rows, row_bytes, to),
        Layout::Q8_0 => q8_0,
        Layout::Q4_0 => q4_0,
        Layout::Q4_1 => q4_1,
        Layout::Q5_0 => q5_0,
        Layout::Q5_1 => q5_1,
        Layout::Q4K => q4_k,
        Layout::Q5K => q5_k,
        Layout::Q6K => q6_k,
    };
    for (i, to) in to.chunks_exact_mut(layout.block_bytes()).take(row_bytes / file).enumerate() {
        let blocks = rows.map(|row| &row[i * file..][..file]);
        pack(&blocks, to).map_err(|row| (row, i * layout.block_columns()))?;
    }
    Ok(())
}

/// One block of each row.
type Blocks<'a> = [&'a [u8]; PANEL];

/// The f16 at byte `at` of each block, to 32 bytes. Err with the row of one that is not finite.
fn halves(blocks: &Blocks, at: usize, to: &mut [u8]) -> Result<(), usize> {
    for (row, (block, to)) in blocks.iter().zip(to.as_chunks_mut::<2>().0).enumerate() {
        *to = [block[at], block[at + 1]];
        if block[at + 1] & 0x7C == 0x7C {
            return Err(row);
        }
    }
    Ok(())
}

/// Four bytes of each row, vector by vector, until `to` is full; `flip` is added without carry.
fn vectors(rows: [&[u8]; PANEL], flip: u32, to: &mut [u8]) {
    let rows = rows.map(|row| row.as_chunks::<4>().0);
    for (v, to) in to.as_chunks_mut::<VECTOR>().0.iter_mut().enumerate() {
        for (to, row) in to.as_chunks_mut::<4>().0.iter_mut().zip(&rows) {
            *to = (u32::from_ne_bytes(row[v]) ^ flip).to_ne_bytes();
        }
    }
}

/// One bit of 32 columns of each row, column k in bit k: to a vector whose bit v is that of vector v.
fn high_bits(bits: [u32; PANEL], to: &mut [u8]) {
    for (bits, to) in bits.into_iter().zip(to.as_chunks_mut::<4>().0) {
        *to = std::array::from_fn(|i| {
            // Every fourth bit, closed up.
            let x = bits >> i & 0x1111_1111;
            let x = (x | x >> 3) & 0x0303_0303;
            let x = (x | x >> 6) & 0x000F_000F;
            (x | x >> 12) as u8
        });
    }
}

fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn f32_column(blocks: &Blocks, to: &mut [u8]) -> Result<(), usize> {
    for (row, (block, to)) in blocks.iter().zip(to.as_chunks_mut::<4>().0).enumerate() {
        let value = f32::from_bits(word(block, 0));
        *to = value.to_ne_bytes();
        if !value.is_finite() {
            return Err(row);
        }
    }
    Ok(())
}

fn f16_column(blocks: &Blocks, to: &mut [u8]) -> Result<(), usize> {
    halves(blocks, 0, to)
}

fn bf16_pairs(rows: &[&[u8]; PANEL], row_bytes: usize, to: &mut [u8]) -> Result<(), NotFinite> {
    for column in 0..row_bytes / 2 {
        for (row, values) in rows.iter().enumerate() {
            let bits = [values[2 * column], values[2 * column + 1]];
            if u16::from_le_bytes(bits) & 0x7F80 == 0x7F80 {
                return Err((row, column));
            }
            to[column / 2 * VECTOR + 4 * row + 2 * (column % 2)..][..2].copy_from_slice(&bits);
        }
    }
    Ok(())
}

fn q8_0(blocks: &Blocks, to: &mut [u8]) -> Result<(), usize> {
    vectors(blocks.map(|b| &b[2..]), 0x8080_8080, &mut to[HALVES..]);
    halves(blocks, 0, to)
}

fn q4_0(blocks: &Blocks, to: &mut [u8]) -> Result<(), usize> {
    vectors(blocks.map(|b| &b[2..]), 0, &mut to[HALVES..]);
    halves(blocks, 0, to)
}

fn q4_1(blocks: &Blocks, to: &mut [u8]) -> Result<(), usize> {
    vectors(blocks.map(|b| &b[4..]), 0, &mut to[2 * HALVES..]);
    halves(blocks, 0, to)?;
    halves(blocks, 2, &mut to[HALVES..])
}

fn q5_0(blocks: &Blocks, to: &mut [u8]) -> Result<(), usize> {
    let (d, rest) = to.split_at_mut(HALVES);
    let (high, nibbles) = rest.split_at_mut(VECTOR);
    high_bits(blocks.map(|b| word(b, 2)), high);
    vectors(blocks.map(|b| &b[6..]), 0, nibbles);
    halves(blocks, 0, d)
}

fn q5_1(blocks: &Blocks, to: &mut [u8]) -> Result<(), usize> {
    let (scales, rest) = to.split_at_mut(2 * HALVES);
    let (high, nibbles) = rest.split_at_mut(VECTOR);
    high_bits(blocks.map(|b| word(b, 4)), high);
    vectors(blocks.map(|b| &b[8..]), 0, nibbles);
    halves(blocks, 0, scales)?;
    halves(blocks, 2, &mut scales[HALVES..])
}

/// Low nibbles of 32 values, as a Q4_0 block stores them.
fn nibbles(values: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|j| values[j] & 15 | values[16 + j] << 4)
}

/// Bit `bit` of 32 values.
fn bits(values: &[u8; 32], bit: usize) -> u32 {
    values.iter().enumerate().fold(0, |bits, (k, v)| bits | u32::from(v >> bit & 1) << k)
}

/// The eight scales and eight minima of six bits each in 12 bytes.
fn scales_and_minima(packed: &[u8]) -> [[u8; 8]; 2] {
    let six = |j: usize| {
        if j < 4 {
            [packed[j] & 63, packed[j + 4] & 63]
        } else {
            let (low, high) = (packed[j + 4], [packed[j - 4] >> 6, packed[j] >> 6]);
            [low & 15 | high[0] << 4, low >> 4 | high[1] << 4]
        }
    };
    [std::array::from_fn(|j| six(j)[0]), std::array::from_fn(|j| six(j)[1])]
}

/// Chunk `b` of 32 columns, as a Q4_0 block stores them, of a K block's nibbles: two chunks share 32 bytes.
fn k_nibbles(packed: &[u8], b: usize) -> [u8; 16] {
    let both = packed[b / 2 * 32..].as_chunks::<16>().0;
    let (first, second) = (both[0], both[1]);
    if b.is_multiple_of(2) {
        std::array::from_fn(|j| first[j] & 15 | second[j] << 4)
    } else {
        std::array::from_fn(|j| first[j] >> 4 | second[j] & 0xF0)
    }
}

fn q4_k(blocks: &Blocks, to: &mut [u8]) -> Result<(), usize> {
    const PART: usize = HALVES + 4 * VECTOR;
    for (row, block) in blocks.iter().enumerate() {
        let [scales, minima] = scales_and_minima(&block[4..16]);
        for (b, to) in to[2 * HALVES..].chunks_exact_mut(PART).enumerate() {
            (to[row], to[PANEL + row]) = (scales[b], minima[b]);
            put_row(&k_nibbles(&block[16..], b), row, &mut to[HALVES..]);
        }
    }
    halves(blocks, 0, to)?;
    halves(blocks, 2, &mut to[HALVES..])
}

fn q5_k(blocks: &Blocks, to: &mut [u8]) -> Result<(), usize> {
    const PART: usize = HALVES + 5 * VECTOR;
    let all = blocks.map(|block| scales_and_minima(&block[4..16]));
    for (b, to) in to[2 * HALVES..].chunks_exact_mut(PART).enumerate() {
        let mut high = [0; PANEL];
        for (row, block) in blocks.iter().enumerate() {
            (to[row], to[PANEL + row]) = (all[row][0][b], all[row][1][b]);
            put_row(&k_nibbles(&block[48..], b), row, &mut to[HALVES + VECTOR..]);
            let fifth: &[u8; 32] = block[16..].first_chunk().expect("a block of 176 bytes");
            high[row] = bits(fifth, b);
        }
        high_bits(high, &mut to[HALVES..HALVES + VECTOR]);
    }
    halves(blocks, 0, to)?;
    halves(blocks, 2, &mut to[HALVES..])
}

fn q6_k(blocks: &Blocks, to: &mut [u8]) -> Result<(), usize> {
    const PART: usize = HALVES + 6 * VECTOR;
    for (b, to) in to[HALVES..].chunks_exact_mut(PART).enumerate() {
        for (row, block) in blocks.iter().enumerate() {
            let (low, scales) = (&block[..128], &block[192..208]);
            (to[row], to[PANEL + row]) = (scales[2 * b], scales[2 * b + 1]);
            // 128 columns share 64 bytes of nibbles and 32 of high bits: chunks 0 and 1 have low nibbles, 2 and 3 high.
            let (half, chunk) = (b / 4, b % 4);
            let values: [u8; 32] = std::array::from_fn(|j| {
                let low = low[64 * half + 32 * (chunk % 2) + j] >> (4 * (chunk / 2)) & 15;
                low | (block[128 + 32 * half + j] >> (2 * chunk) & 3) << 4
            });
            put_row(&nibbles(&values), row, &mut to[HALVES + 2 * VECTOR..]);
            for (to, values) in to[HALVES..].chunks_mut(VECTOR).zip(values.as_chunks::<16>().0) {
                let pairs = |i: usize| (0..4).fold(0, |byte, v| byte | (values[4 * v + i] >> 4) << (2 * v));
                to[4 * row..4 * row + 4].copy_from_slice(&std::array::from_fn::<u8, 4, _>(pairs));
            }
        }
    }
    halves(blocks, 208, to)
}

/// Sixteen bytes of one row into four vectors.
fn put_row(bytes: &[u8; 16], row: usize, to: &mut [u8]) {
    for (bytes, to) in bytes.as_chunks::<4>().0.iter().zip(to.as_chunks_mut::<VECTOR>().0) {
        to[4 * row..4 * row + 4].copy_from_slice(bytes);
    }
}

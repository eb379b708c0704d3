//! The "K" types: 256 values whose sub-blocks have small integer scales below one or two halves.

use super::{BlockType, half_at};

/// `d: f16, dmin: f16, 12 bytes of 6-bit scales and minima, 128 bytes`: 8 sub-blocks of 32, x = (d·sc)·q − (dmin·m).
/// Bytes 32c..32c+32 hold sub-block 2c in their low and 2c + 1 in their high nibbles.
#[allow(non_camel_case_types)]
pub struct Q4_K;
/// `d: f16, dmin: f16, 12 bytes, 32 bytes h, 128 bytes`: as [`Q4_K`]; bit 4 of value j of sub-block s is bit s of h[j].
#[allow(non_camel_case_types)]
pub struct Q5_K;
/// `128 bytes, 64 bytes h, 16 signed scales, d: f16`: 16 sub-blocks of 16, x = (d·sc)·(q − 32). Each half of 128 values
/// has 64 bytes of nibbles, the low ones first, and 32 bytes of h with two bits for each of its four quarters.
#[allow(non_camel_case_types)]
pub struct Q6_K;

/// The 6-bit scale and minimum of each sub-block: four of each lie in bytes 0..4 and 4..8, the low nibbles and high
/// nibbles of the others in bytes 8..12, and their upper two bits on top of the first eight bytes.
#[inline(always)]
fn scales_and_minima(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minima) = ([0; 8], [0; 8]);
    for i in 0..4 {
        scales[i] = packed[i] & 63;
        minima[i] = packed[4 + i] & 63;
        scales[4 + i] = packed[8 + i] & 15 | packed[i] >> 2 & 48;
        minima[4 + i] = packed[8 + i] >> 4 | packed[4 + i] >> 2 & 48;
    }
    (scales, minima)
}

/// Sub-block by sub-block; `quant(block, s, j)` is value j of sub-block s.
#[inline(always)]
fn decode_with_minima<const BYTES: usize>(
    blocks: &[u8],
    out: &mut [f32],
    quant: impl Fn(&[u8; BYTES], usize, usize) -> u8,
) {
    for (values, block) in out.as_chunks_mut::<256>().0.iter_mut().zip(blocks.as_chunks::<BYTES>().0) {
        let (d, dmin) = (half_at(block, 0), half_at(block, 2));
        let (scales, minima) = scales_and_minima(&block[4..16]);
        for (s, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, offset) = (d * f32::from(scales[s]), dmin * f32::from(minima[s]));
            for (j, value) in values.iter_mut().enumerate() {
                *value = scale * f32::from(quant(block, s, j)) - offset;
            }
        }
    }
}

impl BlockType for Q4_K {
    const LEN: usize = 256;
    const BYTES: usize = 144;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        decode_with_minima(blocks, out, |b: &[u8; 144], s, j| b[16 + s / 2 * 32 + j] >> (s % 2 * 4) & 15);
    }
}

impl BlockType for Q5_K {
    const LEN: usize = 256;
    const BYTES: usize = 176;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        decode_with_minima(blocks, out, |b: &[u8; 176], s, j| {
            b[48 + s / 2 * 32 + j] >> (s % 2 * 4) & 15 | (b[16 + j] >> s & 1) << 4
        });
    }
}

impl BlockType for Q6_K {
    const LEN: usize = 256;
    const BYTES: usize = 210;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        for (values, block) in out.as_chunks_mut::<256>().0.iter_mut().zip(blocks.as_chunks::<210>().0) {
            let d = half_at(block, 208);
            for (s, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let scale = d * f32::from(block[192 + s] as i8);
                let (half, quarter) = (s / 8, s % 8 / 2);
                for (j, value) in values.iter_mut().enumerate() {
                    let column = s % 2 * 16 + j;
                    let low = block[half * 64 + quarter % 2 * 32 + column] >> (quarter / 2 * 4) & 15;
                    let high = block[128 + half * 32 + column] >> (quarter * 2) & 3;
                    *value = scale * f32::from((low | high << 4) as i8 - 32);
                }
            }
        }
    }
}

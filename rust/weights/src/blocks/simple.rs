//! Plain floats, and the types with one scale per 32 values.

use super::{BlockType, half_at};
use half::f16;

/// f32, little-endian.
pub struct F32;
/// IEEE half precision.
pub struct F16;
/// The upper half of an f32.
pub struct BF16;
/// `d: f16, 16 bytes`: x = d·(q − 8); byte j holds q of value j in its low and of value 16 + j in its high nibble.
#[allow(non_camel_case_types)]
pub struct Q4_0;
/// `d: f16, m: f16, 16 bytes`: x = d·q + m, nibbles as in [`Q4_0`].
#[allow(non_camel_case_types)]
pub struct Q4_1;
/// `d: f16, h: u32, 16 bytes`: x = d·(q − 16), nibbles as in [`Q4_0`], bit 4 of value i is bit i of h.
#[allow(non_camel_case_types)]
pub struct Q5_0;
/// `d: f16, m: f16, h: u32, 16 bytes`: x = d·q + m, q as in [`Q5_0`].
#[allow(non_camel_case_types)]
pub struct Q5_1;
/// `d: f16, 32 signed bytes`: x = d·q.
#[allow(non_camel_case_types)]
pub struct Q8_0;

impl BlockType for F32 {
    const LEN: usize = 1;
    const BYTES: usize = 4;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        for (value, bytes) in out.iter_mut().zip(blocks.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*bytes);
        }
    }
}

impl BlockType for F16 {
    const LEN: usize = 1;
    const BYTES: usize = 2;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        for (value, bytes) in out.iter_mut().zip(blocks.as_chunks::<2>().0) {
            *value = f16::from_le_bytes(*bytes).to_f32();
        }
    }
}

impl BlockType for BF16 {
    const LEN: usize = 1;
    const BYTES: usize = 2;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        for (value, bytes) in out.iter_mut().zip(blocks.as_chunks::<2>().0) {
            *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }
}

/// Decodes blocks of `BYTES` bytes and 32 values whose last 16 bytes are nibbles. `head` reads scale and offset, `value`
/// makes a value from them and a nibble with its position.
#[inline(always)]
fn decode_nibbles<const BYTES: usize, H>(
    blocks: &[u8],
    out: &mut [f32],
    head: impl Fn(&[u8; BYTES]) -> H,
    value: impl Fn(&H, u8, usize) -> f32,
) {
    for (values, block) in out.as_chunks_mut::<32>().0.iter_mut().zip(blocks.as_chunks::<BYTES>().0) {
        let head = head(block);
        for j in 0..16 {
            let byte = block[BYTES - 16 + j];
            values[j] = value(&head, byte & 15, j);
            values[16 + j] = value(&head, byte >> 4, 16 + j);
        }
    }
}

/// The fifth bit of value `i`, in place.
#[inline(always)]
fn fifth(high: u32, i: usize) -> u8 {
    ((high >> i & 1) << 4) as u8
}

fn high_bits(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

impl BlockType for Q4_0 {
    const LEN: usize = 32;
    const BYTES: usize = 18;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        decode_nibbles(blocks, out, |b: &[u8; 18]| half_at(b, 0), |d, q, _| d * f32::from(q as i8 - 8));
    }
}

impl BlockType for Q4_1 {
    const LEN: usize = 32;
    const BYTES: usize = 20;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        let head = |b: &[u8; 20]| (half_at(b, 0), half_at(b, 2));
        decode_nibbles(blocks, out, head, |(d, m), q, _| d * f32::from(q) + m);
    }
}

impl BlockType for Q5_0 {
    const LEN: usize = 32;
    const BYTES: usize = 22;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        let head = |b: &[u8; 22]| (half_at(b, 0), high_bits(b, 2));
        decode_nibbles(blocks, out, head, |(d, h), q, i| d * f32::from((q | fifth(*h, i)) as i8 - 16));
    }
}

impl BlockType for Q5_1 {
    const LEN: usize = 32;
    const BYTES: usize = 24;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        let head = |b: &[u8; 24]| (half_at(b, 0), half_at(b, 2), high_bits(b, 4));
        decode_nibbles(blocks, out, head, |(d, m, h), q, i| d * f32::from(q | fifth(*h, i)) + m);
    }
}

impl BlockType for Q8_0 {
    const LEN: usize = 32;
    const BYTES: usize = 34;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        for (values, block) in out.as_chunks_mut::<32>().0.iter_mut().zip(blocks.as_chunks::<34>().0) {
            let d = half_at(block, 0);
            for j in 0..32 {
                values[j] = d * f32::from(block[2 + j] as i8);
            }
        }
    }
}

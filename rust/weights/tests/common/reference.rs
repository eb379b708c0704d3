//! Dequantisation one value at a time, from the description of each type: slow, and sharing nothing with the reader.

use draftwood_weights::GgmlType;
use half::{bf16, f16};

/// Value `i` of a tensor of `kind` stored in `bytes`.
pub fn reference(kind: GgmlType, bytes: &[u8], i: usize) -> f32 {
    let (block, j) = (&bytes[i / kind.block_len() * kind.block_bytes()..], i % kind.block_len());
    let half = |at: usize| f16::from_bits(u16::from_le_bytes([block[at], block[at + 1]])).to_f32_const();
    // Nibble j of 32 that start at `at`: the low ones of 16 bytes, then the high ones.
    let nibble = |at: usize| {
        let byte = block[at + j % 16];
        i32::from(if j < 16 { byte % 16 } else { byte / 16 })
    };
    // Bit j of a field that starts at `at`.
    let bit = |at: usize, j: usize| i32::from(block[at + j / 8]) / (1 << (j % 8)) % 2;
    match kind {
        GgmlType::F32 => f32::from_le_bytes(block[..4].try_into().unwrap()),
        GgmlType::F16 => half(0),
        GgmlType::BF16 => bf16::from_le_bytes([block[0], block[1]]).to_f32_const(),
        GgmlType::Q8_0 => half(0) * f32::from(block[2 + j] as i8),
        GgmlType::Q4_0 => half(0) * (nibble(2) - 8) as f32,
        GgmlType::Q4_1 => half(0) * nibble(4) as f32 + half(2),
        GgmlType::Q5_0 => half(0) * (nibble(6) + 16 * bit(2, j) - 16) as f32,
        GgmlType::Q5_1 => half(0) * (nibble(8) + 16 * bit(4, j)) as f32 + half(2),
        GgmlType::Q4_K | GgmlType::Q5_K => {
            let sub = j / 32;
            let (scale, minimum) = scale_and_minimum(&block[4..16], sub);
            let fifth = kind == GgmlType::Q5_K;
            let byte = block[if fifth { 48 } else { 16 } + j / 64 * 32 + j % 32];
            let low = if sub.is_multiple_of(2) { byte % 16 } else { byte / 16 };
            let high = if fifth { block[16 + j % 32] >> sub & 1 } else { 0 };
            half(0) * scale * f32::from(low + 16 * high) - half(2) * minimum
        }
        GgmlType::Q6_K => {
            // ggml writes values j, j + 32, j + 64 and j + 96 of a half at once; here the loop is turned inside out.
            let (part, l, quarter) = (j / 128, j % 32, j % 128 / 32);
            let byte = block[part * 64 + l + if quarter % 2 == 1 { 32 } else { 0 }];
            let low = if quarter < 2 { byte % 16 } else { byte / 16 };
            let high = block[128 + part * 32 + l] / 4u8.pow(quarter as u32) % 4;
            let scale = block[192 + part * 8 + l / 16 + 2 * quarter] as i8;
            half(208) * f32::from(scale) * f32::from(low as i8 + 16 * high as i8 - 32)
        }
        _ => unreachable!(),
    }
}

/// ggml's `get_scale_min_k4`.
fn scale_and_minimum(packed: &[u8], j: usize) -> (f32, f32) {
    if j < 4 {
        return (f32::from(packed[j] % 64), f32::from(packed[j + 4] % 64));
    }
    let scale = packed[j + 4] % 16 + packed[j - 4] / 64 * 16;
    let minimum = packed[j + 4] / 16 + packed[j] / 64 * 16;
    (f32::from(scale), f32::from(minimum))
}

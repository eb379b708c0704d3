//! One output, one product after the other, from the bytes of the file.

use draftwood_forward::panels::Layout;
use draftwood_forward::quantise::{BLOCK, Block};
use draftwood_weights::dequantize_blocks;
use half::{bf16, f16};

/// One row of x, both ways.
#[derive(Clone)]
pub struct Activations {
    pub floats: Vec<f32>,
    pub blocks: Vec<Block>,
}

impl Activations {
    pub fn new(floats: Vec<f32>) -> Self {
        let blocks = floats.as_chunks::<BLOCK>().0.iter().map(quantised).collect();
        Self { floats, blocks }
    }
}

fn quantised(values: &[f32; BLOCK]) -> Block {
    let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
    let inverse = 127.0 / largest;
    if inverse == f32::INFINITY {
        return Block::default();
    }
    let q = values.map(|v| (v * inverse).round_ties_even() as i8);
    let scale = largest / 127.0;
    let sum = q.iter().map(|&q| i32::from(q)).sum::<i32>();
    let first_sum = q[..16].iter().map(|&q| i32::from(q)).sum::<i32>();
    Block { values: q, scale, scaled_sum: scale * sum as f32, sum, first_sum }
}

/// 32 columns of a quantised row: w = d · q + m.
struct Part {
    q: [i32; BLOCK],
    d: f32,
    m: Option<f32>,
}

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn nibble(bytes: &[u8], k: usize) -> i32 {
    i32::from(if k < 16 { bytes[k] & 15 } else { bytes[k - 16] >> 4 })
}

fn bit(bytes: &[u8], k: usize) -> i32 {
    i32::from(bytes[k / 8] >> (k % 8) & 1)
}

/// Scale and minimum number `j` of the K types (`get_scale_min_k4` of ggml).
fn six_bits(s: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        (s[j + 4] & 15 | (s[j - 4] >> 6) << 4, s[j + 4] >> 4 | (s[j] >> 6) << 4)
    }
}

fn parts(layout: Layout, block: &[u8]) -> Vec<Part> {
    let one = |m, q: &dyn Fn(usize) -> i32| vec![Part { q: std::array::from_fn(q), d: half(block, 0), m }];
    match layout {
        Layout::Q8_0 => one(None, &|k| i32::from(block[2 + k] as i8)),
        Layout::Q4_0 => one(None, &|k| nibble(&block[2..], k) - 8),
        Layout::Q4_1 => one(Some(half(block, 2)), &|k| nibble(&block[4..], k)),
        Layout::Q5_0 => one(None, &|k| nibble(&block[6..], k) + 16 * bit(&block[2..], k) - 16),
        Layout::Q5_1 => one(Some(half(block, 2)), &|k| nibble(&block[8..], k) + 16 * bit(&block[4..], k)),
        Layout::Q4K | Layout::Q5K => (0..8)
            .map(|j| {
                let (scale, minimum) = six_bits(&block[4..], j);
                let (high, low) = if layout == Layout::Q5K {
                    (&block[16..48], &block[48..])
                } else {
                    (&[][..], &block[16..])
                };
                let q = |k: usize| {
                    let fifth = high.get(k).map_or(0, |byte| i32::from(byte >> j & 1));
                    i32::from(low[j / 2 * 32 + k] >> (4 * (j % 2)) & 15) + 16 * fifth
                };
                Part {
                    q: std::array::from_fn(q),
                    d: half(block, 0) * f32::from(scale),
                    m: Some(-(half(block, 2) * f32::from(minimum))),
                }
            })
            .collect(),
        Layout::Q6K => (0..8)
            .map(|j| {
                let q = |k: usize| {
                    let column = 32 * j + k;
                    let (side, rest) = (column / 128, column % 128);
                    let low = block[64 * side + rest % 64] >> (4 * (rest / 64)) & 15;
                    let high = block[128 + 32 * side + rest % 32] >> (2 * (rest / 32)) & 3;
                    let scale = i32::from(block[192 + column / 16] as i8);
                    (i32::from(low | high << 4) - 32) * scale
                };
                Part { q: std::array::from_fn(q), d: half(block, 208), m: None }
            })
            .collect(),
        Layout::F32 | Layout::F16 | Layout::BF16 => unreachable!("floats"),
    }
}

/// One row of weights, as stored, times one row of activations.
pub fn product(layout: Layout, row: &[u8], x: &Activations) -> f32 {
    match layout {
        Layout::F32 | Layout::F16 | Layout::BF16 => product_of_floats(layout, row, x),
        _ => {
            let blocks = row.chunks_exact(layout.source().block_bytes()).flat_map(|b| parts(layout, b));
            blocks.zip(&x.blocks).fold(0f32, |sum, (w, x)| {
                let dot: i32 = w.q.iter().zip(x.values).map(|(&w, x)| w * i32::from(x)).sum();
                assert!(dot.abs() <= 1 << 24, "an integer that f32 cannot hold");
                let sum = (dot as f32 * x.scale).mul_add(w.d, sum);
                w.m.map_or(sum, |m| m.mul_add(x.scaled_sum, sum))
            })
        }
    }
}

/// The same with f32 activations: runs of 256 columns of the weights as `draftwood_weights` dequantises them.
pub fn product_of_floats(layout: Layout, row: &[u8], x: &Activations) -> f32 {
    let mut weights = vec![0.0; x.floats.len()];
    dequantize_blocks(layout.source(), row, &mut weights, 1).unwrap();
    let run = |(w, x): (&[f32], &[f32])| w.iter().zip(x).fold(0f32, |sum, (w, &x)| w.mul_add(x, sum));
    weights.chunks(256).zip(x.floats.chunks(256)).map(run).fold(0f32, |sum, run| sum + run)
}

/// The same with weights and activations rounded to bf16, as AVX-512 BF16 adds products: of each pair of columns the odd
/// one first, each with one rounding.
pub fn product_of_halves(layout: Layout, row: &[u8], x: &Activations) -> f32 {
    let rounded = |x: f32| bf16::from_f32(x).to_f32();
    let mut weights = vec![0.0; x.floats.len()];
    dequantize_blocks(layout.source(), row, &mut weights, 1).unwrap();
    let terms: Vec<_> = weights.iter().zip(&x.floats).map(|(&w, &x)| (rounded(w), rounded(x))).collect();
    terms.chunks(2).fold(0f32, |sum, pair| pair.iter().rev().fold(sum, |sum, (w, x)| w.mul_add(*x, sum)))
}

/// The reference reads blocks as ggml does: weighted sums of the values, and sums of their squares, that the Python
/// package `gguf` 0.19.0 gives for the same bytes.
#[test]
fn blocks_are_read_as_ggml_reads_them() {
    let expected = [
        (Layout::Q8_0, -41.7189, 139.1442),
        (Layout::Q4_0, -72.0854, 0.5732),
        (Layout::Q4_1, 755.6114, 1.4090),
        (Layout::Q5_0, 79.2169, 2.2534),
        (Layout::Q5_1, 1784.7712, 7.3423),
        (Layout::Q4K, 31240.9624, 2525.8060),
        (Layout::Q5K, 61451.7347, 11309.7625),
        (Layout::Q6K, -21399.7505, 46739.9455),
    ];
    for (layout, weighted, squares) in expected {
        let mut row: Vec<u8> =
            (0..layout.row_bytes(256)).map(|i| ((i * 167 + i * i * 29 + 13) % 256) as u8).collect();
        for block in row.chunks_mut(layout.source().block_bytes()) {
            for (&at, scale) in crate::source::scales(layout).iter().zip([0.01, -0.02]) {
                block[at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
            }
        }
        let blocks = row.chunks(layout.source().block_bytes());
        let values: Vec<f64> = blocks
            .flat_map(|block| parts(layout, block))
            .flat_map(|part| {
                part.q.map(|q| f64::from(part.d) * f64::from(q) + f64::from(part.m.unwrap_or(0.0)))
            })
            .collect();
        let sum =
            |f: &dyn Fn(usize, f64) -> f64| values.iter().enumerate().map(|(k, &v)| f(k, v)).sum::<f64>();
        for (got, expected) in
            [(sum(&|k, v| v * (k * 37 % 101) as f64), weighted), (sum(&|_, v| v * v), squares)]
        {
            assert!((got - expected).abs() <= 1e-4 + 1e-6 * expected.abs(), "{layout:?}: {got} {expected}");
        }
    }
}

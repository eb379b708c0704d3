//! Weights and activations to test with.

use draftwood_forward::panels::Layout;
use half::{bf16, f16};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In −1..1.
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float() * 3.0).collect()
    }
}

/// Where a block keeps its f16 scales.
pub fn scales(layout: Layout) -> &'static [usize] {
    match layout {
        Layout::F32 | Layout::F16 | Layout::BF16 => &[],
        Layout::Q8_0 | Layout::Q4_0 | Layout::Q5_0 => &[0],
        Layout::Q4_1 | Layout::Q5_1 | Layout::Q4K | Layout::Q5K => &[0, 2],
        Layout::Q6K => &[208],
    }
}

/// A row of random bits with finite scales of both signs, some of them subnormal or zero.
pub fn stored_row(layout: Layout, columns: usize, numbers: &mut Numbers) -> Vec<u8> {
    match layout {
        Layout::F32 => (0..columns).flat_map(|_| numbers.float().to_le_bytes()).collect(),
        Layout::F16 => (0..columns).flat_map(|_| f16::from_f32(numbers.float()).to_le_bytes()).collect(),
        Layout::BF16 => (0..columns).flat_map(|_| bf16::from_f32(numbers.float()).to_le_bytes()).collect(),
        _ => {
            let mut row: Vec<u8> = (0..layout.row_bytes(columns)).map(|_| numbers.next() as u8).collect();
            for block in row.chunks_mut(layout.source().block_bytes()) {
                for &at in scales(layout) {
                    let scale = match numbers.next() % 16 {
                        0 => 0.0,
                        1 => numbers.float() * 5e-5,
                        _ => numbers.float() * 0.1,
                    };
                    block[at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
                }
            }
            row
        }
    }
}

/// Rows of the least and greatest integers, all the same or alternating, with extreme scales.
pub fn extreme_row(layout: Layout, columns: usize, case: usize) -> Vec<u8> {
    let patterns: [[u8; 4]; 8] = [
        [0xFF; 4],
        [0x00; 4],
        [0x80; 4],
        [0x7F; 4],
        [0x80, 0x7F, 0x80, 0x7F],
        [0xF0, 0x0F, 0xF0, 0x0F],
        [0x0F; 4],
        [0x81, 0x80, 0x7F, 0x01],
    ];
    let d = [1.0, -65504.0, 6e-8, 0.0, -0.5][case % 5];
    let pattern = patterns[case / 5];
    let mut row: Vec<u8> = (0..layout.row_bytes(columns)).map(|i| pattern[i % 4]).collect();
    for block in row.chunks_mut(layout.source().block_bytes()) {
        for (i, &at) in scales(layout).iter().enumerate() {
            let scale = f16::from_f32(if i == 0 { d } else { -d });
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
        if layout == Layout::Q6K {
            block[192..208].fill(pattern[case % 4]);
        }
    }
    row
}

/// Rows whose bytes are all ±127, in patterns of pairs and quadruples.
pub fn extreme_activations(columns: usize, case: usize) -> Vec<f32> {
    let size = [1.0, 1e-3, 1e30][case / 8];
    let sign = |i: usize| match case % 8 {
        0 => 1.0,
        1 => -1.0,
        2 => [1.0, -1.0][i % 2],
        3 => [1.0, 1.0, -1.0, -1.0][i % 4],
        4 => [-1.0, 1.0][i / 16 % 2],
        5 => [1.0, -1.0][i / 32 % 2],
        6 => [-1.0, 1.0, 1.0, 1.0][i % 4],
        _ => [1.0, 0.0, -1.0][i % 3],
    };
    (0..columns).map(|i| sign(i) * size).collect()
}

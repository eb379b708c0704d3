//! Random models, a scalar forward pass that judges them, and plans from trees.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod oracle;
pub mod plans;

use draftwood_base::Result;
use draftwood_forward::{Activation, LayerSpec, NormKind, RopeScaling, RopeSpec, Spec, Weights};
use draftwood_weights::{GgmlType, dequantize_blocks};

/// A small generator (splitmix64), so that tests need no crate for it.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn real(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Weights from a hash of name and row: no storage, the same on every call. Matrices are stored as the second field says.
pub struct RandomWeights(pub Spec, pub GgmlType);

impl RandomWeights {
    pub fn matrix(&self, name: &str) -> Vec<Vec<f32>> {
        let shape = self.info(name).unwrap().0;
        let (rows, columns) = if shape.len() == 1 { (1, shape[0]) } else { (shape[0], shape[1]) };
        (0..rows)
            .map(|row| {
                let mut values = vec![0.0; columns];
                self.row(name, row, &mut values).unwrap();
                values
            })
            .collect()
    }
}

impl Weights for RandomWeights {
    fn info(&self, name: &str) -> Option<(Vec<usize>, GgmlType)> {
        let s = &self.0;
        let (q, k) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
        let mut shape = match name.rsplit('.').nth(1)? {
            "token_embd" | "output" => vec![s.vocab, s.hidden],
            "position_embd" => vec![s.context, s.hidden],
            "rope_freqs" => vec![s.head_dim / 2],
            "output_norm" | "attn_norm" | "ffn_norm" => vec![s.hidden],
            "attn_q_norm" | "attn_k_norm" => vec![s.head_dim],
            "attn_q" => vec![q, s.hidden],
            "attn_k" | "attn_v" => vec![k, s.hidden],
            "attn_output" => vec![s.hidden, q],
            "ffn_gate" | "ffn_up" => vec![s.feed_forward, s.hidden],
            "ffn_down" => vec![s.hidden, s.feed_forward],
            _ => return None,
        };
        if name.ends_with(".bias") {
            shape.truncate(1);
        }
        let kind = if shape.len() == 1 { GgmlType::F32 } else { self.1 };
        Some((shape, kind))
    }

    fn row(&self, name: &str, row: usize, to: &mut [f32]) -> Result<()> {
        let kind = self.info(name).unwrap().1;
        if kind != GgmlType::F32 {
            let mut blocks = vec![0; to.len() / kind.block_len() * kind.block_bytes()];
            self.stored_row(name, row, &mut blocks)?;
            dequantize_blocks(kind, &blocks, to, 1).unwrap();
            return Ok(());
        }
        let mut random = Random(seed(name, row));
        let (scale, middle) = match name {
            _ if name.ends_with(".bias") => (0.2, 0.0),
            _ if name.contains("norm") => (0.3, 1.0),
            "rope_freqs.weight" => (1.0, 2.0),
            _ => (1.7 / (to.len() as f32).sqrt(), 0.0),
        };
        to.iter_mut().for_each(|v| *v = random.real() * scale + middle);
        Ok(())
    }

    /// Random bits, but for the scales.
    fn stored_row(&self, name: &str, row: usize, to: &mut [u8]) -> Result<()> {
        let kind = self.info(name).unwrap().1;
        let mut random = Random(seed(name, row));
        if kind == GgmlType::F32 {
            let mut values = vec![0.0; to.len() / 4];
            self.row(name, row, &mut values)?;
            to.chunks_exact_mut(4).zip(values).for_each(|(to, x)| to.copy_from_slice(&x.to_le_bytes()));
            return Ok(());
        }
        if matches!(kind, GgmlType::F16 | GgmlType::BF16) {
            for value in to.chunks_exact_mut(2) {
                let x = random.real() * 0.1;
                match kind {
                    GgmlType::F16 => value.copy_from_slice(&half::f16::from_f32(x).to_le_bytes()),
                    _ => value.copy_from_slice(&half::bf16::from_f32(x).to_le_bytes()),
                }
            }
            return Ok(());
        }
        to.iter_mut().for_each(|byte| *byte = random.next() as u8);
        for block in to.chunks_exact_mut(kind.block_bytes()) {
            let (scales, size): (&[usize], f32) = match kind {
                GgmlType::Q8_0 => (&[0], 1e-3),
                GgmlType::Q4_0 | GgmlType::Q5_0 => (&[0], 1e-2),
                GgmlType::Q4_1 | GgmlType::Q5_1 => (&[0, 2], 1e-2),
                GgmlType::Q4_K | GgmlType::Q5_K => (&[0, 2], 2e-4),
                GgmlType::Q6_K => (&[208], 1e-5),
                other => unreachable!("{other:?}"),
            };
            for &at in scales {
                block[at..at + 2].copy_from_slice(&half::f16::from_f32(random.real() * size).to_le_bytes());
            }
        }
        Ok(())
    }
}

fn seed(name: &str, row: usize) -> u64 {
    name.bytes().fold(row as u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}

/// A layer that sees everything and turns by the first rope.
pub const PLAIN: LayerSpec = LayerSpec { window: None, rope: Some(0) };

/// Sizes with every remainder: heads that are no whole panel, odd widths, groups of three.
pub fn odd_spec() -> Spec {
    Spec {
        vocab: 83,
        hidden: 44,
        feed_forward: 70,
        layers: vec![PLAIN; 2],
        heads: 6,
        kv_heads: 2,
        head_dim: 20,
        context: 2048,
        norm: NormKind::Rms,
        norm_epsilon: 1e-5,
        head_norm: false,
        ropes: vec![RopeSpec { base: 10_000.0, scaling: None }],
        rope_neighbours: true,
        learned_positions: false,
        qkv_bias: false,
        output_bias: false,
        feed_forward_bias: false,
        activation: Activation::Silu,
        gated: true,
        tied: false,
    }
}

/// Round sizes, one head per group, tied.
pub fn even_spec() -> Spec {
    Spec {
        vocab: 1600,
        hidden: 128,
        feed_forward: 160,
        layers: vec![PLAIN; 2],
        heads: 4,
        kv_heads: 4,
        head_dim: 64,
        rope_neighbours: false,
        tied: true,
        ..odd_spec()
    }
}

/// GPT-2's features: learned positions, LayerNorm, biases, no gate.
pub fn learned_spec() -> Spec {
    Spec {
        layers: vec![LayerSpec { window: None, rope: None }; 2],
        context: 200,
        norm: NormKind::Layer,
        ropes: vec![],
        rope_neighbours: false,
        learned_positions: true,
        qkv_bias: true,
        output_bias: true,
        feed_forward_bias: true,
        activation: Activation::GeluTanh,
        gated: false,
        tied: true,
        ..odd_spec()
    }
}

/// What later families mix: normed heads, several ropes and none, windows, biases here and there, a gated GELU.
pub fn mixed_spec() -> Spec {
    let layer = |window, rope| LayerSpec { window, rope };
    let rope = |scaling| RopeSpec { base: 500.0, scaling: Some(scaling) };
    Spec {
        layers: vec![
            layer(Some(9), Some(0)),
            layer(None, Some(1)),
            layer(Some(9), None),
            layer(None, Some(2)),
        ],
        kv_heads: 3,
        head_dim: 24,
        head_norm: true,
        ropes: vec![
            rope(RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 64.0 }),
            rope(RopeScaling::Linear { factor: 3.0 }),
            rope(RopeScaling::Divisors),
        ],
        rope_neighbours: false,
        qkv_bias: true,
        feed_forward_bias: true,
        activation: Activation::GeluTanh,
        ..odd_spec()
    }
}

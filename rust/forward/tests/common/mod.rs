//! Random models, a scalar forward pass that judges them, and plans from trees.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod oracle;
pub mod plans;

use draftwood_base::Result;
use draftwood_forward::{Spec, Weights};

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

/// Weights from a hash of name and row: no storage, the same on every call.
pub struct RandomWeights(pub Spec);

impl RandomWeights {
    pub fn matrix(&self, name: &str) -> Vec<Vec<f32>> {
        let shape = self.shape(name).unwrap();
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
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let s = &self.0;
        let (q, k) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
        Some(match name.rsplit('.').nth(1)? {
            "token_embd" | "output" => vec![s.vocab, s.hidden],
            "output_norm" | "attn_norm" | "ffn_norm" => vec![s.hidden],
            "attn_q" => vec![q, s.hidden],
            "attn_k" | "attn_v" => vec![k, s.hidden],
            "attn_output" => vec![s.hidden, q],
            "ffn_gate" | "ffn_up" => vec![s.feed_forward, s.hidden],
            "ffn_down" => vec![s.hidden, s.feed_forward],
            _ => return None,
        })
    }

    fn row(&self, name: &str, row: usize, to: &mut [f32]) -> Result<()> {
        let seed = name.bytes().fold(row as u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
        let mut random = Random(seed);
        let norm = name.contains("norm");
        let scale = if norm { 0.3 } else { 1.7 / (to.len() as f32).sqrt() };
        to.iter_mut().for_each(|v| *v = random.real() * scale + if norm { 1.0 } else { 0.0 });
        Ok(())
    }
}

/// Sizes with every remainder: heads that are no whole panel, odd widths, groups of three.
pub fn odd_spec() -> Spec {
    Spec {
        vocab: 83,
        hidden: 44,
        feed_forward: 70,
        layers: 2,
        heads: 6,
        kv_heads: 2,
        head_dim: 20,
        context: 2048,
        norm_epsilon: 1e-5,
        rope_base: 10_000.0,
        rope_neighbours: true,
        tied: false,
    }
}

/// Round sizes, one head per group, tied.
pub fn even_spec() -> Spec {
    Spec {
        vocab: 1600,
        hidden: 128,
        feed_forward: 160,
        layers: 2,
        heads: 4,
        kv_heads: 4,
        head_dim: 64,
        rope_neighbours: false,
        tied: true,
        ..odd_spec()
    }
}

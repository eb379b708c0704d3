//! The forward pass as one would write it first: one output, one query, one key after the other, no cache, no panels.
//! It follows the order of summation that the crate promises, so its bits are the judge of every kernel.

use super::RandomWeights;
use draftwood_forward::{CacheType, Spec};

/// Sums lane by lane (index mod 16), then 8 + 8, 4 + 4, 2 + 2, 1 + 1.
fn lanes_sum(values: impl Iterator<Item = f32>, add: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; 16];
    for (i, value) in values.enumerate() {
        lanes[i % 16] = add(value, lanes[i % 16]);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// Runs of 256 products by fused multiply-add, and the sum of the runs.
fn dot(w: &[f32], x: &[f32]) -> f32 {
    let run = |(w, x): (&[f32], &[f32])| w.iter().zip(x).fold(0.0, |sum, (w, x)| w.mul_add(*x, sum));
    w.chunks(256).zip(x.chunks(256)).map(run).fold(0.0, |sum, run| sum + run)
}

fn exp(x: f32) -> f32 {
    let x = if -87.0 > x { -87.0 } else { x };
    let x = if 88.0 < x { 88.0 } else { x };
    let rounded = x.mul_add(std::f32::consts::LOG2_E, 12_582_912.0);
    let n = rounded - 12_582_912.0;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]
        .iter()
        .fold(1.0f32 / 720.0, |p, c| p.mul_add(r, *c));
    p * 2f32.powi(n as i32)
}

fn norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let squares = lanes_sum(x.iter().copied(), |x, sum| x.mul_add(x, sum));
    let inverse = 1.0 / (squares / x.len() as f32 + epsilon).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * inverse * w).collect()
}

/// Softmax-weighted values of the last `window` positions, in splits of 256 that begin at multiples of 256, merged in order.
fn attend(q: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>], window: Option<usize>) -> Vec<f32> {
    let scale = 1.0 / (q.len() as f32).sqrt();
    let seen: Vec<usize> =
        (0..keys.len()).filter(|j| window.is_none_or(|w| keys.len() - 1 - j < w)).collect();
    let splits: Vec<(f32, f32, Vec<f32>)> = seen
        .chunk_by(|a, b| a / 256 == b / 256)
        .map(|seen| {
            let scores: Vec<f32> = seen.iter().map(|&j| dot(&keys[j], q) * scale).collect();
            let m = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let e: Vec<f32> = scores.iter().map(|s| exp(s - m)).collect();
            let mut by_position = [0.0; 256];
            seen.iter().zip(&e).for_each(|(j, e)| by_position[j % 256] = *e);
            let l = lanes_sum(by_position.into_iter(), |e, sum| sum + e);
            let o = (0..q.len())
                .map(|d| e.iter().zip(seen).fold(0.0, |o, (e, &j)| values[j][d].mul_add(*e, o)))
                .collect();
            (m, l, o)
        })
        .collect();
    let largest = splits.iter().map(|s| s.0).fold(f32::NEG_INFINITY, f32::max);
    let total = splits.iter().fold(0.0, |sum, (m, l, _)| exp(m - largest).mul_add(*l, sum));
    let merged = |d: usize| splits.iter().fold(0.0, |sum, (m, _, o)| exp(m - largest).mul_add(o[d], sum));
    (0..q.len()).map(|d| merged(d) / total).collect()
}

/// Logits after each of `tokens`, with keys and values kept as `stored`.
pub fn logits(weights: &RandomWeights, tokens: &[i32], stored: CacheType) -> Vec<Vec<f32>> {
    let Spec { heads, kv_heads, head_dim, feed_forward, tied, .. } = weights.0;
    let epsilon = weights.0.norm_epsilon as f32;
    let embedding = weights.matrix("token_embd.weight");
    let mut residual: Vec<Vec<f32>> = tokens.iter().map(|&t| embedding[t as usize].clone()).collect();
    for (layer, spec) in weights.0.layers.iter().enumerate() {
        let get = |part: &str| weights.matrix(&format!("blk.{layer}.{part}.weight"));
        let product = |w: &[Vec<f32>], x: &[f32]| -> Vec<f32> { w.iter().map(|w| dot(w, x)).collect() };
        let (wq, wk, wv) = (get("attn_q"), get("attn_k"), get("attn_v"));
        let project = |w: &[Vec<f32>], turn: bool| -> Vec<Vec<f32>> {
            let one = |(position, x): (usize, &Vec<f32>)| {
                let mut y = product(w, &norm(x, &get("attn_norm")[0], epsilon));
                if turn {
                    y.chunks_mut(head_dim).for_each(|head| rotate(head, position, &weights.0));
                }
                y
            };
            residual.iter().enumerate().map(one).collect()
        };
        let kept = |rows: Vec<Vec<f32>>| -> Vec<Vec<f32>> {
            let halves = |row: Vec<f32>| row.into_iter().map(|x| half::f16::from_f32(x).to_f32()).collect();
            if stored == CacheType::F16 { rows.into_iter().map(halves).collect() } else { rows }
        };
        let (q, k, v) = (project(&wq, true), kept(project(&wk, true)), kept(project(&wv, false)));
        let part = |rows: &[Vec<f32>], end: usize, head: usize| -> Vec<Vec<f32>> {
            rows[..end].iter().map(|row| row[head * head_dim..(head + 1) * head_dim].to_vec()).collect()
        };
        let (wo, gate, up, down) = (get("attn_output"), get("ffn_gate"), get("ffn_up"), get("ffn_down"));
        for (i, x) in residual.iter_mut().enumerate() {
            let attended: Vec<f32> = (0..heads)
                .flat_map(|head| {
                    let kv = head / (heads / kv_heads);
                    let (keys, values) = (part(&k, i + 1, kv), part(&v, i + 1, kv));
                    attend(&part(&q, i + 1, head)[i], &keys, &values, spec.window)
                })
                .collect();
            product(&wo, &attended).iter().zip(x.iter_mut()).for_each(|(y, x)| *x += y);
            let normed = norm(x, &get("ffn_norm")[0], epsilon);
            let (gate, up) = (product(&gate, &normed), product(&up, &normed));
            let gated: Vec<f32> =
                (0..feed_forward).map(|j| gate[j] / (exp(0.0 - gate[j]) + 1.0) * up[j]).collect();
            product(&down, &gated).iter().zip(x.iter_mut()).for_each(|(y, x)| *x += y);
        }
    }
    let head = if tied { embedding } else { weights.matrix("output.weight") };
    let last = weights.matrix("output_norm.weight");
    residual.iter().map(|x| head.iter().map(|w| dot(w, &norm(x, &last[0], epsilon))).collect()).collect()
}

/// Rope; dimensions stored as neighbouring pairs come out as halves, the order that scores are summed in.
fn rotate(head: &mut [f32], position: usize, spec: &Spec) {
    let half = head.len() / 2;
    let stored = head.to_vec();
    for i in 0..half {
        let frequency = libm::pow(spec.rope_base, -((2 * i) as f64) / head.len() as f64) as f32;
        let angle = f64::from(position as f32 * frequency);
        let (sine, cosine) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
        let (first, second) = if spec.rope_neighbours { (2 * i, 2 * i + 1) } else { (i, i + half) };
        let (a, b) = (stored[first], stored[second]);
        (head[i], head[i + half]) = (a * cosine - b * sine, b * cosine + a * sine);
    }
}

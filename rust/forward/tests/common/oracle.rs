//! The forward pass as one would write it first: one output, one query, one key after the other, no cache, no panels.
//! It follows the order of summation that the crate promises, so its bits are the judge of every kernel.

use super::RandomWeights;
use draftwood_forward::{Activation, CacheType, NormKind, RopeScaling, RopeSpec, Spec};

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

fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let squares = lanes_sum(x.iter().copied(), |x, sum| x.mul_add(x, sum));
    let inverse = 1.0 / (squares / x.len() as f32 + epsilon).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * inverse * w).collect()
}

fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f32> {
    let mean = lanes_sum(x.iter().copied(), |x, sum| sum + x) / x.len() as f32;
    let centred: Vec<f32> = x.iter().map(|x| x - mean).collect();
    let squares = lanes_sum(centred.iter().copied(), |x, sum| x.mul_add(x, sum));
    let inverse = 1.0 / (squares / x.len() as f32 + epsilon).sqrt();
    centred.iter().zip(weight.iter().zip(bias)).map(|(x, (w, b))| (x * inverse).mul_add(*w, *b)).collect()
}

/// The norm of the residual stream that has this name.
fn norm(weights: &RandomWeights, name: &str, x: &[f32]) -> Vec<f32> {
    let epsilon = weights.0.norm_epsilon as f32;
    let weight = &weights.matrix(&format!("{name}.weight"))[0];
    match weights.0.norm {
        NormKind::Rms => rms_norm(x, weight, epsilon),
        NormKind::Layer => layer_norm(x, weight, &weights.matrix(&format!("{name}.bias"))[0], epsilon),
    }
}

fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => x / (exp(0.0 - x) + 1.0),
        Activation::GeluTanh => {
            let inner = 0.797_884_6 * (x * x * x).mul_add(0.044_715, x);
            let tanh = 1.0 - 2.0 / (exp(inner + inner) + 1.0);
            0.5 * x * (1.0 + tanh)
        }
    }
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
    let Spec { heads, kv_heads, head_dim, tied, .. } = weights.0;
    let spec = &weights.0;
    let embedding = weights.matrix("token_embd.weight");
    let mut residual: Vec<Vec<f32>> = tokens.iter().map(|&t| embedding[t as usize].clone()).collect();
    if spec.learned_positions {
        for (x, p) in residual.iter_mut().zip(weights.matrix("position_embd.weight")) {
            x.iter_mut().zip(p).for_each(|(x, p)| *x += p);
        }
    }
    for (number, layer) in spec.layers.iter().enumerate() {
        let name = |part: &str| format!("blk.{number}.{part}");
        // W·x + b
        let linear = |part: &str, biased: bool| {
            let w = weights.matrix(&format!("{}.weight", name(part)));
            let bias = biased.then(|| weights.matrix(&format!("{}.bias", name(part))).remove(0));
            move |x: &[f32]| -> Vec<f32> {
                let y = w.iter().map(|w| dot(w, x));
                y.enumerate().map(|(i, y)| bias.as_ref().map_or(y, |b| y + b[i])).collect()
            }
        };
        let project = |part: &str, turned: bool| -> Vec<Vec<f32>> {
            let matrix = linear(part, spec.qkv_bias);
            let one = |(position, x): (usize, &Vec<f32>)| {
                let mut y = matrix(&norm(weights, &name("attn_norm"), x));
                for head in y.chunks_mut(head_dim).filter(|_| turned) {
                    if spec.head_norm {
                        let weight = &weights.matrix(&format!("{}_norm.weight", name(part)))[0];
                        head.copy_from_slice(&rms_norm(head, weight, spec.norm_epsilon as f32));
                    }
                    if let Some(rope) = layer.rope {
                        rotate(head, position, &spec.ropes[rope], weights);
                    }
                }
                y
            };
            residual.iter().enumerate().map(one).collect()
        };
        let kept = |rows: Vec<Vec<f32>>| -> Vec<Vec<f32>> {
            let halves = |row: Vec<f32>| row.into_iter().map(|x| half::f16::from_f32(x).to_f32()).collect();
            if stored == CacheType::F16 { rows.into_iter().map(halves).collect() } else { rows }
        };
        let (q, k) = (project("attn_q", true), kept(project("attn_k", true)));
        let v = kept(project("attn_v", false));
        let part = |rows: &[Vec<f32>], end: usize, head: usize| -> Vec<Vec<f32>> {
            rows[..end].iter().map(|row| row[head * head_dim..(head + 1) * head_dim].to_vec()).collect()
        };
        let output = linear("attn_output", spec.output_bias);
        let up = linear("ffn_up", spec.feed_forward_bias);
        let gate = spec.gated.then(|| linear("ffn_gate", spec.feed_forward_bias));
        let down = linear("ffn_down", spec.feed_forward_bias);
        for (i, x) in residual.iter_mut().enumerate() {
            let attended: Vec<f32> = (0..heads)
                .flat_map(|head| {
                    let kv = head / (heads / kv_heads);
                    let (keys, values) = (part(&k, i + 1, kv), part(&v, i + 1, kv));
                    attend(&part(&q, i + 1, head)[i], &keys, &values, layer.window)
                })
                .collect();
            output(&attended).iter().zip(x.iter_mut()).for_each(|(y, x)| *x += y);
            let normed = norm(weights, &name("ffn_norm"), x);
            let up = up(&normed);
            let between: Vec<f32> = match &gate {
                Some(gate) => {
                    gate(&normed).iter().zip(up).map(|(g, u)| activate(spec.activation, *g) * u).collect()
                }
                None => up.into_iter().map(|u| activate(spec.activation, u)).collect(),
            };
            down(&between).iter().zip(x.iter_mut()).for_each(|(y, x)| *x += y);
        }
    }
    let head = if tied { embedding } else { weights.matrix("output.weight") };
    let last: Vec<_> = residual.iter().map(|x| norm(weights, "output_norm", x)).collect();
    last.iter().map(|x| head.iter().map(|w| dot(w, x)).collect()).collect()
}

/// Rope; dimensions stored as neighbouring pairs come out as halves, the order that scores are summed in.
fn rotate(head: &mut [f32], position: usize, rope: &RopeSpec, weights: &RandomWeights) {
    let half = head.len() / 2;
    let stored = head.to_vec();
    let divisors = weights.matrix("rope_freqs.weight").remove(0);
    for i in 0..half {
        let frequency = libm::pow(rope.base, -((2 * i) as f64) / head.len() as f64) as f32;
        let frequency = match rope.scaling {
            None => frequency,
            Some(RopeScaling::Linear { factor }) => frequency / factor as f32,
            Some(RopeScaling::Divisors) => frequency / divisors[i],
            Some(RopeScaling::Llama3 { factor, low, high, original }) => {
                let turns = original as f32 / (2.0 * std::f32::consts::PI / frequency);
                let smooth = (turns - low as f32) / (high - low) as f32;
                match turns {
                    _ if turns < low as f32 => frequency / factor as f32,
                    _ if turns > high as f32 => frequency,
                    _ => (1.0 - smooth) * frequency / factor as f32 + smooth * frequency,
                }
            }
        };
        let angle = f64::from(position as f32 * frequency);
        let (sine, cosine) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
        let (first, second) = if weights.0.rope_neighbours { (2 * i, 2 * i + 1) } else { (i, i + half) };
        let (a, b) = (stored[first], stored[second]);
        (head[i], head[i + half]) = (a * cosine - b * sine, b * cosine + a * sine);
    }
}

//! The sampler written down slowly: once with the integers of the specification, once in f64 as textbooks have it.
#![allow(dead_code)]

use draftwood_base::noise::{Address, Purpose};
use draftwood_sample::{Choice, Draw, Params};

/// The choice of a row that holds no fault, by sorting and scanning alone.
pub fn choose(row: &[f32], params: &Params, draw: &Draw) -> Choice {
    if params.temperature == 0.0 {
        let best = row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
        return Choice { token: row.iter().position(|&x| x == best).unwrap() as u32, kept: 1 };
    }
    let inv_t = 1.0 / params.temperature;
    let address = Address {
        seed: draw.seed,
        purpose: Purpose::TokenDraw,
        slot: draw.slot,
        sample: draw.sample,
        position: draw.position,
    };
    let kept = kept(row, params);
    let score = |&i: &usize| ordered(read(read(row[i]).mul_add(inv_t, address.gumbel(i as u32))));
    let best = kept.iter().map(score).max().unwrap();
    let token = kept.iter().copied().find(|i| score(i) == best).unwrap();
    Choice { token: token as u32, kept: kept.len() as u32 }
}

/// The ids that top-k, top-p and min-p leave, rising: thresholds on ordered keys, sums of integer weights.
pub fn kept(row: &[f32], params: &Params) -> Vec<usize> {
    let scale = (1.0 / params.temperature) * std::f32::consts::LOG2_E;
    let best = row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
    let weight = |i: usize| weight40((read(row[i]) - read(best)) * scale);
    let key = |i: usize| ordered(read(row[i]));
    let mut kept: Vec<usize> = (0..row.len()).filter(|&i| row[i] > f32::NEG_INFINITY).collect();
    kept.sort_by_key(|&i| std::cmp::Reverse(key(i)));
    let k = params.top_k as usize;
    if k > 0 && k < kept.len() {
        let kth = key(kept[k - 1]);
        kept.retain(|&i| key(i) >= kth);
    }
    if params.top_p < 1.0 {
        let total: u64 = kept.iter().map(|&i| weight(i)).sum();
        let need = ((u128::from(total) * u128::from(fixed24(params.top_p))) >> 24).max(1) as u64;
        let mut sum = 0;
        let last = kept.iter().position(|&i| {
            sum += weight(i);
            sum >= need
        });
        let threshold = key(kept[last.unwrap()]);
        kept.retain(|&i| key(i) >= threshold);
    }
    let floor = ((1u128 << 40) * u128::from(fixed24(params.min_p))) >> 24;
    kept.retain(|&i| u128::from(weight(i)) >= floor);
    kept.sort_unstable();
    kept
}

/// Subnormals and −0 are read as +0.
fn read(x: f32) -> f32 {
    if x == 0.0 || x.is_subnormal() { 0.0 } else { x }
}

/// u32 order = float order.
fn ordered(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits & 0x8000_0000 != 0 { !bits } else { bits | 0x8000_0000 }
}

/// rne(p · 2^24).
fn fixed24(p: f32) -> u64 {
    (f64::from(p) * f64::from(1u32 << 24)).round_ties_even() as u64
}

/// trunc(2^40 · 2^x) as the CUDA kernel has it: round, polynomial, exact scaling, conversion.
fn weight40(x: f32) -> u64 {
    if x.is_nan() || x <= -41.0 {
        return 0;
    }
    let n = x.round_ties_even();
    let coefficients: [f64; 7] = [
        0.0001546734565636143,
        0.0013400389580056071,
        0.009618036448955536,
        0.055503275245428085,
        0.24022650718688965,
        0.6931471824645996,
        1.0,
    ];
    let power = coefficients.iter().fold(0.0f32, |r, &c| r.mul_add(x - n, c as f32));
    (f64::from(power) * f64::from(n + 40.0).exp2()) as u64
}

/// The law of the next token in f64: softmax at the temperature, top-k, top-p over what is left with the fewest tokens
/// that reach the mass, min-p relative to the most likely, renormalised. Returns also how close a decision came to going
/// the other way.
pub fn law(row: &[f32], params: &Params) -> (Vec<f64>, f64) {
    let t = f64::from(params.temperature);
    let best = row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
    let p: Vec<f64> = row.iter().map(|&x| ((f64::from(x) - f64::from(best)) / t).exp()).collect();
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
    let mut margin = f64::INFINITY;
    let k = params.top_k as usize;
    if k > 0 && k < order.len() {
        margin = p[order[k - 1]] - p[order[k]];
        order.truncate(k);
    }
    if params.top_p < 1.0 {
        let need = f64::from(params.top_p) * order.iter().map(|&i| p[i]).sum::<f64>();
        let mut sum = 0.0;
        let mut count = 0;
        for &i in &order {
            sum += p[i];
            count += 1;
            margin = margin.min((sum - need).abs());
            if sum >= need {
                break;
            }
        }
        order.truncate(count);
    }
    if params.min_p > 0.0 {
        margin = order.iter().map(|&i| (p[i] - f64::from(params.min_p)).abs()).fold(margin, f64::min);
        order.retain(|&i| p[i] >= f64::from(params.min_p));
    }
    let total: f64 = order.iter().map(|&i| p[i]).sum();
    let mut law = vec![0.0; row.len()];
    for i in order {
        law[i] = p[i] / total;
    }
    (law, margin)
}

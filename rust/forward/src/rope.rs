//! Rotary position embeddings (Su et al. 2021) over halves: dimension i turns with i + d/2.

use crate::spec::{RopeScaling, RopeSpec};
use std::f32::consts::PI;

/// Inverse frequencies: θ^(−2i/d), computed in f64 and rounded once, then stretched by f32 operations in the order of
/// transformers. `divisors` are those of [`RopeScaling::Divisors`], d/2 values.
pub fn inverse_frequencies(rope: &RopeSpec, head_dim: usize, divisors: &[f32]) -> Vec<f32> {
    (0..head_dim / 2)
        .map(|i| {
            let inverse = libm::pow(rope.base, -((2 * i) as f64) / head_dim as f64) as f32;
            match rope.scaling {
                None => inverse,
                Some(RopeScaling::Linear { factor }) => inverse / factor as f32,
                Some(RopeScaling::Divisors) => inverse / divisors[i],
                Some(RopeScaling::Llama3 { factor, low, high, original }) => {
                    let (factor, wave) = (factor as f32, 2.0 * PI / inverse);
                    if wave > (original / low) as f32 {
                        inverse / factor
                    } else if wave < (original / high) as f32 {
                        inverse
                    } else {
                        let smooth = (original as f32 / wave - low as f32) / (high - low) as f32;
                        (1.0 - smooth) * inverse / factor + smooth * inverse
                    }
                }
            }
        })
        .collect()
}

/// Cosines, then sines, of one position: `table` [2][d/2]. The angle is an f32 product, as in transformers; its sine
/// and cosine are computed in f64 by a portable libm and rounded once, so that all machines agree.
pub fn fill(position: usize, frequencies: &[f32], table: &mut [f32]) {
    let (cosines, sines) = table.split_at_mut(frequencies.len());
    for ((cosine, sine), &frequency) in cosines.iter_mut().zip(sines).zip(frequencies) {
        let angle = f64::from(position as f32 * frequency);
        let (s, c) = libm::sincos(angle);
        (*sine, *cosine) = (s as f32, c as f32);
    }
}

/// Turns one head in place: (a, b) → (a·cos − b·sin, b·cos + a·sin), each product rounded.
pub fn rotate(head: &mut [f32], table: &[f32]) {
    let half = table.len() / 2;
    let (cosines, sines) = table.split_at(half);
    let (first, second) = head.split_at_mut(half);
    for i in 0..half {
        let (a, b) = (first[i], second[i]);
        first[i] = a * cosines[i] - b * sines[i];
        second[i] = b * cosines[i] + a * sines[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_keeps_lengths_and_composes() {
        let frequencies = inverse_frequencies(&RopeSpec { base: 10_000.0, scaling: None }, 64, &[]);
        assert_eq!((frequencies[0], frequencies[16]), (1.0, 0.01));
        let mut table = vec![0.0; 64];
        fill(7000, &frequencies, &mut table);
        for i in 0..32 {
            assert!((table[i].hypot(table[32 + i]) - 1.0).abs() < 2e-7);
        }
        assert_eq!(table[0], (7000f64).cos() as f32);
        let mut head: Vec<f32> = (0..64).map(|i| i as f32).collect();
        rotate(&mut head, &table);
        let norm = |v: &[f32]| v.iter().map(|x| f64::from(x * x)).sum::<f64>();
        assert!((norm(&head) / norm(&(0..64).map(|i| i as f32).collect::<Vec<_>>()) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn stretching_keeps_short_waves_divides_long_ones_and_blends_between() {
        let plain = inverse_frequencies(&RopeSpec { base: 10_000.0, scaling: None }, 64, &[]);
        let stretched = |scaling, divisors: &[f32]| {
            let rope = RopeSpec { base: 10_000.0, scaling: Some(scaling) };
            inverse_frequencies(&rope, 64, divisors)
        };
        let ratios =
            |scaled: Vec<f32>| -> Vec<f32> { plain.iter().zip(scaled).map(|(p, s)| p / s).collect() };
        let ratio =
            ratios(stretched(RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 512.0 }, &[]));
        // Waves of 2π·10^(i/8): 4 of them in 512 positions at i = 10.5, one at i = 15.3.
        assert!(ratio[..=10].iter().all(|&r| r == 1.0) && ratio[16..].iter().all(|&r| r == 8.0));
        assert!(ratio[11..16].is_sorted() && ratio[11] > 1.0 && ratio[15] < 8.0);
        // By hand at i = 12: λ = 2π·10^1.5, s = (512/λ − 1) / 3, divisor 1 / ((1 − s)/8 + s).
        let smooth = (512.0 / (2.0 * std::f64::consts::PI * 10f64.powf(1.5)) - 1.0) / 3.0;
        assert!((f64::from(ratio[12]) * ((1.0 - smooth) / 8.0 + smooth) - 1.0).abs() < 1e-6);
        assert!(ratios(stretched(RopeScaling::Linear { factor: 4.0 }, &[])).iter().all(|&r| r == 4.0));
        let divisors: Vec<f32> = (0..32).map(|i| 1.0 + i as f32).collect();
        assert_eq!(stretched(RopeScaling::Divisors, &divisors)[31], plain[31] / 32.0);
    }
}

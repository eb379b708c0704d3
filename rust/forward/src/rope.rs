//! Rotary position embeddings (Su et al. 2021) over halves: dimension i turns with i + d/2.

/// Inverse frequencies θ^(−2i/d), computed in f64 and rounded once.
pub fn inverse_frequencies(base: f64, head_dim: usize) -> Vec<f32> {
    (0..head_dim / 2).map(|i| libm::pow(base, -((2 * i) as f64) / head_dim as f64) as f32).collect()
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
        let frequencies = inverse_frequencies(10_000.0, 64);
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
}

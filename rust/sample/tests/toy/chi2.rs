//! Pearson's test of counts against a law, and what such a test can see.

use draftwood_base::Token;
use statrs::distribution::{ChiSquared, ContinuousCDF};
use std::collections::BTreeMap;

pub struct Outcome {
    pub p: f64,
    pub freedom: f64,
    /// Distance in total variation of the counts from the law, sampling noise included.
    pub distance: f64,
}

/// Cells of fewer than 5 expected counts are merged; a count where the law has nothing is proof by itself.
pub fn test(counts: &BTreeMap<Vec<Token>, u64>, law: &BTreeMap<Vec<Token>, f64>) -> Outcome {
    let n = counts.values().sum::<u64>() as f64;
    let impossible: u64 = counts.iter().filter(|(text, _)| !law.contains_key(*text)).map(|(_, &c)| c).sum();
    let mut cells = Vec::new();
    let mut rest = (0.0, 0.0);
    for (text, p) in law {
        let (seen, expected) = (counts.get(text).copied().unwrap_or(0) as f64, p * n);
        if expected >= 5.0 {
            cells.push((seen, expected));
        } else {
            rest = (rest.0 + seen, rest.1 + expected);
        }
    }
    if rest.1 >= 5.0 {
        cells.push(rest);
    } else if let Some(least) = cells.iter_mut().min_by(|a, b| a.1.total_cmp(&b.1)) {
        *least = (least.0 + rest.0, least.1 + rest.1);
    }
    let distance = cells.iter().map(|(o, e)| (o - e).abs()).sum::<f64>() / (2.0 * n);
    let statistic: f64 = cells.iter().map(|(o, e)| (o - e) * (o - e) / e).sum();
    let freedom = (cells.len() - 1) as f64;
    let p = if impossible > 0 { 0.0 } else { ChiSquared::new(freedom).unwrap().sf(statistic) };
    Outcome { p, freedom, distance }
}

/// Holm's step-down procedure: which of the hypotheses are rejected at the family's level.
pub fn holm(p: &[f64], level: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut rejected = vec![false; p.len()];
    for (rank, &i) in order.iter().enumerate() {
        if p[i] > level / (p.len() - rank) as f64 {
            break;
        }
        rejected[i] = true;
    }
    rejected
}

/// A total variation that a test of `n` draws at `level` misses in less than 1 of 100 runs, wherever it lies: a law at
/// distance d has χ² divergence of at least 4 d², so the statistic's non-centrality is at least 4 n d² (normal
/// approximation of the non-central law).
pub fn detectable(n: f64, freedom: f64, level: f64) -> f64 {
    let critical = ChiSquared::new(freedom).unwrap().inverse_cdf(1.0 - level);
    let mut shift = 0.0;
    while freedom + shift - 2.326 * (2.0 * (freedom + 2.0 * shift)).sqrt() < critical {
        shift += 0.1;
    }
    (shift / (4.0 * n)).sqrt()
}

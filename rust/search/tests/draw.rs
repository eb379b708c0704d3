//! Beam-sample: the first step against the exact law of drawing without replacement, filters, and addresses.

use draftwood_logits::RowResult;
use draftwood_sample::Params;
use draftwood_search::{BeamConfig, BeamSampling, BeamSearch, EarlyStopping, Rows};
use statrs::distribution::{ChiSquared, ContinuousCDF};
use std::collections::HashMap;

const WARM: Params = Params { temperature: 0.8, top_k: 0, top_p: 1.0, min_p: 0.0 };

fn config(params: Params, seed: u64, beams: u32) -> BeamConfig {
    BeamConfig {
        num_beams: beams,
        num_return: beams,
        max_new_tokens: 3,
        end_tokens: vec![2],
        early_stopping: EarlyStopping::Never,
        sampling: Some(BeamSampling { params, seed }),
        ..BeamConfig::default()
    }
}

fn step(search: &mut BeamSearch, rows: &[f32], vocab: usize) -> Vec<(u32, u32)> {
    let rows = Rows::log_probs(RowResult::full(rows, rows.len() / vocab, vocab).unwrap());
    search.step(&rows).unwrap().iter().map(|s| (s.row, s.token)).collect()
}

fn softmax(scores: &[f32]) -> Vec<f64> {
    let exp: Vec<f64> = scores.iter().map(|&x| f64::from(x).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.iter().map(|x| x / sum).collect()
}

/// The law of the set of k draws without replacement, by enumeration of their orders.
fn sets(p: &[f64], k: usize) -> HashMap<Vec<usize>, f64> {
    let mut states = vec![(Vec::new(), 1.0, 1.0)];
    for _ in 0..k {
        let mut next = Vec::new();
        for (chosen, mass, left) in &states {
            for i in (0..p.len()).filter(|i| !chosen.contains(i)) {
                let mut longer: Vec<usize> = chosen.clone();
                longer.push(i);
                next.push((longer, mass * p[i] / left, left - p[i]));
            }
        }
        states = next;
    }
    let mut law = HashMap::new();
    for (mut chosen, mass, _) in states {
        chosen.sort_unstable();
        *law.entry(chosen).or_insert(0.0) += mass;
    }
    law
}

fn chi2(counts: &HashMap<Vec<usize>, u64>, law: &HashMap<Vec<usize>, f64>, n: u64) -> f64 {
    assert!(counts.keys().all(|key| law.contains_key(key)));
    let (mut statistic, mut cells, mut rest) = (0.0, 0, (0.0, 0.0));
    for (key, &p) in law {
        let (expected, got) = (p * n as f64, counts.get(key).copied().unwrap_or(0) as f64);
        if expected < 5.0 {
            rest = (rest.0 + expected, rest.1 + got);
        } else {
            statistic += (got - expected) * (got - expected) / expected;
            cells += 1;
        }
    }
    if rest.0 >= 5.0 {
        statistic += (rest.1 - rest.0) * (rest.1 - rest.0) / rest.0;
        cells += 1;
    }
    1.0 - ChiSquared::new(f64::from(cells - 1)).unwrap().cdf(statistic)
}

/// What a step of two beams drew: the two that live, and the end, if drawn, leave 4 of 10 as a set. A total variation
/// of 0.01 would be noticed.
#[test]
fn draws_follow_the_law_without_replacement() {
    let first = [-1.2f32, -0.9, -2.5, -1.9, -1.6];
    let second = [-0.7f32, -2.2, -1.4, -3.0, -1.1, -1.5, -1.8, -2.9, -0.8, -2.0];
    let n = 40_000;
    let (mut counts, mut law) = (HashMap::<_, HashMap<Vec<usize>, u64>>::new(), HashMap::new());
    for seed in 0..n {
        // min_new_tokens masks the end, so that all four draws go on and the two best of them are seen.
        let config = BeamConfig { min_new_tokens: 3, ..config(WARM, seed, 2) };
        let mut search = BeamSearch::new(config, &[], vec![]).unwrap();
        let start = step(&mut search, &first, 5);
        if start != [(0, 1), (0, 0)] {
            continue;
        }
        let mut sums: Vec<f32> = Vec::new();
        for (beam, (_, token)) in start.iter().enumerate() {
            let before = first[*token as usize] / 0.8;
            sums.extend((0..5).map(|t| match t {
                2 => f32::NEG_INFINITY,
                _ => before + second[5 * beam + t] / 0.8,
            }));
        }
        let drawn = step(&mut search, &second, 5);
        let kept: Vec<usize> = drawn.iter().map(|&(row, token)| (5 * row + token) as usize).collect();
        *counts.entry(0).or_default().entry(kept).or_insert(0) += 1;
        law.entry(0).or_insert_with(|| {
            // The two best by score of each set of four.
            let mut seen = HashMap::new();
            for (mut set, mass) in sets(&softmax(&sums), 4) {
                set.sort_by(|&a, &b| sums[b].total_cmp(&sums[a]));
                *seen.entry(set[..2].to_vec()).or_insert(0.0) += mass;
            }
            seen.retain(|_, mass| *mass > 0.0);
            seen
        });
    }
    let total: u64 = counts[&0].values().sum();
    assert!(total > 5000, "{total}");
    let p = chi2(&counts[&0], &law[&0], total);
    assert!(p > 1e-4, "p = {p}");
}

#[test]
fn filters_leave_room_for_every_end() {
    let row = [-0.1f32, -5.0, -3.0, -4.0, -6.0];
    let narrow = Params { temperature: 1.0, top_k: 1, top_p: 0.1, min_p: 0.9 };
    for seed in 0..50 {
        let mut search = BeamSearch::new(config(narrow, seed, 3), &[], vec![]).unwrap();
        // One end token: two tokens stay, 0 and the end 2, which joins the pool.
        assert_eq!(step(&mut search, &row, 5), [(0, 0)]);
        assert_eq!(search.hypotheses()[0].tokens, [2]);
    }
}

#[test]
fn a_seed_names_the_draws_and_paths_draw_independently() {
    let rows: Vec<f32> = (0..64).map(|i| -0.01 * i as f32).collect();
    let run = |seed| {
        let mut search = BeamSearch::new(config(WARM, seed, 2), &[], vec![]).unwrap();
        let first = step(&mut search, &rows, 64);
        let twice = [&rows[..], &rows[..]].concat();
        (first, step(&mut search, &twice, 64))
    };
    assert_eq!(run(5), run(5));
    let different = (0..50).filter(|&seed| run(seed) != run(seed + 50)).count();
    assert!(different >= 49);
    // With shared noise both beams would bring the same tokens.
    let shared = (0..200).filter(|&seed| matches!(&run(seed).1[..], [a, b] if a.1 == b.1)).count();
    assert!(shared < 40, "{shared}");
}

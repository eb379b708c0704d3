//! A slow, obvious beam search: every continuation of every beam is made, sorted and looked at.
#![allow(dead_code, reason = "each test file uses its part")]

use draftwood_logits::RowResult;
use draftwood_search::{AnyProcessor, BeamConfig, BeamSearch, EarlyStopping, FinishReason, Hypothesis, Rows};

/// A text with the history of its scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    pub tokens: Vec<u32>,
    pub steps: Vec<f32>,
    pub rows: Vec<u32>,
    pub sum: f32,
}

/// Log-probabilities after a text; every step has the same V.
pub trait Model {
    fn row(&self, tokens: &[u32]) -> Vec<f32>;
}

/// Rows hashed from the text, rounded to `grid` so that equal scores occur; one in `masked` values is −inf.
#[derive(Debug, Clone)]
pub struct Hashed {
    pub vocab: usize,
    pub seed: u64,
    pub grid: f32,
    pub masked: u64,
}

fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Model for Hashed {
    fn row(&self, tokens: &[u32]) -> Vec<f32> {
        let text = tokens.iter().fold(mix(self.seed), |h, &t| mix(h ^ u64::from(t)));
        (0..self.vocab as u64)
            .map(|token| {
                let h = mix(text.wrapping_add(token.wrapping_mul(0xD1B5_4A32_D192_ED03)));
                match self.masked > 0 && h.is_multiple_of(self.masked) {
                    true => f32::NEG_INFINITY,
                    false => -((h >> 40) as f32 / 16_777_216.0 * 6.0 / self.grid).floor() * self.grid - 0.1,
                }
            })
            .collect()
    }
}

/// What may follow a text beside the model: `forbids(text with the new token)`.
pub type Forbids<'a> = &'a dyn Fn(&[u32]) -> bool;

/// The whole search. Hypotheses best first.
pub fn beams(config: &BeamConfig, model: &dyn Model, forbids: Forbids<'_>) -> Vec<(Text, f32, FinishReason)> {
    let (width, limit) = (config.num_beams as usize, config.max_new_tokens as usize);
    let score = |text: &Text| match text.tokens.len() {
        0 => text.sum,
        n => text.sum / (n as f64).powf(config.length_penalty) as f32,
    };
    let ends = |text: &Text| text.tokens.last().is_some_and(|last| config.end_tokens.contains(last));
    let start = Text { tokens: vec![], steps: vec![], rows: vec![], sum: 0.0 };
    let (mut live, mut pool) = (vec![start], Vec::<(Text, f32, FinishReason)>::new());
    for length in 1..=limit {
        let mut all = Vec::new();
        for (row, beam) in live.iter().enumerate() {
            for (token, &step) in model.row(&beam.tokens).iter().enumerate() {
                let token = token as u32;
                let mut text = beam.clone();
                text.tokens.push(token);
                text.steps.push(step);
                text.rows.push(row as u32);
                text.sum += step;
                let early = length <= config.min_new_tokens as usize && ends(&text);
                if step > f32::NEG_INFINITY
                    && !early
                    && !config.banned.contains(token)
                    && !forbids(&text.tokens)
                {
                    all.push(text);
                }
            }
        }
        // Stable, and made in the order of row · V + token.
        all.sort_by(|a, b| b.sum.partial_cmp(&a.sum).unwrap());
        let first = &all[..width.min(all.len())];
        for text in first.iter().filter(|text| ends(text) || length == limit) {
            let reason = if ends(text) { FinishReason::Stop } else { FinishReason::Length };
            pool.push((text.clone(), score(text), reason));
        }
        pool.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap());
        pool.truncate(width);
        let best_before = live.first().cloned();
        live = match length == limit {
            true => vec![],
            false => all.iter().filter(|text| !ends(text)).take(width).cloned().collect(),
        };
        let Some(best) = live.first() else {
            if let (true, Some(best)) = (pool.is_empty(), best_before) {
                pool.push((best.clone(), score(&best), FinishReason::Constraint));
            }
            break;
        };
        if pool.len() == width {
            let reach = match config.early_stopping {
                EarlyStopping::WhenFull => break,
                EarlyStopping::Never if config.length_penalty > 0.0 => limit,
                _ => length,
            };
            if best.sum / (reach as f64).powf(config.length_penalty) as f32 <= pool[width - 1].1 {
                break;
            }
        }
    }
    pool.truncate(config.num_return as usize);
    pool
}

/// Drives the search over the model, row by row from the survivors.
pub fn run(
    config: &BeamConfig,
    model: &dyn Model,
    prompt: &[u32],
    rules: Vec<AnyProcessor>,
) -> Vec<Hypothesis> {
    let mut search = BeamSearch::new(config.clone(), prompt, rules).unwrap();
    let mut texts: Vec<Vec<u32>> = vec![vec![]];
    while !search.is_done() {
        assert_eq!(search.live(), texts.len());
        let rows: Vec<Vec<f32>> = texts.iter().map(|text| model.row(text)).collect();
        let (vocab, flat) = (rows[0].len(), rows.concat());
        let rows = Rows::log_probs(RowResult::full(&flat, rows.len(), vocab).unwrap());
        let survivors = search.step(&rows).unwrap();
        texts = survivors.iter().map(|s| [&texts[s.row as usize][..], &[s.token]].concat()).collect();
    }
    search.hypotheses()
}

/// Everything that both sides tell.
pub fn assert_same(got: &[Hypothesis], want: &[(Text, f32, FinishReason)]) {
    let got: Vec<_> = got
        .iter()
        .map(|h| {
            let sum = h.step_scores.iter().fold(0.0, |sum, step| sum + step);
            let text = Text {
                tokens: h.tokens.clone(),
                steps: h.step_scores.clone(),
                rows: h.beam_indices.clone(),
                sum,
            };
            (text, h.score, h.finish)
        })
        .collect();
    assert_eq!(got, want);
}

//! What a group of beams pays for resembling the groups before it.

use crate::paths::Paths;
use draftwood_base::{Error, Result, Token};
use std::sync::Arc;

/// A penalty and its weight.
///
/// Source: Vijayakumar et al., "Diverse beam search" (2016), arXiv 1610.02424.
#[derive(Debug, Clone)]
pub struct Diversity {
    /// What is compared.
    pub kind: DiversityKind,
    /// λ: multiplies the penalty before it is subtracted from a token's log-probability.
    pub penalty: f32,
}

/// How two texts are compared. A step's earlier texts are the beams that the groups before have just chosen.
#[derive(Debug, Clone)]
pub enum DiversityKind {
    /// The number of earlier texts that took this token in this step.
    Hamming,
    /// exp(−m), m the mean share of positions at which earlier texts differ.
    Cumulative,
    /// The number of times that earlier texts hold the pair of the last token and this one; in the first step as Hamming.
    Ngram,
    /// The sum of the cosines between the token's embedding and those of the tokens that earlier texts took.
    Embedding(Embedding),
}

/// Rows of unit length (or zero), one per token.
#[derive(Debug, Clone)]
pub struct Embedding {
    rows: Arc<[f32]>,
    width: usize,
}

impl Embedding {
    /// Scales the rows [V, width] to unit length; rows of zeros stay.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for values that are not whole rows or not finite.
    pub fn new(mut values: Vec<f32>, width: usize) -> Result<Self> {
        if width == 0 || values.is_empty() || !values.len().is_multiple_of(width) {
            let got = format!("{} values in rows of {width}", values.len());
            return Err(Error::invalid("diversity_embedding", "one row per token", got, ""));
        }
        for (token, row) in values.chunks_exact_mut(width).enumerate() {
            let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            if !norm.is_finite() {
                return Err(Error::invalid("diversity_embedding", "finite", norm, format!("row {token}")));
            }
            row.iter_mut().for_each(|x| *x = if norm > 0.0 { (f64::from(*x) / norm) as f32 } else { 0.0 });
        }
        Ok(Self { rows: values.into(), width })
    }

    /// Number of tokens.
    pub fn vocab(&self) -> usize {
        self.rows.len() / self.width
    }

    fn row(&self, token: Token) -> &[f32] {
        self.rows.get(token as usize * self.width..).and_then(|rest| rest.get(..self.width)).unwrap_or(&[])
    }
}

impl Diversity {
    /// Subtracts the penalties from `row` [V], the log-probabilities after the text of node `text`. `chosen`: the nodes
    /// of this step's earlier texts, all one token longer than `text`.
    pub(crate) fn subtract(&self, row: &mut [f32], paths: &Paths, text: u32, chosen: &[u32]) {
        if chosen.is_empty() {
            return;
        }
        let last = |&node: &u32| paths.tokens_upwards(node).next();
        let mut pay = |token: Token, penalty: f64| {
            if let Some(x) = row.get_mut(token as usize) {
                *x += (-f64::from(self.penalty) * penalty) as f32;
            }
        };
        match &self.kind {
            DiversityKind::Hamming => counts(chosen.iter().filter_map(last).collect(), pay),
            DiversityKind::Ngram => {
                let mut after = Vec::new();
                let before = paths.tokens_upwards(text).next();
                for &node in chosen {
                    let mut tokens = paths.tokens_upwards(node).peekable();
                    while let Some(token) = tokens.next() {
                        if before.is_none() || tokens.peek() == before.as_ref() {
                            after.push(token);
                        }
                    }
                }
                counts(after, pay);
            }
            DiversityKind::Cumulative => {
                let (mut differing, mut length) = (0u32, 1u32);
                for &node in chosen {
                    let earlier = paths.tokens_upwards(node).skip(1);
                    let both = paths.tokens_upwards(text).zip(earlier);
                    differing += both.filter(|(a, b)| a != b).count() as u32;
                    length = paths.tokens_upwards(node).count() as u32;
                }
                let (texts, all) = (chosen.len() as f64, f64::from(differing) + chosen.len() as f64);
                let mean = |same: f64| (all - same) / (f64::from(length) * texts);
                let base = (-mean(0.0)).exp();
                counts(chosen.iter().filter_map(last).collect(), |token, same| {
                    pay(token, (-mean(same)).exp() - base);
                });
                let share = (-f64::from(self.penalty) * base) as f32;
                row.iter_mut().for_each(|x| *x += share);
            }
            DiversityKind::Embedding(embedding) => {
                let mut sum = vec![0.0f32; embedding.width];
                for token in chosen.iter().filter_map(last) {
                    for (sum, x) in sum.iter_mut().zip(embedding.row(token)) {
                        *sum += x;
                    }
                }
                for token in 0..embedding.vocab().min(row.len()) as Token {
                    let both = embedding.row(token).iter().zip(&sum);
                    let cosines: f32 = both.map(|(a, b)| a * b).sum();
                    row[token as usize] -= self.penalty * cosines;
                }
            }
        }
    }
}

/// Calls `pay(token, how often it stands in the list)`.
fn counts(mut tokens: Vec<Token>, mut pay: impl FnMut(Token, f64)) {
    tokens.sort_unstable();
    for same in tokens.chunk_by(|a, b| a == b) {
        pay(same[0], same.len() as f64);
    }
}

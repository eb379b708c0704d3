//! One row → one token.

use crate::Params;
use draftwood_base::Token;
use draftwood_base::noise::{Address, Purpose};
use draftwood_logits::{
    Weights, count_unmasked, gumbel_argmax, keep, scan, top_k_threshold, top_p_threshold,
};
use std::fmt;

/// The noise address of one draw; what it draws, [`Purpose::TokenDraw`], is implied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Draw {
    /// The request's seed.
    pub seed: u64,
    /// The sample's index within the request.
    pub sample: u32,
    /// Position of the token that is drawn, counted from the start of the context: that of its row plus one.
    pub position: u32,
    /// Earlier draws at the same position (0 except with backspace).
    pub slot: u32,
}

/// The outcome of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The token.
    pub token: Token,
    /// How many tokens the filters left to draw from; 1 when greedy.
    pub kept: u32,
}

/// Why a row has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFault {
    /// A logit is NaN or +inf.
    NotFinite {
        /// The first such token.
        token: Token,
    },
    /// Every token is masked.
    AllMasked,
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowFault::NotFinite { token } => {
                write!(
                    f,
                    "logits must be finite or -inf, got NaN or +inf at token {token}; check the model's weights and dtype"
                )
            }
            RowFault::AllMasked => {
                f.write_str("logits must leave one token above -inf, got none; check masks and processors")
            }
        }
    }
}

impl std::error::Error for RowFault {}

/// Scratch memory of [`Sampler::choose`], reused from row to row.
#[derive(Debug, Default)]
pub struct Sampler {
    top: Vec<(Token, f32)>,
    bin: Vec<(f32, u64)>,
    row: Vec<f32>,
}

impl Sampler {
    /// Draws the token of a row `[V]`, V ≤ 2^18. The same row, parameters and address give the same token on every
    /// machine. Greedy takes the largest logit, ties to the lowest id, and reads no noise.
    ///
    /// `params` must have passed [`Params::validate`]. Cost: greedy one pass; else one pass of noise, and one or two
    /// more per filter.
    ///
    /// Source: Gumbel-max after Maddison, Tarlow, Minka (2014), arXiv 1411.0030; filters in the order of Hugging Face's
    /// warpers, but tokens tied with a threshold all stay.
    ///
    /// # Errors
    /// [`RowFault`] when the row holds NaN or +inf, or nothing above −inf.
    pub fn choose(&mut self, row: &[f32], params: &Params, draw: &Draw) -> Result<Choice, RowFault> {
        let top = scan(row);
        if let Some(token) = top.fault {
            return Err(RowFault::NotFinite { token });
        }
        if top.all_masked() {
            return Err(RowFault::AllMasked);
        }
        if params.is_greedy() {
            return Ok(Choice { token: top.token, kept: 1 });
        }
        let inv_t = 1.0 / params.temperature;
        let address = Address {
            seed: draw.seed,
            purpose: Purpose::TokenDraw,
            slot: draw.slot,
            sample: draw.sample,
            position: draw.position,
        };
        let weights = Weights::new(top.value, inv_t);
        let mut low = f32::MIN;
        if let Some(kth) = top_k_threshold(row, params.top_k, &mut self.top) {
            low = kth;
        }
        if params.top_p < 1.0 {
            low = top_p_threshold(row, low, &weights, params.top_p, &mut self.bin).max(low);
        }
        if low == f32::MIN && params.min_p == 0.0 {
            let token = gumbel_argmax(row, inv_t, &address, top.token);
            return Ok(Choice { token, kept: count_unmasked(row) });
        }
        let kept = keep(row, low, &weights, params.min_p, &mut self.row);
        let token = gumbel_argmax(&self.row, inv_t, &address, top.token);
        Ok(Choice { token, kept })
    }
}

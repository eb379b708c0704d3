//! Beam-sample: candidates are drawn without replacement from the warped, accumulated log-probabilities.

use crate::candidates::{Candidate, keep_best};
use crate::config::BeamSampling;
use draftwood_base::Token;
use draftwood_base::noise::{Address, Purpose, gumbel, philox4x32_10};
use draftwood_logits::{Weights, scan, top_k, top_k_threshold, top_p_threshold};

/// Scratch memory of a draw.
#[derive(Debug, Default)]
pub(crate) struct Warper {
    top: Vec<(Token, f32)>,
    bin: Vec<(f32, u64)>,
}

/// Where a beam's noise lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub row: u32,
    pub sum: f32,
    /// Names the path, so that two beams at one position draw independently.
    pub key: u32,
    pub position: u32,
}

/// The key of the path that goes on with `token`. No purpose is 0, so no key shares its word with noise.
pub(crate) fn child_key(seed: u64, parent: u32, token: Token) -> u32 {
    philox4x32_10([token, parent, 0, 0], [seed as u32, (seed >> 32) as u32])[0]
}

impl Warper {
    /// The lowest value that the filters leave, of a row of log-probabilities with something above −inf. At least
    /// `least` tokens stay, so that a beam has somewhere to go besides its ends.
    fn floor(&mut self, row: &[f32], max: f32, sampling: &BeamSampling, least: usize) -> f32 {
        let params = &sampling.params;
        let weights = Weights::new(max, 1.0 / params.temperature);
        let mut low = f32::MIN;
        if params.top_k > 0
            && let Some(kth) = top_k_threshold(row, params.top_k.max(least as u32), &mut self.top)
        {
            low = kth;
        }
        if params.top_p < 1.0 {
            low = top_p_threshold(row, low, &weights, params.top_p, &mut self.bin).max(low);
        }
        if params.min_p > 0.0 {
            low = low.max(max + params.temperature * params.min_p.ln());
        }
        top_k(row, least, &mut self.top);
        let last_kept = self.top.last().map_or(f32::MIN, |&(_, value)| value);
        // A masked last one says that there are not more tokens than must stay.
        low.min(last_kept.max(f32::MIN))
    }

    /// Appends up to `need` draws of one row, rank = accumulated score + noise; the best `need` of all rows of a step
    /// are draws without replacement from the softmax over all of them.
    ///
    /// Source: Gumbel-top-k, Vieira (2014); Kool, van Hoof, Welling (2019), arXiv 1903.06059.
    pub fn draw(
        &mut self,
        row: &[f32],
        sampling: &BeamSampling,
        place: Place,
        (need, least): (usize, usize),
        ends: impl Fn(Token) -> bool,
        out: &mut Vec<Candidate>,
    ) {
        let max = scan(row).value;
        if max == f32::NEG_INFINITY {
            return;
        }
        let low = self.floor(row, max, sampling, least);
        let address = Address {
            seed: sampling.seed,
            purpose: Purpose::TokenDraw,
            slot: 0,
            sample: place.key,
            position: place.position,
        };
        let (from, mut quad, mut words) = (out.len(), u32::MAX, [0; 4]);
        for (token, &value) in row.iter().enumerate() {
            // `low` may be the smallest finite float, so that a masked token fails too.
            if value >= low {
                let token = token as Token;
                if token / 4 != quad {
                    quad = token / 4;
                    words = address.words(quad);
                }
                let step = value / sampling.params.temperature;
                let mut new = Candidate::plain(place.row, token, step, place.sum, ends(token));
                new.rank = new.score + gumbel(words[token as usize % 4]);
                out.push(new);
                if out.len() - from >= 2 * need + 64 {
                    keep_best(out, from, need);
                }
            }
        }
        keep_best(out, from, need);
    }
}

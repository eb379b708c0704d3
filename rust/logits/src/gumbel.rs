//! Gumbel-max: the argmax of logit / temperature + Gumbel noise is a draw from the softmax.
//!
//! The noise belongs to (address, token id), so the draw is a function of the row and the address alone. Nearly all
//! tokens are dismissed without computing their noise, by bounds that rounding cannot break: `mul_add` is monotone in
//! its addend, so with a bound `b ≥ g` on the noise, `x · inv_t + b` as computed is never below the score as computed.

use crate::isa::{Enabled, multiversion};
use crate::weight::read;
use draftwood_base::Token;
use draftwood_base::noise::{Address, PHILOX_WEYL, gumbel, philox_round, uniform};

/// No Gumbel value is above this.
pub const GUMBEL_MAX: f32 = 22.9;

/// The unmasked token with the largest x / temperature + noise, the lowest id of equals; `start` must be unmasked (the
/// argmax is the best choice) and `inv_t` finite. Equal to [`gumbel_argmax_ref`]. Cost: ≈ 1 ns per token with AVX-512.
pub fn gumbel_argmax(row: &[f32], inv_t: f32, address: &Address, start: Token) -> Token {
    argmax_on(Enabled::get(), row, inv_t, address, start)
}

/// The same without shortcuts.
pub fn gumbel_argmax_ref(row: &[f32], inv_t: f32, address: &Address) -> Token {
    let mut best = None;
    for (i, &x) in row.iter().enumerate().filter(|(_, x)| **x > f32::NEG_INFINITY) {
        let score = score(x, inv_t, address.word(i as u32));
        if best.is_none_or(|(_, top)| score > top) {
            best = Some((i as Token, score));
        }
    }
    best.map_or(0, |(token, _)| token)
}

#[inline(always)]
fn score(x: f32, inv_t: f32, word: u32) -> f32 {
    read(read(x).mul_add(inv_t, gumbel(word)))
}

/// At least `gumbel(word)`: since −ln(1 − w) ≥ w, the noise is at most −ln w, and reading a float's bits as a number
/// gives a log2 that is too small by up to 0.09. The margin covers the rounding of both (tested over all words).
#[inline(always)]
pub(crate) fn gumbel_bound(word: u32) -> f32 {
    const LN_2: f32 = std::f32::consts::LN_2;
    let bits = uniform(word).to_bits() as i32 as f32;
    bits.mul_add(-LN_2 / 8_388_608.0, 127.0 * LN_2 + 4e-5)
}

multiversion! {
    fn argmax_on(row: &[f32], inv_t: f32, address: &Address, start: Token) -> Token = argmax_body;
}

const QUADS: usize = 16;
const BLOCK: usize = 4 * QUADS;

#[inline(always)]
fn argmax_body(row: &[f32], inv_t: f32, address: &Address, start: Token) -> Token {
    let at_start = row.get(start as usize).copied().unwrap_or(f32::NEG_INFINITY);
    let mut best = (start, score(at_start, inv_t, address.word(start)));
    let (blocks, tail) = row.as_chunks::<BLOCK>();
    for (b, block) in blocks.iter().enumerate() {
        best = block_body(block, (b * BLOCK) as u32, inv_t, address, best);
    }
    let mut last = [f32::NEG_INFINITY; BLOCK];
    last[..tail.len()].copy_from_slice(tail);
    block_body(&last, (blocks.len() * BLOCK) as u32, inv_t, address, best).0
}

#[inline(always)]
fn block_body(
    block: &[f32; BLOCK],
    first: u32,
    inv_t: f32,
    address: &Address,
    best: (Token, f32),
) -> (Token, f32) {
    let reach = |x: f32, noise: f32| read(x).mul_add(inv_t, noise);
    // `>=`, because an equal score with a lower id wins.
    if !block.iter().fold(false, |any, &x| any | (reach(x, GUMBEL_MAX) >= best.1)) {
        return best;
    }
    let words = block_words(address, first / 4);
    let mut alive = [false; BLOCK];
    let mut any = false;
    for i in 0..BLOCK {
        alive[i] = reach(block[i], gumbel_bound(words[i])) >= best.1;
        any |= alive[i];
    }
    if !any {
        return best;
    }
    let mut best = best;
    for i in (0..BLOCK).filter(|&i| alive[i] && block[i] > f32::NEG_INFINITY) {
        let (token, score) = (first + i as u32, score(block[i], inv_t, words[i]));
        if score > best.1 || (score == best.1 && token < best.0) {
            best = (token, score);
        }
    }
    best
}

/// The words of indices `4 · quad …`, one lane per quad.
#[inline(always)]
pub(crate) fn block_words(address: &Address, quad: u32) -> [u32; BLOCK] {
    let mut lanes = [[0u32; QUADS]; 4];
    for lane in 0..QUADS {
        let counter = address.counter(quad + lane as u32);
        for word in 0..4 {
            lanes[word][lane] = counter[word];
        }
    }
    let [mut k0, mut k1] = address.key();
    for _ in 0..10 {
        for lane in 0..QUADS {
            let [a, b, c, d] =
                philox_round([lanes[0][lane], lanes[1][lane], lanes[2][lane], lanes[3][lane]], [k0, k1]);
            lanes[0][lane] = a;
            lanes[1][lane] = b;
            lanes[2][lane] = c;
            lanes[3][lane] = d;
        }
        k0 = k0.wrapping_add(PHILOX_WEYL[0]);
        k1 = k1.wrapping_add(PHILOX_WEYL[1]);
    }
    let mut words = [0u32; BLOCK];
    for lane in 0..QUADS {
        for word in 0..4 {
            words[4 * lane + word] = lanes[word][lane];
        }
    }
    words
}

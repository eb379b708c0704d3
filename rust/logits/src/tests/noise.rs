use super::*;
use crate::gumbel::{argmax_on, block_words, gumbel_bound};
use crate::isa::multiversion;
use crate::{GUMBEL_MAX, gumbel_argmax_ref, scan};
use draftwood_base::noise::gumbel;

proptest! {
    #[test]
    fn shortcuts_change_no_draw(row in rows(), seed: u64, position: u32, t in 0usize..8) {
        let inv_t = 1.0 / [1e-6f32, 0.01, 0.3, 0.7, 1.0, 1.7, 30.0, 1e6][t];
        let address = Address { seed, purpose: Purpose::TokenDraw, slot: 1, sample: 2, position };
        let top = scan(&row);
        if top.all_masked() {
            return Ok(());
        }
        let want = gumbel_argmax_ref(&row, inv_t, &address);
        each_isa(|isa| {
            prop_assert_eq!(argmax_on(isa, &row, inv_t, &address, top.token), want);
            Ok(())
        })?;
    }

    #[test]
    fn a_block_holds_the_words_of_its_indices(seed: u64, quad in 0u32..1 << 16) {
        let words = block_words(&noise(seed), quad);
        for (i, word) in words.into_iter().enumerate() {
            prop_assert_eq!(word, noise(seed).word(4 * quad + i as u32));
        }
    }
}

multiversion! {
    /// The largest (noise − bound) and (bound − noise) over words `first, first + step, …`.
    fn bound_gaps(first: u32, step: u32, count: u32) -> (f32, f32) = bound_gaps_body;
}

#[inline(always)]
fn bound_gaps_body(first: u32, step: u32, count: u32) -> (f32, f32) {
    let (mut over, mut slack) = ([f32::NEG_INFINITY; 16], [f32::NEG_INFINITY; 16]);
    for i in (0..count).step_by(16) {
        for lane in 0..16u32 {
            let word = first + (i + lane) * step;
            let gap = gumbel(word) - gumbel_bound(word);
            let l = lane as usize;
            over[l] = if gap > over[l] { gap } else { over[l] };
            slack[l] = if -gap > slack[l] { -gap } else { slack[l] };
        }
    }
    let most = |lanes: [f32; 16]| lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
    (most(over), most(slack))
}

/// Over every distinct uniform value: all words below 2^24, then as many per power of two as an f32 can tell apart.
#[test]
fn no_noise_is_above_its_bound() {
    let isa = Enabled::get();
    let (over, slack) = bound_gaps(isa, 0, 1, 1 << 24);
    assert!(over <= 0.0 && slack < 0.1, "{over} {slack}");
    for power in 24..32 {
        let (over, _) = bound_gaps(isa, 1 << power, 1 << (power - 23), 1 << 23);
        assert!(over <= 0.0, "from 2^{power}: {over}");
    }
    assert!(gumbel_bound(u32::MAX) > gumbel(u32::MAX));
    // The largest value belongs to word 0: −ln falls, and the first loop above has shown that the bound, which falls
    // strictly, holds.
    assert!(gumbel_bound(0) < GUMBEL_MAX && gumbel(0) < GUMBEL_MAX);
}

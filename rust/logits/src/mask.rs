//! Masked tokens are −inf.

use crate::isa::{Enabled, multiversion};
use draftwood_base::Token;

/// Masks `tokens` in a scratch row; ids beyond the row are ignored, since a tokenizer may know more ids than the head.
pub fn mask(row: &mut [f32], tokens: &[Token]) {
    for &token in tokens {
        if let Some(x) = row.get_mut(token as usize) {
            *x = f32::NEG_INFINITY;
        }
    }
}

/// Number of tokens above −inf.
pub fn count_unmasked(row: &[f32]) -> u32 {
    count_on(Enabled::get(), row)
}

multiversion! {
    fn count_on(row: &[f32]) -> u32 = count_body;
}

#[inline(always)]
fn count_body(row: &[f32]) -> u32 {
    row.iter().map(|&x| u32::from(x > f32::NEG_INFINITY)).sum()
}

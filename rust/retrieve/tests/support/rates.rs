//! The hit rates that drafts from the text itself learn, the slow way.

use draftwood_base::Token;
use std::collections::HashMap;

const HIT: [f32; 9] = [0.0, 0.25, 0.45, 0.6, 0.68, 0.74, 0.78, 0.82, 0.88];

/// (streak, class of lengths) → hits and trials.
#[derive(Default)]
pub struct Rates {
    seen: HashMap<(usize, usize), (f32, f32)>,
    streak: usize,
}

fn class(length: usize) -> usize {
    match length {
        0..=8 => length,
        9..=16 => 9,
        17..=32 => 10,
        _ => 11,
    }
}

impl Rates {
    /// `token` follows contexts, given by their lengths and followers, the longest one first.
    pub fn learn(&mut self, contexts: &[(usize, Vec<Token>)], token: Token) {
        let mut known: Vec<Token> = Vec::new();
        for (length, followers) in contexts {
            if followers.iter().all(|follower| known.contains(follower)) {
                continue;
            }
            let tally = self.seen.entry((self.streak.min(2), class(*length))).or_default();
            tally.1 += 1.0;
            if followers.contains(&token) {
                tally.0 += 1.0;
                self.streak += 1;
                return;
            }
            known.extend(followers);
        }
        self.streak = 0;
    }

    pub fn hit(&self, length: usize, depth: usize) -> f32 {
        let key = ((self.streak + depth).min(2), class(length));
        let (hits, trials) = self.seen.get(&key).copied().unwrap_or_default();
        (hits + 8.0 * HIT[length.min(8)]) / (trials + 8.0)
    }
}

//! What may follow a node whose row is not known: what followed its last tokens before, and what the model said when
//! the last one or two tokens were the same.

use draftwood_base::Token;
use rustc_hash::FxHashMap;

/// Lengths of contexts, the longest first, with the part of the probability that their followers share where nothing was
/// learned yet. Measured on recorded texts.
const ORDERS: [(usize, f32); 6] = [(8, 0.95), (6, 0.9), (4, 0.8), (3, 0.7), (2, 0.5), (1, 0.3)];
/// Tokens of the longest context.
pub(crate) const LONGEST: usize = ORDERS[0].0;
/// Such shares count as so many observations.
const PRIOR: f32 = 8.0;
/// Followers that a context remembers, the freshest ones.
const FOLLOWERS: usize = 4;
/// Rows of the model that are remembered by their last tokens.
const MOST_SEEN: usize = 1 << 14;

#[derive(Debug, Clone, Copy, Default)]
struct Followers {
    /// (token, count), the freshest first.
    list: [(Token, u32); FOLLOWERS],
    len: u8,
}

impl Followers {
    fn iter(&self) -> impl Iterator<Item = (Token, u32)> {
        self.list.into_iter().take(self.len as usize)
    }

    fn add(&mut self, token: Token) {
        let known = self.iter().position(|(other, _)| other == token);
        let count = known.map_or(0, |at| self.list[at].1);
        let last = known.unwrap_or_else(|| (self.len as usize).min(FOLLOWERS - 1));
        self.list[..=last].rotate_right(1);
        self.list[0] = (token, count + 1);
        self.len = self.len.max(last as u8 + 1);
    }
}

/// Counted followers with escape, as PPM has them, and rows of the model for what is left.
#[derive(Debug, Default)]
pub(crate) struct Predictor {
    followers: FxHashMap<u64, Followers>,
    /// (hits, misses) per order.
    rates: [(u32, u32); ORDERS.len()],
    seen: FxHashMap<u64, Vec<(Token, f32)>>,
}

fn key(recent: &[Token]) -> u64 {
    recent.iter().fold(recent.len() as u64, |hash, &token| {
        (hash ^ u64::from(token).wrapping_add(1)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    })
}

impl Predictor {
    /// `token` follows a text with these last tokens, the last one first.
    pub fn learn(&mut self, recent: &[Token], token: Token) {
        let mut is_judged = false;
        for (&(order, _), (hits, misses)) in ORDERS.iter().zip(&mut self.rates) {
            if recent.len() < order {
                continue;
            }
            let followers = self.followers.entry(key(&recent[..order])).or_default();
            if followers.len > 0 && !is_judged {
                let hit = followers.iter().any(|(known, _)| known == token);
                if hit {
                    *hits += 1
                } else {
                    *misses += 1
                }
                is_judged = hit;
            }
            followers.add(token);
        }
    }

    /// The model has said `top` (token, log-probability) after a text with these last tokens.
    pub fn see(&mut self, recent: &[Token], top: &[(Token, f32)]) {
        if self.seen.len() >= MOST_SEEN {
            self.seen.clear();
        }
        for order in [2, 1] {
            if recent.len() >= order {
                let known = self.seen.entry(key(&recent[..order])).or_default();
                known.clear();
                known.extend_from_slice(top);
            }
        }
    }

    /// Writes tokens with the logarithm of their probability after a text with these last tokens.
    pub fn predict(&self, recent: &[Token], out: &mut Vec<(Token, f32)>) {
        out.clear();
        let mut left = 1.0f32;
        for (&(order, hit), &(hits, misses)) in ORDERS.iter().zip(&self.rates) {
            let known = recent.get(..order).and_then(|recent| self.followers.get(&key(recent)));
            let Some(followers) = known else { continue };
            let start = out.len();
            let new = |token: Token| !out[..start].iter().any(|&(known, _)| known == token);
            let found: Vec<(Token, u32)> = followers.iter().filter(|&(token, _)| new(token)).collect();
            let total: u32 = found.iter().map(|&(_, count)| count).sum();
            if total > 0 {
                let hit = (hits as f32 + PRIOR * hit) / ((hits + misses) as f32 + PRIOR);
                out.extend(
                    found.iter().map(|&(token, count)| (token, left * hit * count as f32 / total as f32)),
                );
                left *= 1.0 - hit;
            }
        }
        let seen = [2, 1].iter().find_map(|&order| self.seen.get(&key(recent.get(..order)?)));
        for &(token, log_prob) in seen.into_iter().flatten() {
            match out.iter_mut().find(|(known, _)| *known == token) {
                Some((_, prob)) => *prob += left * log_prob.exp(),
                None => out.push((token, left * log_prob.exp())),
            }
        }
        out.iter_mut().for_each(|(_, prob)| *prob = prob.ln());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_is_expected_again() {
        let mut predictor = Predictor::default();
        let text: Vec<Token> = [5, 6, 7, 8, 9].repeat(3);
        for at in 1..text.len() {
            let recent: Vec<Token> = text[..at].iter().rev().copied().take(LONGEST).collect();
            predictor.learn(&recent, text[at]);
        }
        let mut out = Vec::new();
        predictor.predict(&[7, 6, 5, 9], &mut out);
        assert_eq!(out[0].0, 8);
        assert!(out[0].1 > 0.8f32.ln(), "{out:?}");
        predictor.predict(&[1, 2, 3], &mut out);
        assert!(out.is_empty());
        predictor.see(&[3, 2], &[(4, 0.5f32.ln()), (1, 0.25f32.ln())]);
        predictor.predict(&[3, 9], &mut out);
        assert_eq!(out.iter().map(|one| one.0).collect::<Vec<_>>(), [4, 1], "the last token alone");
        predictor.predict(&[9, 8, 3], &mut out);
        let total: f32 = out.iter().map(|one| one.1.exp()).sum();
        assert!((0.0..=1.0001).contains(&total));
    }

    #[test]
    fn the_freshest_followers_stay() {
        let mut followers = Followers::default();
        for token in [1, 2, 3, 1, 4, 5] {
            followers.add(token);
        }
        assert_eq!(followers.iter().collect::<Vec<_>>(), [(5, 1), (4, 1), (1, 2), (3, 1)]);
    }
}

//! Reading documents for keys: where they stand, and what they add to a document's score.

use crate::seal::{Key, SealConfig};
use draftwood_base::Token;
use rustc_hash::FxHashMap;

/// A document's score on the way.
#[derive(Default)]
pub(crate) struct Scored {
    sum: f64,
    best: f64,
    /// Positions that keys cover, a bit each.
    covered: Vec<u64>,
    /// Tokens of the keys that count.
    used: Vec<Token>,
    pub(crate) keys: Vec<(u32, f64)>,
}

impl Scored {
    fn clear(&mut self) {
        (self.sum, self.best) = (0.0, 0.0);
        self.covered.clear();
        self.used.clear();
        self.keys.clear();
    }

    /// An occurrence of a key, in the order of falling weights. A repeated one adds nothing; with `fill` it still
    /// covers its positions.
    pub(crate) fn add(&mut self, key: u32, ids: &[Token], offset: u32, weight: f64, beta: f64, fill: bool) {
        self.best = self.best.max(weight);
        let repeated = self.keys.last().is_some_and(|last| last.0 == key);
        if (repeated && !fill) || !self.is_free(offset, ids.len() as u32) {
            return;
        }
        self.cover(offset, ids.len() as u32);
        if !repeated {
            let added = weight * self.news(ids, beta);
            self.sum += added;
            self.keys.push((key, added));
            for &id in ids {
                if !self.used.contains(&id) {
                    self.used.push(id);
                }
            }
        }
    }

    /// Takes all covered positions back.
    pub(crate) fn uncover(&mut self) {
        self.covered.clear();
    }

    fn is_free(&self, offset: u32, length: u32) -> bool {
        let is_covered =
            |at: u32| self.covered.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
        !(offset..offset + length).any(is_covered)
    }

    fn cover(&mut self, offset: u32, length: u32) {
        let words = (offset + length).div_ceil(64) as usize;
        if self.covered.len() < words {
            self.covered.resize(words, 0);
        }
        (offset..offset + length).for_each(|at| self.covered[at as usize / 64] |= 1 << (at % 64));
    }

    /// 1 − beta + beta · the part of a key's distinct tokens that no heavier key has used.
    fn news(&self, ids: &[Token], beta: f64) -> f64 {
        let (mut distinct, mut new) = (0u32, 0u32);
        for (i, id) in ids.iter().enumerate() {
            if !ids[..i].contains(id) {
                distinct += 1;
                new += u32::from(!self.used.contains(id));
            }
        }
        1.0 - beta + beta * f64::from(new) / f64::from(distinct)
    }

    pub(crate) fn total(&self, config: SealConfig) -> f64 {
        (1.0 - config.single_key) * self.sum + config.single_key * self.best
    }
}

/// Finds keys in texts and scores them, one text after the other, with the same buffers.
pub(crate) struct KeyReader<'a> {
    keys: &'a [Key],
    weights: &'a [f64],
    /// The keys by falling weight: occurrences are told by their rank in it.
    order: &'a [u32],
    trie: Trie,
    config: SealConfig,
    /// Rank of the key, then its offset.
    places: Vec<u64>,
    left: Vec<(f64, Token)>,
    scored: Scored,
}

impl<'a> KeyReader<'a> {
    /// For the keys of `order`.
    pub(crate) fn new(keys: &'a [Key], weights: &'a [f64], order: &'a [u32], config: SealConfig) -> Self {
        let (trie, places, left) = (Trie::new(keys, order), Vec::new(), Vec::new());
        Self { keys, weights, order, trie, config, places, left, scored: Scored::default() }
    }

    /// The score by which documents are chosen: no overlaps unless they are allowed, each key once.
    pub(crate) fn first_score(&mut self, text: &[Token]) -> &Scored {
        self.find(text);
        self.scored.clear();
        for &place in &self.places {
            let (key, offset) = (self.order[(place >> 32) as usize], place as u32);
            let ids = &self.keys[key as usize].ids;
            if self.config.allow_overlaps {
                self.scored.uncover();
            }
            let at = if self.config.compat { offset + ids.len() as u32 } else { offset };
            self.scored.add(key, ids, at, self.weights[key as usize], self.config.beta, false);
        }
        &self.scored
    }

    /// The full score: all keys, then the unigrams (weight by token, 0 for none) where no key covers the text.
    pub(crate) fn full_score(&mut self, text: &[Token], unigrams: &[f64]) -> &Scored {
        self.find(text);
        self.scored.clear();
        for &place in &self.places {
            let (key, offset) = (self.order[(place >> 32) as usize], place as u32);
            let ids = &self.keys[key as usize].ids;
            self.scored.add(key, ids, offset, self.weights[key as usize], self.config.beta, true);
        }
        self.left.clear();
        for (at, &token) in text.iter().enumerate() {
            let weight = unigrams.get(token as usize).copied().unwrap_or(0.0);
            if weight > 0.0 && self.scored.is_free(at as u32, 1) {
                self.left.push((weight, token));
            }
        }
        self.left.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.left.dedup_by_key(|entry| entry.1);
        for &(weight, token) in &self.left {
            self.scored.sum += weight * self.scored.news(&[token], self.config.beta);
        }
        &self.scored
    }

    fn find(&mut self, text: &[Token]) {
        self.places.clear();
        for offset in 0..text.len() {
            self.trie.find(&text[offset..], |rank| {
                if offset == 0 || !self.keys[self.order[rank as usize] as usize].anchored {
                    self.places.push(u64::from(rank) << 32 | offset as u64);
                }
            });
        }
        self.places.sort_unstable();
    }
}

/// The keys as a trie, to find all that start at a position.
struct Trie {
    /// Whether a key begins with the token, a bit each: most positions end here.
    begins: Vec<u64>,
    children: FxHashMap<(u32, Token), u32>,
    /// Keys that end at a node.
    ends: Vec<Vec<u32>>,
}

impl Trie {
    fn new(keys: &[Key], order: &[u32]) -> Self {
        let mut trie = Self { begins: Vec::new(), children: FxHashMap::default(), ends: vec![Vec::new()] };
        for (rank, &key) in (0u32..).zip(order) {
            let (mut node, ids) = (0, &keys[key as usize].ids);
            if let Some(&first) = ids.first() {
                let word = first as usize / 64;
                trie.begins.resize(trie.begins.len().max(word + 1), 0);
                trie.begins[word] |= 1 << (first % 64);
            }
            for &id in ids {
                let next = trie.ends.len() as u32;
                node = *trie.children.entry((node, id)).or_insert(next);
                if node == next {
                    trie.ends.push(Vec::new());
                }
            }
            trie.ends[node as usize].push(rank);
        }
        trie
    }

    #[inline]
    fn find(&self, text: &[Token], mut found: impl FnMut(u32)) {
        let begins =
            |id: Token| self.begins.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 == 1);
        if !text.first().is_some_and(|&first| begins(first)) {
            return;
        }
        let mut node = 0;
        for &id in text {
            match self.children.get(&(node, id)) {
                Some(&next) => node = next,
                None => return,
            }
            self.ends[node as usize].iter().for_each(|&rank| found(rank));
        }
    }
}

//! Documents ranked by the n-grams that a model generated for a query (SEAL, arXiv 2204.10628).

use crate::index::Group;
use draftwood_base::{Error, Result, Token};
use rustc_hash::{FxHashMap, FxHashSet};

/// An n-gram of the corpus and what the model thinks of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its tokens.
    pub ids: Vec<Token>,
    /// Whether it counts at the start of documents only, as titles do.
    pub anchored: bool,
    /// Log-probability given the query, at most 0.
    pub log_prob: f64,
}

/// Settings of [`rank`], named and defaulted as in the paper's code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SealConfig {
    /// Weigh a key by how much likelier the query makes it than the corpus does (LM+FM), not by probability alone.
    pub use_fm_index_frequency: bool,
    /// Exponent of the weights.
    pub score_exponent: f64,
    /// How much of a key's weight depends on its tokens being new to the document's score, 0 … 1.
    pub beta: f64,
    /// Log-probabilities are multiplied by `(1 − penalty)^(tokens − 1)`.
    pub length_penalty: f64,
    /// Part of the document's score that its best key alone gives, 0 … 1.
    pub single_key: f64,
    /// Occurrences added to every count.
    pub smoothing: f64,
    /// Keys that occur more often find no documents; they count in documents that others have found.
    pub max_hits: u64,
    /// Keys that occur more often count nowhere.
    pub skip_frequent_keys: Option<u64>,
    /// Whether keys that find documents may overlap there; full scores never overlap.
    pub allow_overlaps: bool,
    /// Documents that are scored in full.
    pub fully_score: usize,
    /// Best unigrams that count where no key covers a document.
    pub use_top_k_unigrams: usize,
    /// Documents returned.
    pub hits: usize,
    /// As the paper's code has it: in the search for documents, an n-gram takes not its own places but as many behind
    /// them, so that overlaps are partly missed; and `skip_frequent_keys` has no effect.
    pub compat: bool,
}

impl Default for SealConfig {
    fn default() -> Self {
        Self {
            use_fm_index_frequency: true,
            score_exponent: 2.0,
            beta: 0.8,
            length_penalty: 0.0,
            single_key: 0.0,
            smoothing: 5.0,
            max_hits: 1500,
            skip_frequent_keys: None,
            allow_overlaps: false,
            fully_score: 1500,
            use_top_k_unigrams: 5000,
            hits: 100,
            compat: false,
        }
    }
}

/// A document and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its number.
    pub document: u64,
    /// Its score.
    pub score: f64,
    /// The keys that it was scored by and what each added, the heaviest key first.
    pub keys: Vec<(u32, f64)>,
}

/// The weight of every key: log-odds of the query's against the corpus' probability, or the paper's LM score.
///
/// # Errors
/// [`Error::InvalidArgument`] for a log-probability above 0 or NaN, or an empty key; as [`Group::count`].
pub fn key_weights(index: &Group, keys: &[Key], config: SealConfig) -> Result<Vec<f64>> {
    for (i, key) in keys.iter().enumerate() {
        if key.log_prob.is_nan() || key.log_prob > 0.0 {
            let what = format!("the log-probability of key {i}");
            return Err(Error::invalid(what, "at most 0", key.log_prob, ""));
        }
        if key.ids.is_empty() {
            return Err(Error::invalid(format!("the tokens of key {i}"), "at least 1", 0, ""));
        }
    }
    let penalty = |key: &Key| (1.0 - config.length_penalty).powi(key.ids.len() as i32 - 1);
    if !config.use_fm_index_frequency {
        let least = keys.iter().map(|key| key.log_prob).fold(f64::INFINITY, f64::min);
        let weight = |key: &Key| (key.log_prob - least + 0.1).max(0.0) * penalty(key);
        return Ok(keys.iter().map(|key| weight(key).powf(config.score_exponent)).collect());
    }
    let tokens = index.tokens() as f64;
    keys.iter()
        .map(|key| {
            let count = index.count(&key.ids, key.anchored)? as f64;
            let odds = log_odds(key.log_prob * penalty(key), count, tokens, config.smoothing);
            Ok(odds.powf(config.score_exponent))
        })
        .collect()
}

/// max(0, log[p (1 − P) / (P (1 − p))]) with P = (count + smoothing) / (tokens + smoothing).
fn log_odds(log_prob: f64, count: f64, tokens: f64, smoothing: f64) -> f64 {
    let log_prob = log_prob - 1e-10;
    let prior = ((count + smoothing) / (tokens + smoothing)).ln();
    let complement = |log: f64| (-log.exp()).ln_1p();
    let odds = log_prob + complement(prior) - prior - complement(log_prob);
    // A corpus of one token has no odds.
    if odds.is_nan() { 0.0 } else { odds.max(0.0) }
}

/// The best unigrams, as many as there are keys, with their weights: the paper's code appends them to the keys.
///
/// # Errors
/// As [`rank`].
pub fn best_unigrams(
    index: &Group,
    keys: &[Key],
    unigrams: &[f32],
    config: SealConfig,
) -> Result<Vec<(Key, f64)>> {
    let weights = unigram_weights(index, keys, unigrams, config)?;
    let mut all: Vec<(f64, Token)> = weights.into_iter().map(|(token, weight)| (weight, token)).collect();
    all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    all.truncate(keys.len());
    let key = |token: Token| {
        let log_prob = f64::from(unigrams[token as usize]).min(0.0);
        Key { ids: vec![token], anchored: false, log_prob }
    };
    Ok(all.into_iter().map(|(weight, token)| (key(token), weight)).collect())
}

/// Ranks the documents of the corpus by the keys that occur in them, intersectively: a document's score is the sum of
/// its keys' weights over a set of keys that do not overlap, each damped by the tokens that heavier keys have used.
/// `unigrams` are log-probabilities [vocab] of the first token, or empty; they count where no key covers a document.
///
/// Cost: one locate per occurrence of the rare keys, then one reading of each of the `fully_score` documents.
///
/// # Errors
/// [`Error::InvalidArgument`] for keys that are none and an index of the tiny tier; as [`Group::locate`].
pub fn rank(index: &Group, keys: &[Key], unigrams: &[f32], config: SealConfig) -> Result<Vec<Hit>> {
    let weights = key_weights(index, keys, config)?;
    rank_weighted(index, keys, &weights, unigrams, config)
}

/// [`rank`] with given weights, one per key.
///
/// # Errors
/// As [`rank`]; [`Error::InvalidArgument`] for another number of weights than keys.
pub fn rank_weighted(
    index: &Group,
    keys: &[Key],
    weights: &[f64],
    unigrams: &[f32],
    config: SealConfig,
) -> Result<Vec<Hit>> {
    index.needs_places("ranking")?;
    if weights.len() != keys.len() {
        return Err(Error::invalid(
            "the number of weights",
            keys.len().to_string(),
            weights.len(),
            "one per key",
        ));
    }
    let mut order: Vec<u32> = (0..keys.len() as u32).filter(|&key| weights[key as usize] > 0.0).collect();
    if let (Some(most), false) = (config.skip_frequent_keys, config.compat) {
        let counts =
            keys.iter().map(|key| index.count(&key.ids, key.anchored)).collect::<Result<Vec<_>>>()?;
        order.retain(|&key| counts[key as usize] <= most);
    }
    order.sort_by(|&a, &b| weights[b as usize].total_cmp(&weights[a as usize]).then(a.cmp(&b)));

    let mut found: FxHashMap<u64, Scored> = FxHashMap::default();
    for &k in &order {
        let key = &keys[k as usize];
        let rows = index.find(&key.ids, key.anchored)?;
        if rows.iter().map(|rows| u64::from(rows.count())).sum::<u64>() > config.max_hits {
            continue;
        }
        let (length, weight) = (key.ids.len() as u32, weights[k as usize]);
        for (document, offset) in index.locate(&rows, length, usize::MAX)? {
            let scored = found.entry(document).or_default();
            if config.allow_overlaps {
                scored.covered.clear();
            }
            let at = if config.compat { offset + length } else { offset };
            scored.add(k, &key.ids, at, weight, config.beta, false);
        }
    }
    let mut candidates: Vec<(f64, u64)> =
        found.iter().map(|(&document, scored)| (scored.total(config), document)).collect();
    best(&mut candidates, config.fully_score);

    let trie = Trie::new(keys, &order);
    let unigrams = unigram_weights(index, keys, unigrams, config)?;
    let mut hits = Vec::with_capacity(candidates.len());
    for (_, document) in candidates {
        let text = index.extract(document, 0, u32::MAX)?;
        let scored = full_score(keys, weights, &trie, &unigrams, &text, config);
        hits.push(Hit { document, score: scored.total(config), keys: scored.keys });
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.document.cmp(&b.document)));
    hits.truncate(config.hits);
    Ok(hits)
}

/// The `count` highest scores, of equals the lower document.
fn best(scored: &mut Vec<(f64, u64)>, count: usize) {
    scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.truncate(count);
}

/// The weights of the likeliest unigrams that are no keys.
fn unigram_weights(
    index: &Group,
    keys: &[Key],
    log_probs: &[f32],
    config: SealConfig,
) -> Result<FxHashMap<Token, f64>> {
    let known: FxHashSet<Token> =
        keys.iter().filter(|key| key.ids.len() == 1).map(|key| key.ids[0]).collect();
    let mut top = Vec::new();
    draftwood_logits::top_k(log_probs, config.use_top_k_unigrams, &mut top);
    let tokens = index.tokens() as f64;
    let mut weights = FxHashMap::default();
    for (token, log_prob) in top {
        if known.contains(&token) || !log_prob.is_finite() {
            continue;
        }
        let count = index.count(&[token], false)? as f64;
        let weight = log_odds(f64::from(log_prob).min(0.0), count, tokens, config.smoothing);
        if weight > 0.0 {
            weights.insert(token, weight);
        }
    }
    Ok(weights)
}

fn full_score(
    keys: &[Key],
    weights: &[f64],
    trie: &Trie,
    unigrams: &FxHashMap<Token, f64>,
    text: &[Token],
    config: SealConfig,
) -> Scored {
    let mut places = Vec::new();
    for offset in 0..text.len() {
        trie.find(&text[offset..], |key| {
            if offset == 0 || !keys[key as usize].anchored {
                places.push((key, offset as u32));
            }
        });
    }
    places.sort_unstable_by(|a, b| {
        weights[b.0 as usize].total_cmp(&weights[a.0 as usize]).then_with(|| a.cmp(b))
    });
    let mut scored = Scored::default();
    for (key, offset) in places {
        scored.add(key, &keys[key as usize].ids, offset, weights[key as usize], config.beta, true);
    }
    let mut left: Vec<(f64, Token)> = Vec::new();
    for (at, token) in text.iter().enumerate() {
        if let Some(&weight) = unigrams.get(token)
            && scored.is_free(at as u32, 1)
        {
            left.push((weight, *token));
        }
    }
    left.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    left.dedup_by_key(|entry| entry.1);
    for (weight, token) in left {
        scored.sum += weight * scored.cover(&[token], config.beta);
    }
    scored
}

/// A document's score on the way.
#[derive(Default)]
struct Scored {
    sum: f64,
    best: f64,
    /// Positions that keys cover.
    covered: FxHashSet<u32>,
    /// Tokens of the keys that count.
    used: FxHashSet<Token>,
    keys: Vec<(u32, f64)>,
}

impl Scored {
    /// An occurrence of a key, in the order of falling weights. A repeated one adds nothing; with `fill` it still
    /// covers its positions.
    fn add(&mut self, key: u32, ids: &[Token], offset: u32, weight: f64, beta: f64, fill: bool) {
        self.best = self.best.max(weight);
        let repeated = self.keys.last().is_some_and(|last| last.0 == key);
        if (repeated && !fill) || !self.is_free(offset, ids.len() as u32) {
            return;
        }
        self.covered.extend(offset..offset + ids.len() as u32);
        if !repeated {
            let added = weight * self.cover(ids, beta);
            self.sum += added;
            self.keys.push((key, added));
            self.used.extend(ids);
        }
    }

    fn is_free(&self, offset: u32, length: u32) -> bool {
        (offset..offset + length).all(|at| !self.covered.contains(&at))
    }

    /// 1 − beta + beta · the part of a key's distinct tokens that no heavier key has used.
    fn cover(&self, ids: &[Token], beta: f64) -> f64 {
        let mut distinct = ids.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let new = distinct.iter().filter(|token| !self.used.contains(token)).count();
        1.0 - beta + beta * new as f64 / distinct.len() as f64
    }

    fn total(&self, config: SealConfig) -> f64 {
        (1.0 - config.single_key) * self.sum + config.single_key * self.best
    }
}

/// The keys as a trie, to find all that start at a position.
struct Trie {
    children: FxHashMap<(u32, Token), u32>,
    /// Keys that end at a node.
    ends: Vec<Vec<u32>>,
}

impl Trie {
    fn new(keys: &[Key], of: &[u32]) -> Self {
        let mut trie = Self { children: FxHashMap::default(), ends: vec![Vec::new()] };
        for &key in of {
            let mut node = 0;
            for &id in &keys[key as usize].ids {
                let next = trie.ends.len() as u32;
                node = *trie.children.entry((node, id)).or_insert(next);
                if node == next {
                    trie.ends.push(Vec::new());
                }
            }
            trie.ends[node as usize].push(key);
        }
        trie
    }

    fn find(&self, text: &[Token], mut found: impl FnMut(u32)) {
        let mut node = 0;
        for &id in text {
            match self.children.get(&(node, id)) {
                Some(&next) => node = next,
                None => return,
            }
            self.ends[node as usize].iter().for_each(|&key| found(key));
        }
    }
}

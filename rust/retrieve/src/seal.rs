//! Documents ranked by the n-grams that a model generated for a query (SEAL, arXiv 2204.10628).

use crate::index::{Group, Rows, Tier, occurrences};
use crate::key_reader::{KeyReader, Scored};
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

/// What the model thinks of single tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unigrams<'a> {
    /// Log-probabilities [vocab] of the first token; empty for none.
    pub log_probs: &'a [f32],
    /// Tokens that are no text, such as ends, and never count (the paper's ids 0 … 2).
    pub special: &'a [Token],
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
    let (tokens, rows) = (index.tokens() as f64, rows_of(index, keys)?);
    let weight = |(key, rows): (&Key, &[Rows])| {
        let count = occurrences(rows) as f64;
        log_odds(key.log_prob * penalty(key), count, tokens, config.smoothing).powf(config.score_exponent)
    };
    Ok(keys.iter().zip(rows.chunks_exact(index.parts().len())).map(weight).collect())
}

/// The rows of every key in each part of the index, one key after the other.
fn rows_of(index: &Group, keys: &[Key]) -> Result<Vec<Rows>> {
    let parts = index.parts().len();
    let (mut rows, mut found) = (vec![Rows::default(); keys.len() * parts], Vec::new());
    for anchored in [false, true] {
        let its = || keys.iter().enumerate().filter(|(_, key)| key.anchored == anchored);
        let ngrams: Vec<&[Token]> = its().map(|(_, key)| key.ids.as_slice()).collect();
        found.clear();
        index.find_all(&ngrams, anchored, &mut found)?;
        for ((key, _), found) in its().zip(found.chunks_exact(parts)) {
            rows[key * parts..(key + 1) * parts].copy_from_slice(found);
        }
    }
    Ok(rows)
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
    unigrams: Unigrams<'_>,
    config: SealConfig,
) -> Result<Vec<(Key, f64)>> {
    let weights = unigram_weights(index, keys, unigrams, config)?;
    let mut all: Vec<(f64, Token)> = weights.into_iter().map(|(token, weight)| (weight, token)).collect();
    all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    all.truncate(keys.len());
    let key = |token: Token| {
        let log_prob = f64::from(unigrams.log_probs[token as usize]).min(0.0);
        Key { ids: vec![token], anchored: false, log_prob }
    };
    Ok(all.into_iter().map(|(weight, token)| (key(token), weight)).collect())
}

/// A ranking by the keys of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// The keys that were appended: the best unigrams.
    pub added: Vec<Key>,
    /// The weights of all keys, the appended ones last.
    pub weights: Vec<f64>,
    /// The documents, best first.
    pub hits: Vec<Hit>,
}

/// [`rank`] by the keys that a search has found and, `with_best_unigrams`, by as many of the best unigrams.
///
/// # Errors
/// As [`rank`].
pub fn rank_found(
    index: &Group,
    mut keys: Vec<Key>,
    unigrams: Unigrams<'_>,
    with_best_unigrams: bool,
    config: SealConfig,
) -> Result<Ranking> {
    let (given, mut weights) = (keys.len(), key_weights(index, &keys, config)?);
    if with_best_unigrams {
        for (key, weight) in best_unigrams(index, &keys, unigrams, config)? {
            keys.push(key);
            weights.push(weight);
        }
    }
    let hits = rank_weighted(index, &keys, &weights, unigrams, config)?;
    Ok(Ranking { added: keys.split_off(given), weights, hits })
}

/// Ranks the documents of the corpus by the keys that occur in them, intersectively: a document's score is the sum of
/// its keys' weights over a set of keys that do not overlap, each damped by the tokens that heavier keys have used.
/// `unigrams` count where no key covers a document.
///
/// Cost: one locate per occurrence of the rare keys, then one reading of each of the `fully_score` documents.
///
/// # Errors
/// [`Error::InvalidArgument`] for keys that are none and an index of the tiny tier; as [`Group::locate`].
pub fn rank(index: &Group, keys: &[Key], unigrams: Unigrams<'_>, config: SealConfig) -> Result<Vec<Hit>> {
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
    unigrams: Unigrams<'_>,
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
    let (rows, parts) = (rows_of(index, keys)?, index.parts().len());
    let rows_of_key = |key: u32| &rows[key as usize * parts..(key as usize + 1) * parts];
    if let (Some(most), false) = (config.skip_frequent_keys, config.compat) {
        order.retain(|&key| occurrences(rows_of_key(key)) <= most);
    }
    order.sort_by(|&a, &b| weights[b as usize].total_cmp(&weights[a as usize]).then(a.cmp(&b)));

    let is_rare = |&&key: &&u32| occurrences(rows_of_key(key)) <= config.max_hits;
    let rare: Vec<u32> = order.iter().filter(is_rare).copied().collect();
    let rows: Vec<Rows> = rare.iter().flat_map(|&key| rows_of_key(key)).copied().collect();
    let candidates = candidates(index, keys, weights, Rare { keys: &rare, rows: &rows }, config)?;
    let unigrams = unigram_weights(index, keys, unigrams, config)?;
    let mut by_token = vec![0.0; unigrams.keys().max().map_or(0, |&most| most as usize + 1)];
    unigrams.into_iter().for_each(|(token, weight)| by_token[token as usize] = weight);
    let mut reader = KeyReader::new(keys, weights, &order, config);
    let (mut hits, mut text) = (Vec::with_capacity(candidates.len()), Vec::new());
    for (_, document) in candidates {
        index.read(document, &mut text)?;
        let scored = reader.full_score(&text, &by_token);
        hits.push(Hit { document, score: scored.total(config), keys: scored.keys.clone() });
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.document.cmp(&b.document)));
    hits.truncate(config.hits);
    Ok(hits)
}

/// The keys that are rare enough to look for documents, heaviest first, and the rows of each in each part.
#[derive(Debug, Clone, Copy)]
struct Rare<'a> {
    keys: &'a [u32],
    rows: &'a [Rows],
}

impl Rare<'_> {
    /// Every key with the number of its occurrences.
    fn counted(&self, parts: usize) -> impl Iterator<Item = (u32, usize)> {
        let counts = self.rows.chunks_exact(parts).map(|rows| occurrences(rows) as usize);
        self.keys.iter().copied().zip(counts)
    }
}

/// The documents to be scored in full: those with the best first scores, by the keys that are rare enough.
fn candidates(
    index: &Group,
    keys: &[Key],
    weights: &[f64],
    rare: Rare<'_>,
    config: SealConfig,
) -> Result<Vec<(f64, u64)>> {
    let mut candidates = match index.tier() {
        // Text is read by walking there: places cost no more.
        Tier::Compact => by_places(index, keys, weights, rare, config)?,
        _ => by_texts(index, keys, weights, rare, config)?,
    };
    best(&mut candidates, config.fully_score);
    Ok(candidates)
}

fn by_places(
    index: &Group,
    keys: &[Key],
    weights: &[f64],
    rare: Rare<'_>,
    config: SealConfig,
) -> Result<Vec<(f64, u64)>> {
    let lengths: Vec<u32> = rare.keys.iter().map(|&key| keys[key as usize].ids.len() as u32).collect();
    let mut places = Vec::new();
    index.locate_all(rare.rows, &lengths, usize::MAX, &mut places)?;
    let (mut found, mut places) = (FxHashMap::<u64, Scored>::default(), places.into_iter());
    for (k, count) in rare.counted(index.parts().len()) {
        let (ids, weight) = (&keys[k as usize].ids, weights[k as usize]);
        for (document, offset) in places.by_ref().take(count) {
            let scored = found.entry(document).or_default();
            if config.allow_overlaps {
                scored.uncover();
            }
            let at = if config.compat { offset + ids.len() as u32 } else { offset };
            scored.add(k, ids, at, weight, config.beta, false);
        }
    }
    Ok(found.iter().map(|(&document, scored)| (scored.total(config), document)).collect())
}

/// Which keys a document holds is one read per occurrence; where they stand costs a walk each. So a document is read
/// instead, if it has several keys and could be among the best: its score is at least its heaviest key's weight, and at
/// most the sum of all.
fn by_texts(
    index: &Group,
    keys: &[Key],
    weights: &[f64],
    rare: Rare<'_>,
    config: SealConfig,
) -> Result<Vec<(f64, u64)>> {
    let (mut documents, mut pairs) = (Vec::new(), Vec::new());
    index.documents_of(rare.rows, &mut documents)?;
    let mut documents = documents.into_iter();
    for (rank, (_, count)) in (0u32..).zip(rare.counted(index.parts().len())) {
        pairs.extend(documents.by_ref().take(count).map(|document| (document, rank)));
    }
    pairs.sort_unstable();
    pairs.dedup();
    let weight = |pair: &(u64, u32)| weights[rare.keys[pair.1 as usize] as usize];
    let mut heaviest: Vec<f64> = pairs.chunk_by(|a, b| a.0 == b.0).map(|its| weight(&its[0])).collect();
    let least = if config.fully_score < heaviest.len() && config.fully_score > 0 {
        *heaviest.select_nth_unstable_by(config.fully_score - 1, |a, b| b.total_cmp(a)).1
    } else {
        0.0
    };
    let (mut reader, mut text, mut scores) =
        (KeyReader::new(keys, weights, rare.keys, config), Vec::new(), Vec::new());
    for its in pairs.chunk_by(|a, b| a.0 == b.0) {
        let document = its[0].0;
        // Sums of the same weights in another order may differ in their last bits.
        if its.iter().map(weight).sum::<f64>() * (1.0 + 1e-9) < least {
            continue;
        }
        let score = if let [one] = its {
            let (key, mut scored) = (rare.keys[one.1 as usize], Scored::default());
            scored.add(key, &keys[key as usize].ids, 0, weight(one), config.beta, false);
            scored.total(config)
        } else {
            index.read(document, &mut text)?;
            reader.first_score(&text).total(config)
        };
        scores.push((score, document));
    }
    Ok(scores)
}

/// The `count` highest scores, of equals the lower document.
fn best(scored: &mut Vec<(f64, u64)>, count: usize) {
    scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.truncate(count);
}

/// The weights of the likeliest unigrams that are no keys, no special tokens, and occur.
fn unigram_weights(
    index: &Group,
    keys: &[Key],
    unigrams: Unigrams<'_>,
    config: SealConfig,
) -> Result<FxHashMap<Token, f64>> {
    let single = keys.iter().filter(|key| key.ids.len() == 1).map(|key| key.ids[0]);
    let without: FxHashSet<Token> = single.chain(unigrams.special.iter().copied()).collect();
    let mut top = Vec::new();
    draftwood_logits::top_k(unigrams.log_probs, config.use_top_k_unigrams, &mut top);
    top.retain(|&(token, log_prob)| !without.contains(&token) && log_prob.is_finite());
    let ngrams: Vec<&[Token]> = top.iter().map(|(token, _)| std::slice::from_ref(token)).collect();
    let (tokens, mut counts) = (index.tokens() as f64, Vec::new());
    index.count_all(&ngrams, false, &mut counts)?;
    let mut weights = FxHashMap::default();
    for (&(token, log_prob), &count) in top.iter().zip(&counts) {
        let weight = log_odds(f64::from(log_prob).min(0.0), count as f64, tokens, config.smoothing);
        if count > 0 && weight > 0.0 {
            weights.insert(token, weight);
        }
    }
    Ok(weights)
}

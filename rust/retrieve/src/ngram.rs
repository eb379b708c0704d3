//! Prompt lookup: drafts from the text's own n-grams.

use crate::follow::Text;
use crate::follower_trie::FollowerTrie;
use crate::ppm::{Source, State, check_min_prob};
use crate::suffix::no_text;
use draftwood_base::{Error, Result, SequenceId};
use draftwood_tree::{Drafter, Forest, Grower, View};
use rustc_hash::FxHashMap;

/// Longest n-gram that may be asked for.
pub const MAX_NGRAM: usize = 16;

/// Settings of [`NGram`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NGramConfig {
    /// Longest n-gram that is looked up, 1 … [`MAX_NGRAM`].
    pub max_ngram: usize,
    /// Nodes whose path is less probable than this are not proposed, 0 … 1. A row costs more than a hundredth of a
    /// forward pass on every machine measured, so less can never pay.
    pub min_prob: f32,
}

impl Default for NGramConfig {
    fn default() -> Self {
        Self { max_ngram: 3, min_prob: 0.01 }
    }
}

/// Drafts what followed earlier occurrences of the last tokens, prompt and output alike.
///
/// Prompt lookup (Saxena 2023) as a tree: all earlier followers of the last `max_ngram` … 1 tokens, weighted by their
/// counts, longer n-grams first; what they leave goes to the shorter ones. Of equal followers the fresher one comes
/// first. A child found under n tokens is continued with contexts of n + 1 tokens at most.
///
/// What an encoder has read comes before the text, so that a first word is continued as in the source.
///
/// A proposal is a function of the text alone. State is kept per sequence and updated by the appended tokens; a
/// sequence whose text is no continuation of what it was is read again from its start.
///
/// Cost: about 0.2 µs per appended token and 0.1 µs per node; for a text of another number than before also one
/// comparison with what was read.
pub struct NGram {
    config: NGramConfig,
    texts: FxHashMap<SequenceId, Text<FollowerTrie>>,
    grower: Grower<State>,
}

impl NGram {
    /// A drafter without any text.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a length outside 1 … [`MAX_NGRAM`] or a probability outside 0 … 1.
    pub fn new(config: NGramConfig) -> Result<Self> {
        if !(1..=MAX_NGRAM).contains(&config.max_ngram) {
            return Err(Error::invalid(
                "max_ngram",
                format!("1 … {MAX_NGRAM}"),
                config.max_ngram,
                "longer n-grams draft no better: a context of 8 tokens is nearly always unique",
            ));
        }
        check_min_prob(config.min_prob)?;
        Ok(Self { config, texts: FxHashMap::default(), grower: Grower::default() })
    }

    /// The settings.
    pub fn config(&self) -> NGramConfig {
        self.config
    }

    /// Number of sequences that state is kept for.
    pub fn open_sequences(&self) -> usize {
        self.texts.len()
    }
}

impl Drafter for NGram {
    fn propose_batch(&mut self, views: &[View<'_>], forest: &mut Forest) -> Result<()> {
        let NGramConfig { max_ngram, min_prob } = self.config;
        // Node numbers are u32, and an appended token may need max_ngram + 1 of them.
        let most = u32::MAX as usize / (max_ngram + 1) - 1;
        let empty = || FollowerTrie::new(max_ngram);
        for view in views {
            let root = match view.tokens.last() {
                Some(&root) if view.source.len() + view.tokens.len() <= most => root,
                _ => return Err(no_text(view, most)),
            };
            let text = self.texts.entry(view.sequence).or_insert_with(|| Text::new(empty()));
            text.follow(view, empty);
            let state = State::root(text.contexts.tail());
            let mut source = Source { contexts: &text.contexts, rates: &text.rates, min_prob };
            self.grower.grow(forest, root, state, view.budget as usize, view.max_depth, &mut source);
        }
        Ok(())
    }

    fn close(&mut self, sequence: SequenceId) {
        self.texts.remove(&sequence);
    }
}

//! Drafts from everything that a text has said before, however long the match.

use crate::follow::{Growing, Text};
use crate::generations::Generations;
use crate::ppm::{Source, State, check_min_prob};
use draftwood_base::{Error, Result, SequenceId};
use draftwood_tree::{Drafter, Forest, Grower, View};
use rustc_hash::FxHashMap;

/// Settings of [`Suffix`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuffixConfig {
    /// Nodes whose path is less probable than this are not proposed, 0 … 1.
    pub min_prob: f32,
    /// Most tokens of a text that are searched, 16 … 2^30: the last ones, at least half as many; 140 bytes each at most,
    /// 1.5 times as many where the text is longer than half.
    pub max_tokens: usize,
}

impl Default for SuffixConfig {
    fn default() -> Self {
        Self { min_prob: 0.01, max_tokens: 1 << 22 }
    }
}

/// Drafts what followed the longest suffix of the text that occurred before, and what followed its own suffixes.
///
/// SuffixDecoding (arXiv 2411.04975) on a suffix automaton instead of a suffix tree of limited depth: matches of any
/// length, constant time per token. The followers of a longer match come first; what they leave goes to the shorter
/// ones, by hit rates learned from the text itself, as escapes do in PPM.
///
/// What an encoder has read comes before the text. Of a long text the last tokens are searched, in generations.
///
/// A proposal is a function of the text alone. State is kept per sequence and updated by the appended tokens; a
/// sequence whose text is no continuation of what it was is read again from its start.
///
/// Cost: about 0.2 µs per appended token, twice that beyond half of `max_tokens`, and 0.1 µs per node, whatever the match
/// length; about 120 bytes per token, at most 210 · `max_tokens`.
pub struct Suffix {
    config: SuffixConfig,
    texts: FxHashMap<SequenceId, Text<Generations>>,
    grower: Grower<State>,
}

impl Suffix {
    /// A drafter without any text.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a probability outside 0 … 1, or a number of tokens outside 16 … 2^30.
    pub fn new(config: SuffixConfig) -> Result<Self> {
        check_min_prob(config.min_prob)?;
        // Above, the numbers of an automaton's edges would no longer fit 32 bits.
        if !(16..=1 << 30).contains(&config.max_tokens) {
            return Err(Error::invalid("max_tokens", "16 … 2^30", config.max_tokens, ""));
        }
        Ok(Self { config, texts: FxHashMap::default(), grower: Grower::default() })
    }

    /// The settings.
    pub fn config(&self) -> SuffixConfig {
        self.config
    }

    /// Number of sequences that state is kept for.
    pub fn open_sequences(&self) -> usize {
        self.texts.len()
    }

    /// Bytes that are kept for a sequence, its copy of the text included.
    pub fn bytes(&self, sequence: SequenceId) -> usize {
        let text = self.texts.get(&sequence);
        text.map_or(0, |text| text.contexts.bytes() + text.seen.bytes())
    }

    /// `child` begins as a copy of `parent`, so that its text need not be read again. Nothing if there is no `parent`.
    pub fn fork(&mut self, parent: SequenceId, child: SequenceId) {
        if let Some(text) = self.texts.get(&parent).cloned() {
            self.texts.insert(child, text);
        }
    }
}

impl Drafter for Suffix {
    fn propose_batch(&mut self, views: &[View<'_>], forest: &mut Forest) -> Result<()> {
        let SuffixConfig { min_prob, max_tokens } = self.config;
        let empty = || Generations::new(max_tokens);
        for view in views {
            let Some(&root) = view.tokens.last() else { return Err(no_text(view, u32::MAX as usize)) };
            let text = self.texts.entry(view.sequence).or_insert_with(|| Text::new(empty()));
            text.follow(view, empty);
            text.seen.keep_last(max_tokens);
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

/// The error for a text that cannot be continued.
#[cold]
pub(crate) fn no_text(view: &View<'_>, most: usize) -> Error {
    Error::invalid(
        format!("the number of tokens of sequence {}", view.sequence),
        format!("1 … {most}"),
        view.tokens.len(),
        "a draft continues the last token of a text",
    )
}

//! Drafts from everything that a text has said before, however long the match.

use crate::follow::Text;
use crate::ppm::{Source, State, check_min_prob};
use crate::suffix_automaton::{NESTED, SuffixAutomaton};
use draftwood_base::{Error, Result, SequenceId};
use draftwood_tree::{Drafter, Forest, Grower, View};
use rustc_hash::FxHashMap;

/// Longest text: node numbers are u32, and a token needs at most three edges.
const MOST_TOKENS: usize = u32::MAX as usize / 3 - 1;

/// Settings of [`Suffix`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuffixConfig {
    /// Nodes whose path is less probable than this are not proposed, 0 … 1.
    pub min_prob: f32,
}

impl Default for SuffixConfig {
    fn default() -> Self {
        Self { min_prob: 0.01 }
    }
}

/// Drafts what followed the longest suffix of the text that occurred before, and what followed its own suffixes.
///
/// SuffixDecoding (arXiv 2411.04975) on a suffix automaton instead of a suffix tree of limited depth: matches of any
/// length, constant time per token. The followers of a longer match come first; what they leave goes to the shorter
/// ones, by hit rates learned from the text itself, as escapes do in PPM.
///
/// What an encoder has read comes before the text.
///
/// A proposal is a function of the text alone. State is kept per sequence and updated by the appended tokens; a
/// sequence whose text is no continuation of what it was is read again from its start.
///
/// Cost: about 0.2 µs per appended token and 0.1 µs per node, whatever the match length; at most about 120 bytes per
/// token.
pub struct Suffix {
    config: SuffixConfig,
    texts: FxHashMap<SequenceId, Text<SuffixAutomaton>>,
    grower: Grower<State>,
}

impl Suffix {
    /// A drafter without any text.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a probability outside 0 … 1.
    pub fn new(config: SuffixConfig) -> Result<Self> {
        check_min_prob(config.min_prob)?;
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
        let empty = || SuffixAutomaton::new(NESTED);
        for view in views {
            let root = match view.tokens.last() {
                Some(&root) if view.source.len() + view.tokens.len() <= MOST_TOKENS => root,
                _ => return Err(no_text(view, MOST_TOKENS)),
            };
            let text = self.texts.entry(view.sequence).or_insert_with(|| Text::new(empty()));
            text.follow(view, empty);
            let state = State::root(text.contexts.tail());
            let mut source =
                Source { contexts: &text.contexts, rates: &text.rates, min_prob: self.config.min_prob };
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

//! What a draft from a corpus is made of.

use crate::ppm::check_min_prob;
use draftwood_base::{Error, Result};

/// Longest match that may be asked for.
pub const MAX_MATCH: usize = 64;
/// Most rows that may be read per suffix and index.
const MOST_ROWS: u32 = 1 << 20;

/// Settings of [`crate::Retrieval`]; start from those of a style.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrievalConfig {
    /// Which suffixes speak, and how their followers become a tree.
    pub style: RetrievalStyle,
    /// Longest suffix of the text that is looked up, 1 … [`MAX_MATCH`].
    pub max_match: usize,
    /// Shortest suffix that drafts, 1 … `max_match`.
    pub min_match: usize,
    /// Nodes whose path is less probable than this are not proposed, 0 … 1.
    pub min_prob: f32,
    /// Occurrences read per node, suffix and index, 1 … 2^20; of more an even sample.
    pub max_rows: u32,
    /// Tokens of the longest path, at least 1.
    pub max_depth: u32,
}

/// How a draft comes from the suffixes that occur.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RetrievalStyle {
    /// Followers of the longest suffix first; what they leave goes to the shorter ones, as escapes do in PPM.
    Escape,
    /// REST (arXiv 2311.08252): the longest suffix with a follower alone; the trie of its continuations, the nodes that
    /// most of them pass.
    Rest,
    /// SuffixDecoding (arXiv 2411.04975): a tree for every suffix, and the one whose path probabilities sum to most, of
    /// equals that of the longer suffix.
    SuffixDecoding {
        /// A suffix of m tokens drafts `floor(factor · m + offset)` tokens at most.
        factor: f32,
        /// See `factor`.
        offset: f32,
        /// One path along the most frequent followers instead of a tree.
        path: bool,
    },
}

/// What is asked for by name; what is not, is as the style has it.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)] // The fields are those of `RetrievalConfig` and `RetrievalStyle::SuffixDecoding`.
pub struct RetrievalOptions {
    pub max_match: Option<usize>,
    pub min_match: Option<usize>,
    pub min_prob: Option<f32>,
    pub max_rows: Option<u32>,
    pub max_depth: Option<u32>,
    pub factor: Option<f32>,
    pub offset: Option<f32>,
    pub path: Option<bool>,
}

impl RetrievalStyle {
    /// Its name: escape, rest, suffix-decoding.
    pub fn name(self) -> &'static str {
        match self {
            Self::Escape => "escape",
            Self::Rest => "rest",
            Self::SuffixDecoding { .. } => "suffix-decoding",
        }
    }
}

impl RetrievalConfig {
    /// The settings of the style of that name with other values where they are given. A shorter longest match takes the
    /// default of the shortest one with it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an unknown style, or values that say how much a match drafts where all draft the same.
    pub fn named(style: &str, options: RetrievalOptions) -> Result<Self> {
        let all = [Self::ESCAPE, Self::REST, Self::SUFFIX_DECODING];
        let Some(mut config) = all.into_iter().find(|config| config.style.name() == style) else {
            let expected = "\"escape\", \"rest\" or \"suffix-decoding\"";
            let hint = "\"escape\" is our own; the others are those of the papers";
            return Err(Error::invalid("style", expected, format!("{style:?}"), hint));
        };
        let RetrievalOptions { factor, offset, path, .. } = options;
        match &mut config.style {
            RetrievalStyle::SuffixDecoding { factor: f, offset: o, path: p } => {
                (*f, *o, *p) = (factor.unwrap_or(*f), offset.unwrap_or(*o), path.unwrap_or(*p));
            }
            _ if factor.or(offset).is_some() || path.is_some() => {
                let hint = "factor, offset and path say how much each match drafts";
                return Err(Error::invalid("the style", "\"suffix-decoding\" with these", style, hint));
            }
            _ => {}
        }
        config.max_match = options.max_match.unwrap_or(config.max_match);
        config.min_match = options.min_match.unwrap_or(config.min_match.min(config.max_match));
        config.min_prob = options.min_prob.unwrap_or(config.min_prob);
        config.max_rows = options.max_rows.unwrap_or(config.max_rows);
        config.max_depth = options.max_depth.unwrap_or(config.max_depth);
        Ok(config)
    }

    /// Our own: 16 tokens down to 1, probability 0.02, 256 rows.
    pub const ESCAPE: Self = Self {
        style: RetrievalStyle::Escape,
        max_match: 16,
        min_match: 1,
        min_prob: 0.02,
        max_rows: 256,
        max_depth: 64,
    };

    /// The paper's: 16 down to 2 tokens, 5,000 continuations of 10 tokens, no floor. It verifies 64 nodes.
    pub const REST: Self = Self {
        style: RetrievalStyle::Rest,
        max_match: 16,
        min_match: 2,
        min_prob: 0.0,
        max_rows: 5000,
        max_depth: 10,
    };

    /// The published program's: up to 64 tokens, as many drafted as are matched, probability 0.1, trees.
    pub const SUFFIX_DECODING: Self = Self {
        style: RetrievalStyle::SuffixDecoding { factor: 1.0, offset: 0.0, path: false },
        max_match: MAX_MATCH,
        min_match: 1,
        min_prob: 0.1,
        max_rows: 5000,
        max_depth: 64,
    };

    pub(super) fn check(self) -> Result<()> {
        let Self { style, max_match, min_match, min_prob, max_rows, max_depth } = self;
        if !(1..=MAX_MATCH).contains(&max_match) {
            let hint = "suffixes of so many tokens are looked up";
            return Err(Error::invalid("max_match", format!("1 … {MAX_MATCH}"), max_match, hint));
        }
        if !(1..=max_match).contains(&min_match) {
            let hint = "the shortest suffix that drafts is no longer than the longest";
            return Err(Error::invalid("min_match", format!("1 … {max_match}, max_match"), min_match, hint));
        }
        check_min_prob(min_prob)?;
        if !(1..=MOST_ROWS).contains(&max_rows) {
            return Err(Error::invalid("max_rows", "1 … 2^20", max_rows, "more rows cost time at each node"));
        }
        if max_depth == 0 {
            return Err(Error::invalid("max_depth", "at least 1", max_depth, "tokens of the longest path"));
        }
        if let RetrievalStyle::SuffixDecoding { factor, offset, .. } = style {
            if !(0.0..=1e6).contains(&factor) {
                return Err(Error::invalid("factor", "0 … 10^6", factor, "drafted tokens per matched one"));
            }
            if !(-1e6..=1e6).contains(&offset) {
                return Err(Error::invalid("offset", "−10^6 … 10^6", offset, "drafted tokens of no match"));
            }
        }
        Ok(())
    }
}

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self::ESCAPE
    }
}

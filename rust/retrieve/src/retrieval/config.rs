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

impl RetrievalConfig {
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
            return Err(Error::invalid("max_match", format!("1 … {MAX_MATCH}"), max_match, ""));
        }
        if !(1..=max_match).contains(&min_match) {
            return Err(Error::invalid("min_match", format!("1 … {max_match}, max_match"), min_match, ""));
        }
        check_min_prob(min_prob)?;
        if !(1..=MOST_ROWS).contains(&max_rows) {
            return Err(Error::invalid("max_rows", "1 … 2^20", max_rows, ""));
        }
        if max_depth == 0 {
            return Err(Error::invalid("max_depth", "at least 1", max_depth, ""));
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

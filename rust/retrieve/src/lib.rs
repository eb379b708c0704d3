//! Retrieval: what a text, or a corpus, has said before in the same place.
//!
//! - [`NGram`] drafts from the text itself: every earlier occurrence of its last tokens is a vote for what comes next.
//! - [`Suffix`] does so with matches of any length.
//! - [`index::Index`] answers over a corpus which tokens may follow an n-gram, how often, and where.
#![deny(unsafe_code)]

mod follower_trie;
pub mod index;
mod ngram;
mod ppm;
mod prefetch;
mod suffix;
mod suffix_array;
mod suffix_automaton;

pub use ngram::{MAX_NGRAM, NGram, NGramConfig};
pub use suffix::{Suffix, SuffixConfig};

//! Retrieval: what a text, or a corpus, has said before in the same place.
//!
//! - [`NGram`] drafts from the text itself: every earlier occurrence of its last tokens is a vote for what comes next.
//! - [`Suffix`] does so with matches of any length.
//! - [`Trigram`] searches a table of trigrams that follows the text.
//! - [`Mix`] merges the drafts of several drafters.
//! - [`Retrieval`] drafts from an index over a corpus.
//! - [`index::Index`] answers over a corpus which tokens may follow an n-gram, how often, and where.
//! - [`Constrained`] finds the best continuations that a corpus allows, for searches.
//! - [`rank`] ranks documents by n-grams that a model generated (SEAL).
#![deny(unsafe_code)]

mod constrain;
mod follower_trie;
pub mod index;
mod mix;
mod ngram;
mod ppm;
mod prefetch;
mod retrieval;
mod seal;
mod suffix;
mod suffix_array;
mod suffix_automaton;
mod trigram;
mod trigram_search;

pub use constrain::{Candidate, Constrained, SCANNED_ROWS, Step};
pub use mix::{MAX_SOURCES, Mix, SharedDrafter};
pub use ngram::{MAX_NGRAM, NGram, NGramConfig};
pub use retrieval::{MAX_MATCH, Retrieval, RetrievalConfig};
pub use seal::{Hit, Key, SealConfig, key_weights, rank};
pub use suffix::{Suffix, SuffixConfig};
pub use trigram::{Trigram, TrigramConfig, TrigramTable};

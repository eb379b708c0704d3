//! Retrieval: what a text, or a corpus, has said before in the same place.
//!
//! - [`NGram`] drafts from the text itself: every earlier occurrence of its last tokens is a vote for what comes next.
//! - [`Suffix`] does so with matches of any length.
//! - [`Outputs`] drafts from what other requests have said.
//! - [`Trigram`] searches a table of trigrams that follows the text.
//! - [`Mix`] merges the drafts of several drafters.
//! - [`Retrieval`] drafts from an index over a corpus.
//! - [`index::Index`] answers over a corpus which tokens may follow an n-gram, how often, and where.
//! - [`Constrained`] finds the best continuations that a corpus allows, for searches.
//! - [`InCorpus`] and [`BlockCorpus`] are rules for texts and beams: only what a corpus says, or none of its n-grams.
//! - [`CorpusSearch`] searches for the n-grams of a corpus that a model likes best; [`KeyScorer`] asks it about given ones.
//! - [`Superposed`] writes several drafts from one row per step.
//! - [`rank`] ranks documents by n-grams that a model generated (SEAL).
#![deny(unsafe_code)]

mod child_table;
mod constrain;
mod corpus_search;
mod follow;
mod follower_trie;
mod generations;
mod huge_pages;
pub mod index;
mod induce_marked;
mod key_reader;
mod key_scorer;
mod lms;
mod log_rows;
mod mix;
mod ngram;
mod outputs;
mod ppm;
mod prefetch;
mod read_ahead;
mod retrieval;
mod rules;
mod seal;
mod suffix;
mod suffix_array;
mod suffix_automaton;
mod superposed;
mod trigram;
mod trigram_search;
mod two_threads;

pub use constrain::{Answers, Candidate, Constrained, SCANNED_ROWS, Step};
pub use corpus_search::{CorpusSearch, CorpusSearchConfig, Found, Onward};
pub use key_scorer::KeyScorer;
pub use log_rows::BeamRows;
pub use mix::{MAX_SOURCES, Mix, SharedDrafter};
pub use ngram::{MAX_NGRAM, NGram, NGramConfig};
pub use outputs::{Outputs, OutputsConfig};
pub use retrieval::{MAX_MATCH, Retrieval, RetrievalConfig, RetrievalOptions, RetrievalStyle};
pub use rules::{BlockCorpus, InCorpus};
pub use seal::{
    Hit, Key, Ranking, SealConfig, Unigrams, best_unigrams, key_weights, rank, rank_found, rank_weighted,
};
pub use suffix::{Suffix, SuffixConfig};
pub use superposed::{Draft, MAX_ORDER, Superposed, SuperposedConfig};
pub use trigram::{Trigram, TrigramConfig, TrigramTable};

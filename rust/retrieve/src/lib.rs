//! Retrieval: what a text, or a corpus, has said before in the same place.
//!
//! [`NGram`] drafts from the text itself: every earlier occurrence of its last tokens is a vote for what comes next.
#![forbid(unsafe_code)]

mod follower_trie;
mod ngram;

pub use ngram::{MAX_NGRAM, NGram, NGramConfig};

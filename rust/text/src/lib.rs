//! Draftwood `text`.

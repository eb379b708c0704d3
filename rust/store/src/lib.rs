//! Draftwood `store`.

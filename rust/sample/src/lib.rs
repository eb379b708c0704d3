//! Draftwood `sample`.

//! Draftwood `weights`.

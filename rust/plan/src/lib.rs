//! Draftwood `plan`.

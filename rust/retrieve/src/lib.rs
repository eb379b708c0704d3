//! Draftwood `retrieve`.

//! Draftwood `logits`.

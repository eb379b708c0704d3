//! Beam search, one step at a time.
//!
//! A search is told the rows of its live beams and answers which beams go on, out of which row, with which token. It
//! knows neither models nor caches: the engine's session turns the answer into forks of pages, the functional API into
//! `state.select(rows)`, and both see the same texts. Rows are borrowed and never sorted; what a step keeps is one
//! 24-byte node per survivor.
//!
//! Scores are f32 sums, one add per token in token order; equal scores go to the lower beam, then the lower token.
#![forbid(unsafe_code)]

mod beam;
mod candidates;
mod config;
mod diversity;
mod gather;
mod group;
mod paths;
mod pool;
mod retrace;
mod row;
mod speculate;
mod stochastic;
mod stops;
mod warp;

pub use beam::{BeamSearch, Kept};
pub use config::{BeamConfig, BeamSampling, EarlyStopping, MAX_BEAMS};
pub use diversity::{Diversity, DiversityKind, Embedding};
pub use draftwood_logits::{
    AnyProcessor, BlockSequences, MinLength, NoRepeatNgrams, OnlyTokens, Phrase, Phrases, Processor,
    RepetitionPenalty, TokenSet, Trie,
};
pub use group::{Banked, Survivor};
pub use paths::{Fate, Hypothesis, LatticeNode};
pub use pool::FinishReason;
pub use row::Rows;
pub use speculate::{Advance, Budget, LaneChange, Speculation, StepCosts};
pub use stochastic::{Drawn, StochasticSearch};
pub use stops::Stops;

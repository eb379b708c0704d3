//! What happens in one decoding step: which sequences run, which rows are computed, what is kept.
//!
//! [`Session`] holds the state of all running texts and is driven in one direction, four calls a step:
//!
//! 1. [`Session::begin`] acknowledges the moves of the step before, admits waiting requests and chooses what runs;
//!    [`Session::views`] is what drafters see of it.
//! 2. [`Session::plan`] prunes the drafts, reserves cache slots and writes the rows of the step into [`StepPlan`].
//! 3. [`Session::verify`] reads the logits along the visited paths and chooses tokens.
//! 4. [`Session::commit`] keeps the accepted paths, frees the rest, and leaves [`Events`] and row moves behind.
//!
//! A prompt is a chain of tokens that are not cached yet, just as the last token of a text is: prefill, chunking and
//! recovery after a failed move are the same thing as decoding. There is no clock and no I/O here: what steps have
//! cost, which decides how much is drafted, is told by [`Session::took`].
#![forbid(unsafe_code)]

mod arrays;
mod begin;
mod commit;
mod config;
mod decide;
mod ending;
mod events;
mod fill;
mod past;
mod policy;
mod prune;
mod rearrange;
mod request;
mod retrace;
mod sequence;
mod session;
mod verify;
mod waiting;

pub use arrays::StepPlan;
pub use config::SessionConfig;
pub use events::{End, Event, Events, FinishReason, Logprobs, StopReason};
pub use policy::{DraftCounts, DraftPolicy};
pub use prune::Drafted;
pub use rearrange::Change;
pub use request::{Request, RequestId};
pub use sequence::SequenceStats;
pub use session::{Counts, Session};

//! What every other crate stands on: ids, the error type, ragged arrays, addressed noise, the
//! bandwidth probe.
#![forbid(unsafe_code)]

mod bandwidth;
mod error;
mod ids;
pub mod noise;
mod ragged;

pub use bandwidth::read_bandwidth;
pub use error::{Error, Mismatch, Result};
pub use ids::{PageId, SequenceId, SlotId, Token};
pub use ragged::Ragged;

//! What every other crate stands on: ids, the error type, ragged arrays, addressed noise, the thread pool.
//!
//! Unsafe code is denied but for the pool: threads that outlive a call's borrows cannot be written without it.
#![deny(unsafe_code)]

mod error;
mod ids;
mod locked;
pub mod noise;
#[allow(unsafe_code)]
pub mod pool;
mod ragged;
mod turn;

pub use error::{Error, Mismatch, Result};
pub use ids::{PageId, SequenceId, SlotId, Token};
pub use locked::{Guard, Locked};
pub use ragged::Ragged;
pub use turn::{Taken, Turn};

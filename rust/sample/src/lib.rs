//! Choosing the next token of a row, and walking a draft tree with those choices.
//!
//! One choice per row, addressed by the position of the token it draws: so a tree verified with the same choices says
//! exactly what plain decoding would have said, whoever proposed the tree.
#![forbid(unsafe_code)]

mod params;
mod sampler;
pub mod verify;

pub use params::Params;
pub use sampler::{Choice, Draw, RowFault, Sampler};

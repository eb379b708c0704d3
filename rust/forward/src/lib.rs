//! The CPU forward pass: weights in panels, paged attention, our own threads.
//!
//! **Row invariance.** The logits of a row are bitwise the same whatever is computed with it: number of rows, tree shape,
//! batch companions, page placement, chunk borders, thread count, instruction set. A linear layer adds
//! products in column order, in runs of 256 ([`linear`]), sums over lanes fold in one order ([`lanes`]), exp is ours
//! ([`math`]), attention sums in position order inside fixed splits.
#![allow(clippy::missing_safety_doc, reason = "the trait says it once for all its functions")]

mod activations;
pub mod attention;
pub mod cache;
mod embedded;
mod environment;
mod executor;
mod files;
mod gate;
#[cfg(test)]
mod guarded;
pub mod lanes;
pub mod linear;
mod live;
pub mod machine;
pub mod math;
pub mod memory;
pub mod model;
pub mod panels;
pub mod pointwise;
pub mod probe;
pub mod quantise;
pub mod rope;
pub mod sight;
mod spec;
mod step;

pub use cache::CacheType;
pub use embedded::Embedded;
pub use executor::Executor;
pub use files::{Place, Stored};
pub use live::{Live, LiveTensor};
pub use machine::Machine;
pub use model::{Dtype, Keep, Model, Weights};
pub use spec::{Activation, LayerSpec, NormKind, RopeScaling, RopeSpec, Spec};

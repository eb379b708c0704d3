//! Token trees: topology, growth under a node budget, ancestor masks, and the types that cross crates.
//!
//! A tree is a few flat arrays in topological order: `token[i]`, `parent[i] < i`, `parent[0] = −1`. Node 0 is the
//! root: the last token of the text, whose row is not in the cache yet. Siblings hold distinct tokens, so "the child
//! with this token" is unique and verification never has to choose between equals.
#![forbid(unsafe_code)]

mod drafter;
mod forest;
mod grow;
mod mask;
mod step;
mod text;
mod topology;

pub use drafter::{Drafter, View};
pub use forest::Forest;
pub use grow::{Continuations, Grower};
pub use mask::{ancestor_masks, unpack_masks, words_for};
pub use step::{Finished, StepRows, Survivor};
pub use text::{GrowingText, TextMark, TextRef};
pub use topology::{NO_PARENT, TreeRef, validate};

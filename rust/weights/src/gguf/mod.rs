//! GGUF, versions 2 and 3, little-endian; one file or a split set.
//!
//! Layout: magic, version, counts · metadata (key, type, value) · tensor descriptions (name, dimensions, type, offset)
//! · padding to `general.alignment` · tensor data, each tensor at its offset from here.

mod cursor;
mod file;
mod header;
mod split;
mod value;

pub use file::{GgufFile, Tensor};
pub use header::TensorInfo;
pub use value::{Array, Value, ValueType};

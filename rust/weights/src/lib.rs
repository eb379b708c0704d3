//! Reading model files: the structure of GGUF, the block types of quantised tensors, and their dequantisation.
//!
//! A file is untrusted. Everything that a reader relies on (counts, lengths, offsets, types) is checked when the file
//! is opened, with checked arithmetic and without an allocation larger than the bytes that the file really has; what
//! fails is an [`Error::ModelFormat`](draftwood_base::Error::ModelFormat) with the offset of the field. Values of
//! tensors are checked when they are dequantised.
//!
//! ```
//! use draftwood_weights::GgufFile;
//! let error = GgufFile::from_bytes("model.bin", b"PK\x03\x04 a zip".to_vec()).unwrap_err();
//! assert!(error.to_string().contains("the first bytes must be \"GGUF\", got \"PK\\x03\\x04\""));
//! ```

#![deny(unsafe_code)]

mod blocks;
mod gguf;
mod map;
mod types;

pub use blocks::{BlockType, DequantizeError, dequantize_blocks};
pub use gguf::{Array, GgufFile, Tensor, TensorInfo, Value, ValueType};
pub use types::GgmlType;

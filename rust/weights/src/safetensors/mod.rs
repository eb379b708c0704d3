//! safetensors: one file, or the shards that `model.safetensors.index.json` lists.
//!
//! Layout: length of the header (u64) · header, a JSON object from names to type, shape and place · tensor data without
//! gaps. The crate `safetensors` reads and checks headers; what it refuses gets an offset and a name here.

mod file;
mod header;
mod index;

pub use file::SafeTensors;

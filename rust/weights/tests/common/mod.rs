//! A GGUF writer for tests, written from the format's description and sharing nothing with the reader.
#![allow(dead_code, reason = "each test file uses a part")]

use draftwood_weights::GgmlType;
use std::path::{Path, PathBuf};

/// A metadata value to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Meta {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(u32),
    Bool(bool),
    Str(String),
    Array(u32, Vec<Meta>),
    U64(u64),
    I64(i64),
    F64(u64),
}

impl Meta {
    pub fn id(&self) -> u32 {
        match self {
            Meta::U8(_) => 0,
            Meta::I8(_) => 1,
            Meta::U16(_) => 2,
            Meta::I16(_) => 3,
            Meta::U32(_) => 4,
            Meta::I32(_) => 5,
            Meta::F32(_) => 6,
            Meta::Bool(_) => 7,
            Meta::Str(_) => 8,
            Meta::Array(..) => 9,
            Meta::U64(_) => 10,
            Meta::I64(_) => 11,
            Meta::F64(_) => 12,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Meta::U8(v) => out.push(*v),
            Meta::I8(v) => out.push(*v as u8),
            Meta::U16(v) => out.extend(v.to_le_bytes()),
            Meta::I16(v) => out.extend(v.to_le_bytes()),
            Meta::U32(v) | Meta::F32(v) => out.extend(v.to_le_bytes()),
            Meta::I32(v) => out.extend(v.to_le_bytes()),
            Meta::Bool(v) => out.push(u8::from(*v)),
            Meta::Str(v) => write_string(out, v),
            Meta::Array(kind, items) => {
                out.extend(kind.to_le_bytes());
                out.extend((items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| item.write(out));
            }
            Meta::U64(v) | Meta::F64(v) => out.extend(v.to_le_bytes()),
            Meta::I64(v) => out.extend(v.to_le_bytes()),
        }
    }
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A tensor to write.
#[derive(Debug, Clone)]
pub struct Stored {
    pub name: String,
    pub dims: Vec<u64>,
    pub kind: GgmlType,
    pub bytes: Vec<u8>,
    /// Replaces the true offset.
    pub offset: Option<u64>,
}

impl Stored {
    pub fn new(name: &str, dims: &[u64], kind: GgmlType, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), dims: dims.into(), kind, bytes, offset: None }
    }

    /// f32 values in a row.
    pub fn floats(name: &str, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new(name, &[values.len() as u64], GgmlType::F32, bytes)
    }
}

/// A file to write.
#[derive(Debug, Clone)]
pub struct File {
    pub version: u32,
    pub alignment: u64,
    pub meta: Vec<(String, Meta)>,
    pub tensors: Vec<Stored>,
}

impl Default for File {
    fn default() -> Self {
        Self { version: 3, alignment: 32, meta: Vec::new(), tensors: Vec::new() }
    }
}

impl File {
    pub fn with(mut self, key: &str, value: Meta) -> Self {
        self.meta.push((key.into(), value));
        self
    }

    pub fn and(mut self, tensor: Stored) -> Self {
        self.tensors.push(tensor);
        self
    }

    pub fn write(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.meta.len() as u64).to_le_bytes());
        for (key, value) in &self.meta {
            write_string(&mut out, key);
            out.extend(value.id().to_le_bytes());
            value.write(&mut out);
        }
        let mut end = 0u64;
        for t in &self.tensors {
            write_string(&mut out, &t.name);
            out.extend((t.dims.len() as u32).to_le_bytes());
            t.dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend((t.kind as u32).to_le_bytes());
            out.extend(t.offset.unwrap_or(end).to_le_bytes());
            end = (end + t.bytes.len() as u64).next_multiple_of(self.alignment);
        }
        for t in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
            out.extend(&t.bytes);
        }
        out
    }
}

/// A folder of its own, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("draftwood-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

//! An opened GGUF file or split set.

use super::cursor::Cursor;
use super::header::{Entry, Header};
use super::split;
use super::value::{Value, read_value};
use crate::map::Bytes;
use crate::tensors::{Tensor, TensorSet};
use draftwood_base::{Error, Result};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// A GGUF file, or all files of a split set, with checked structure. Cheap to open: nothing but the header is read.
pub struct GgufFile {
    weights: TensorSet,
    version: u32,
    keys: Vec<String>,
    entries: HashMap<String, Entry>,
}

impl GgufFile {
    /// Maps the file; with the first file of a split set all of the set.
    ///
    /// The files must not be truncated while this lives (the system would stop the process); changed bytes may give
    /// other values or errors, never a read outside the file.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the path is no readable regular file; [`Error::ModelFormat`] with offset and
    /// problem if the structure is not sound or a part of the set is missing; [`Error::UnsupportedModel`] for tensor
    /// types whose size is not known.
    ///
    /// # Cost
    /// Time and memory linear in the header (metadata and tensor descriptions), not in the weights.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut file = Self::read(path.display().to_string(), Bytes::map(path)?)?;
        file.add_parts(path)?;
        Ok(file)
    }

    /// Reads a file that is in memory already; `name` stands for the path in errors.
    ///
    /// # Errors
    /// As [`GgufFile::open`]; a part of a split set is refused, since there are no names to find the others by.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self> {
        let mut file = Self::read(name.into(), Bytes::Owned(bytes))?;
        file.add_parts(Path::new(""))?;
        Ok(file)
    }

    fn read(name: String, bytes: Bytes) -> Result<Self> {
        let header = Header::read(&bytes, &name)?;
        let mut weights = TensorSet::new(name, bytes);
        weights.add(header.tensors)?;
        Ok(Self { weights, version: header.version, keys: header.keys, entries: header.entries })
    }

    fn name(&self) -> &str {
        self.weights.source(0).0
    }

    /// Opens the other files of a split set, if this is one.
    fn add_parts(&mut self, path: &Path) -> Result<()> {
        let count = self.split_number("split.count")?.unwrap_or(1);
        if count <= 1 {
            return Ok(());
        }
        let number = self.split_number("split.no")?.unwrap_or(0);
        let refuse = |key: &str, what: &str, expected: String, got: String, hint: String| {
            let at = self.entries.get(key).map_or(0, |e| e.at as u64);
            Err(Error::model_format(self.name(), at, what, expected, got, hint))
        };
        if number > 0 {
            let first = split::sibling(path, number, 0, count)
                .map_or_else(|| format!("NAME{}", split::suffix(0, count)), |p| p.display().to_string());
            return refuse(
                "split.no",
                "the named file of a split set",
                format!("the first of {count}"),
                format!("number {}", number.saturating_add(1)),
                format!("load {first}"),
            );
        }
        let mut files = Vec::new();
        for index in 1..count {
            let Some(part) = split::sibling(path, 0, index, count) else {
                return refuse(
                    "split.count",
                    "the name of the first file of a split set",
                    format!("NAME{}", split::suffix(0, count)),
                    self.name().to_owned(),
                    "keep the names that the set was published with".into(),
                );
            };
            if !part.is_file() {
                return refuse(
                    "split.count",
                    "a split set",
                    format!("{count} files side by side"),
                    format!("no file {}", part.display()),
                    "fetch the missing part into the same folder".into(),
                );
            }
            files.push(part);
        }
        for (index, path) in (1..).zip(files) {
            self.add_part(&path, index, count)?;
        }
        let total = self.split_number("split.tensors.count")?;
        let got = self.weights.len() as u64;
        match total {
            Some(total) if total != got => Err(Error::model_format(
                self.name(),
                self.entries["split.tensors.count"].at as u64,
                "the number of tensors in all parts",
                total.to_string(),
                got,
                "the parts belong to different sets: fetch them again",
            )),
            _ => Ok(()),
        }
    }

    fn add_part(&mut self, path: &Path, index: u64, count: u64) -> Result<()> {
        let name = path.display().to_string();
        let part = Self::read(name, Bytes::map(path)?)?;
        for (key, expected) in [("split.no", index), ("split.count", count)] {
            let got = part.split_number(key)?;
            if got != Some(expected) {
                let at = part.entries.get(key).map_or(0, |e| e.at as u64);
                let got = got.map_or("none".to_owned(), |v| v.to_string());
                let hint = "the parts belong to different sets: fetch them again";
                return Err(Error::model_format(part.name(), at, key, expected.to_string(), got, hint));
            }
        }
        self.weights.append(part.weights)
    }

    /// A small number that describes the set.
    fn split_number(&self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        match value.as_u64() {
            // Five digits is what the names have room for.
            Some(number) if number < 100_000 || key == "split.tensors.count" => Ok(Some(number)),
            other => {
                let at = self.entries[key].at as u64;
                let got = other.map_or("another type".to_owned(), |v| v.to_string());
                Err(Error::model_format(self.name(), at, key, "a number below 100000", got, ""))
            }
        }
    }

    /// Version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Paths of the files, as given or derived.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &str> {
        self.weights.files()
    }

    /// Metadata keys in the order of the file.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// A metadata value, None if the file has no such key.
    ///
    /// # Errors
    /// [`Error::ModelFormat`] if it is a string that isn't UTF-8; items of arrays report theirs when they are read.
    pub fn get(&self, key: &str) -> Result<Option<Value<'_>>> {
        let Some(entry) = self.entries.get(key) else { return Ok(None) };
        let (name, bytes) = self.weights.source(0);
        let mut cursor = Cursor::new(bytes, name).seek(entry.at);
        read_value(&mut cursor, entry.kind, &format!("metadata \"{key}\""), 0).map(Some)
    }

    /// The tensors, as every kind of file gives them.
    pub fn weights(&self) -> &TensorSet {
        &self.weights
    }

    /// All tensors, part by part in the order of the files.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.weights.iter()
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.weights.get(name)
    }
}

impl AsRef<TensorSet> for GgufFile {
    fn as_ref(&self) -> &TensorSet {
        &self.weights
    }
}

impl fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keys, tensors) = (self.keys.len(), self.weights.len());
        write!(f, "GgufFile({}, {keys} keys, {tensors} tensors)", self.name())
    }
}

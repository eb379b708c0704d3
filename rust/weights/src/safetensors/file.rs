//! An opened safetensors file or folder.

use super::header::Header;
use super::index;
use crate::map::Bytes;
use crate::tensors::{Tensor, TensorSet};
use draftwood_base::{Error, Result};
use std::fmt;
use std::path::Path;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A safetensors file, or all shards of a folder, with checked structure. Cheap to open: nothing but headers is read.
pub struct SafeTensors {
    weights: TensorSet,
}

impl SafeTensors {
    /// Maps a file; of a folder `model.safetensors`, or else the shards of `model.safetensors.index.json`.
    ///
    /// The files must not be truncated while this lives (the system would stop the process); changed bytes may give
    /// other values or errors, never a read outside the file.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the path is no readable file or no folder with weights; [`Error::ModelFormat`]
    /// with offset and problem if a structure is not sound, or a shard or a tensor of the index is missing.
    ///
    /// # Cost
    /// Time and memory linear in the headers, not in the weights.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Self::read(path.display().to_string(), Bytes::map(path)?);
        }
        let (whole, index) = (path.join(WEIGHTS), path.join(INDEX));
        if whole.is_file() {
            return Self::read(whole.display().to_string(), Bytes::map(&whole)?);
        }
        if index.is_file() {
            return Self::shards(path, &index);
        }
        let expected = format!("a folder with {WEIGHTS} or {INDEX}");
        Err(Error::invalid("path", expected, path.display(), "save the model with save_pretrained"))
    }

    /// Reads a file that is in memory already; `name` stands for the path in errors.
    ///
    /// # Errors
    /// As [`SafeTensors::open`].
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self> {
        Self::read(name.into(), Bytes::Owned(bytes))
    }

    fn read(name: String, bytes: Bytes) -> Result<Self> {
        let header = Header::read(&bytes, &name)?;
        let mut weights = TensorSet::new(name, bytes);
        weights.add(header.tensors)?;
        for unread in header.unread {
            weights.add_unread(unread.name, unread.kind, unread.offset)?;
        }
        Ok(Self { weights })
    }

    fn shards(folder: &Path, index: &Path) -> Result<Self> {
        let name = index.display().to_string();
        let mut all: Option<TensorSet> = None;
        for (file, tensors) in index::read(&Bytes::map(index)?, &name)? {
            let path = folder.join(&file);
            if !path.is_file() {
                let (what, got) = ("weight_map", format!("no file {}", path.display()));
                let hint = "fetch the missing file into the same folder";
                return Err(Error::model_format(&name, 0, what, "of files side by side", got, hint));
            }
            let shard = Self::read(path.display().to_string(), Bytes::map(&path)?)?.weights;
            if let Some(missing) = tensors.iter().find(|tensor| !shard.contains(tensor)) {
                let (what, expected) =
                    (format!("tensor \"{missing}\""), format!("in {file}, as {INDEX} says"));
                let hint = "the files belong to different models: fetch them again";
                return Err(Error::model_format(path.display().to_string(), 0, what, expected, "none", hint));
            }
            match &mut all {
                Some(all) => all.append(shard)?,
                None => all = Some(shard),
            }
        }
        // The index has at least one entry.
        all.map(|weights| Self { weights }).ok_or_else(|| Error::Internal("an index without shards".into()))
    }

    /// The tensors, as every kind of file gives them.
    pub fn weights(&self) -> &TensorSet {
        &self.weights
    }

    /// Paths of the files.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &str> {
        self.weights.files()
    }

    /// All readable tensors, file by file in the order of their data.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.weights.iter()
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.weights.get(name)
    }
}

impl AsRef<TensorSet> for SafeTensors {
    fn as_ref(&self) -> &TensorSet {
        &self.weights
    }
}

impl fmt::Debug for SafeTensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SafeTensors({:?})", self.weights)
    }
}

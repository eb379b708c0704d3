//! The tensors of a model, whatever kind of file they lie in.

use crate::blocks::{DequantizeError, dequantize_blocks};
use crate::map::Bytes;
use crate::types::GgmlType;
use draftwood_base::{Error, Result};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;

/// Values per thread from which a second thread pays.
const VALUES_PER_THREAD: u64 = 1 << 16;
/// Dequantisation is bound by memory; more threads than this only compete.
const MAX_THREADS: usize = 8;

/// Description of one tensor. Its bytes lie inside its file; this was checked when the file was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, unique in the set.
    pub name: String,
    /// Dimensions in GGUF's order, the row length first: the reverse of NumPy's shape. GGUF: 1 to 4, all positive;
    /// safetensors: any number, a scalar has none.
    pub dims: Vec<u64>,
    /// Stored type.
    pub kind: GgmlType,
    /// Which file of the set holds it, from 0.
    pub part: usize,
    /// First byte, counted from the start of that file.
    pub offset: u64,
    /// Bytes stored.
    pub bytes: u64,
    /// Number of values.
    pub values: u64,
}

/// A tensor that is in the files, but whose type has no place in [`GgmlType`].
struct Unread {
    part: usize,
    kind: String,
}

/// One file, or all files of a set, and the tensors in them: what GGUF and safetensors have in common.
///
/// Made by [`GgufFile::weights`](crate::GgufFile::weights) and [`SafeTensors::weights`](crate::SafeTensors::weights).
pub struct TensorSet {
    files: Vec<(String, Bytes)>,
    tensors: Vec<TensorInfo>,
    names: HashMap<String, usize>,
    unread: HashMap<String, Unread>,
}

/// A tensor of opened files; dereferences to its [`TensorInfo`].
#[derive(Clone, Copy)]
pub struct Tensor<'a> {
    set: &'a TensorSet,
    info: &'a TensorInfo,
}

impl TensorSet {
    pub(crate) fn new(name: String, bytes: Bytes) -> Self {
        Self {
            files: vec![(name, bytes)],
            tensors: Vec::new(),
            names: HashMap::new(),
            unread: HashMap::new(),
        }
    }

    /// Adds tensors of the last file; their `part` is set here.
    pub(crate) fn add(&mut self, tensors: Vec<TensorInfo>) -> Result<()> {
        let part = self.files.len() - 1;
        for tensor in tensors {
            let other = self.names.get(&tensor.name).map(|&i| self.tensors[i].part);
            self.check_new(&tensor.name, tensor.offset, other)?;
            self.names.insert(tensor.name.clone(), self.tensors.len());
            self.tensors.push(TensorInfo { part, ..tensor });
        }
        Ok(())
    }

    /// Adds a tensor of the last file that cannot be read, `offset` for messages.
    pub(crate) fn add_unread(&mut self, name: String, kind: String, offset: u64) -> Result<()> {
        let part = self.files.len() - 1;
        self.check_new(&name, offset, None)?;
        self.unread.insert(name, Unread { part, kind });
        Ok(())
    }

    fn check_new(&self, name: &str, offset: u64, other: Option<usize>) -> Result<()> {
        let Some(other) = other.or_else(|| self.unread.get(name).map(|u| u.part)) else { return Ok(()) };
        let (file, what) = (self.file(self.files.len() - 1), format!("tensor \"{name}\""));
        let got = format!("a second one beside that in {}", self.file(other));
        Err(Error::model_format(file, offset, what, "in one file of the set", got, ""))
    }

    /// Moves the files and tensors of `other` behind those of this set.
    pub(crate) fn append(&mut self, other: TensorSet) -> Result<()> {
        for (part, file) in other.files.into_iter().enumerate() {
            self.files.push(file);
            self.add(other.tensors.iter().filter(|t| t.part == part).cloned().collect())?;
            for (name, unread) in other.unread.iter().filter(|(_, u)| u.part == part) {
                self.add_unread(name.clone(), unread.kind.clone(), 0)?;
            }
        }
        Ok(())
    }

    /// Name and bytes of a file.
    pub(crate) fn source(&self, part: usize) -> (&str, &[u8]) {
        let (name, bytes) = &self.files[part];
        (name, bytes)
    }

    fn file(&self, part: usize) -> &str {
        &self.files[part].0
    }

    /// Paths of the files, as given or derived.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    /// All readable tensors, file by file in the order of the data or of the description.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|info| Tensor { set: self, info })
    }

    /// Number of readable tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Bytes of all readable tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.bytes).sum()
    }

    /// The tensor of this name, None if there is none or its type cannot be read.
    pub fn get(&self, name: &str) -> Option<Tensor<'_>> {
        self.names.get(name).map(|&i| Tensor { set: self, info: &self.tensors[i] })
    }

    /// Whether there is a tensor of this name, readable or not.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.unread.contains_key(name)
    }

    /// Names and types of the tensors that are in the files but cannot be read, in no order.
    pub fn unread(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.unread.iter().map(|(name, unread)| (name.as_str(), unread.kind.as_str()))
    }

    /// The tensor of this name, which a model needs.
    ///
    /// # Errors
    /// [`Error::ModelFormat`] if there is none; [`Error::UnsupportedModel`] if its type cannot be read.
    pub fn require(&self, name: &str) -> Result<Tensor<'_>> {
        if let Some(tensor) = self.get(name) {
            return Ok(tensor);
        }
        Err(match self.unread.get(name) {
            Some(unread) => Error::UnsupportedModel {
                what: format!("{}: type {} of tensor \"{name}\"", self.file(unread.part), unread.kind),
                hint: format!("the types that can be dequantised are {}", GgmlType::dequantizable()),
            },
            None => {
                Error::model_format(self.file(0), 0, format!("tensor \"{name}\""), "in the file", "none", "")
            }
        })
    }
}

impl fmt::Debug for TensorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files from {}, {} tensors", self.files.len(), self.file(0), self.tensors.len())
    }
}

impl Deref for Tensor<'_> {
    type Target = TensorInfo;

    fn deref(&self) -> &TensorInfo {
        self.info
    }
}

impl<'a> Tensor<'a> {
    fn range(&self) -> (usize, usize) {
        (self.info.offset as usize, self.info.bytes as usize)
    }

    /// The stored bytes. They need not be aligned to the type.
    pub fn bytes(&self) -> &'a [u8] {
        let (start, len) = self.range();
        &self.set.files[self.info.part].1[start..start + len]
    }

    /// Path of the file that holds it.
    pub fn path(&self) -> &'a str {
        self.set.file(self.info.part)
    }

    /// Gives the mapped memory of the bytes back to the system, neighbours on the same (large) pages included: what is
    /// used again is read from the file again. For a loader that has made its own copy, so that not all of the file stays in memory beside it.
    pub fn release(&self) {
        let (start, len) = self.range();
        self.set.files[self.info.part].1.release(start, len);
    }

    /// Writes the values as f32, rows one after the other.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] unless `out` holds `values` numbers; [`Error::UnsupportedModel`] for a type without
    /// decoder; [`Error::ModelFormat`] with tensor and offset for values (and so scales) that are not finite.
    ///
    /// # Cost
    /// One pass over file and `out`, on up to 8 threads for large tensors; the values do not depend on their number.
    pub fn dequantize(&self, out: &mut [f32]) -> Result<()> {
        let useful = (self.info.values / VALUES_PER_THREAD).clamp(1, MAX_THREADS as u64) as usize;
        let threads = if useful > 1 { useful.min(available_threads()) } else { 1 };
        dequantize_blocks(self.info.kind, self.bytes(), out, threads)
            .map_err(|error| self.explain(error, 0, out))
    }

    /// The stored bytes of one row (`dims[0]` values; a vector is one row), None if there is no such row.
    pub fn row_bytes(&self, row: usize) -> Option<&'a [u8]> {
        let len = self.row_len() / self.info.kind.block_len() * self.info.kind.block_bytes();
        let start = row.checked_mul(len)?;
        self.bytes().get(start..start.checked_add(len)?)
    }

    /// Writes the values of one row as f32, on this thread.
    ///
    /// # Errors
    /// As [`Tensor::dequantize`], and [`Error::InvalidArgument`] for a row that the tensor does not have.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let len = self.row_len();
        let Some(blocks) = self.row_bytes(row) else {
            let what = format!("the row of tensor \"{}\"", self.info.name);
            let rows = self.info.values / len.max(1) as u64;
            return Err(Error::invalid(what, format!("below {rows}"), row, ""));
        };
        dequantize_blocks(self.info.kind, blocks, out, 1).map_err(|error| self.explain(error, row * len, out))
    }

    fn row_len(&self) -> usize {
        self.info.dims.first().map_or(1, |&len| len as usize)
    }

    /// `first`: index in the tensor of the first value of `out`.
    fn explain(&self, error: DequantizeError, first: usize, out: &[f32]) -> Error {
        let TensorInfo { name, kind, .. } = self.info;
        match error {
            DequantizeError::Unknown => Error::UnsupportedModel {
                what: format!("{}: type {} of tensor \"{name}\"", self.path(), kind.name()),
                hint: format!("the types that can be dequantised are {}", GgmlType::dequantizable()),
            },
            DequantizeError::Size => {
                let expected =
                    format!("as many values as tensor \"{name}\" gives, {} in all", self.info.values);
                Error::invalid("out", expected, out.len(), "")
            }
            DequantizeError::NotFinite(at) => {
                let value = first + at;
                let block = (value / kind.block_len() * kind.block_bytes()) as u64;
                let what = format!("value {value} of tensor \"{name}\" ({})", kind.name());
                let hint = "the file is damaged or its conversion went wrong";
                Error::model_format(self.path(), self.info.offset + block, what, "finite", out[at], hint)
            }
        }
    }
}

fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

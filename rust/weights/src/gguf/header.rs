//! Everything of one file in front of the tensor data, checked.

use super::cursor::Cursor;
use super::value::{ValueType, read_value, skip_value};
use crate::types::GgmlType;
use draftwood_base::{Error, Result};
use std::collections::HashMap;

/// Where a metadata value lies.
#[derive(Clone, Copy)]
pub struct Entry {
    pub kind: ValueType,
    pub at: usize,
}

/// Description of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, unique in the set.
    pub name: String,
    /// Dimensions in GGUF's order, the row length first; 1 to 4 of them.
    pub dims: Vec<u64>,
    /// Stored type.
    pub kind: GgmlType,
    /// Which file of a split set holds it, from 0.
    pub part: usize,
    /// First byte, counted from the start of that file.
    pub offset: u64,
    /// Bytes stored.
    pub bytes: u64,
    /// Number of values.
    pub values: u64,
}

/// Keys in file order, and the tensors of one file.
pub struct Header {
    pub version: u32,
    pub keys: Vec<String>,
    pub entries: HashMap<String, Entry>,
    pub tensors: Vec<TensorInfo>,
}

const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_DIMS: u32 = 4;
/// Real files have a hundred keys, and mixtures of experts some ten thousand tensors; more would only fill memory.
const MAX_KEYS: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 20;
/// A key: its length, one letter, a type, one byte of value.
const LEAST_KEY_BYTES: u64 = 14;
/// A tensor: length of its name, one letter, number of dimensions, one of them, type, offset.
const LEAST_TENSOR_BYTES: u64 = 33;

impl Header {
    pub fn read(bytes: &[u8], file: &str, part: usize) -> Result<Self> {
        let mut cursor = Cursor::new(bytes, file);
        let version = preamble(&mut cursor, bytes, file)?;
        let tensor_count = cursor.count("the number of tensors", LEAST_TENSOR_BYTES, MAX_TENSORS)?;
        let key_count = cursor.count("the number of metadata keys", LEAST_KEY_BYTES, MAX_KEYS)?;
        let (mut keys, mut entries) = (Vec::new(), HashMap::new());
        for _ in 0..key_count {
            let start = cursor.offset();
            let key = cursor.text("a metadata key")?;
            let what = format!("metadata \"{key}\"");
            let kind = ValueType::read(&mut cursor, &what)?;
            let at = cursor.offset();
            skip_value(&mut cursor, kind, &what, 0)?;
            if key.is_empty() || entries.insert(key.to_owned(), Entry { kind, at }).is_some() {
                return Err(cursor.refuse(start, "a metadata key", "a new name", format!("\"{key}\"")));
            }
            keys.push(key.to_owned());
        }
        let alignment = alignment(&cursor, entries.get("general.alignment"))?;
        let (mut tensors, mut names) = (Vec::new(), HashMap::new());
        for _ in 0..tensor_count {
            let start = cursor.offset();
            let tensor = tensor(&mut cursor, file, part, alignment)?;
            if tensor.name.is_empty() || names.insert(tensor.name.clone(), ()).is_some() {
                return Err(cursor.refuse(start, "a tensor name", "new", format!("\"{}\"", tensor.name)));
            }
            tensors.push(tensor);
        }
        place(&cursor, &mut tensors, alignment, bytes.len() as u64)?;
        Ok(Self { version, keys, entries, tensors })
    }
}

/// Magic and version.
fn preamble(cursor: &mut Cursor<'_>, bytes: &[u8], file: &str) -> Result<u32> {
    let first = &bytes[..bytes.len().min(4)];
    if first != b"GGUF" {
        let got = match first {
            [] => "an empty file".to_owned(),
            b"FUGG" => "\"FUGG\" (a big-endian file)".to_owned(),
            b"lmgg" | b"fmgg" | b"tjgg" => format!("\"{}\" (a file from before GGUF)", first.escape_ascii()),
            _ => format!("\"{}\"", first.escape_ascii()),
        };
        let hint = "this is no little-endian GGUF file; Hugging Face weights are loaded by their folder";
        return Err(Error::model_format(file, 0, "the first bytes", "\"GGUF\"", got, hint));
    }
    cursor.take(4, "the magic")?;
    let start = cursor.offset();
    let version = cursor.u32("the version")?;
    let fail = |got: String, hint: &str| {
        Err(Error::model_format(file, start as u64, "the GGUF version", "2 or 3, little-endian", got, hint))
    };
    match version {
        2 | 3 => Ok(version),
        // The low half is empty when the bytes of a small number are the other way round.
        v if v != 0 && v & 0xFFFF == 0 => fail(
            format!("{} in big-endian order", v.swap_bytes()),
            "big-endian files are not read: convert it with gguf-py's gguf_convert_endian",
        ),
        v => fail(
            v.to_string(),
            "version 1 is obsolete, later ones are not known here: convert the model again",
        ),
    }
}

fn alignment(cursor: &Cursor<'_>, entry: Option<&Entry>) -> Result<u64> {
    let Some(entry) = entry else { return Ok(DEFAULT_ALIGNMENT) };
    let what = "general.alignment";
    let value = match entry.kind {
        ValueType::Array => None,
        kind => read_value(&mut cursor.seek(entry.at), kind, what, 0)?.as_u64(),
    };
    match value {
        Some(value) if value.is_power_of_two() && value <= 1 << 30 => Ok(value),
        _ => {
            let got = value.map_or(format!("a value of type {:?}", entry.kind), |v| v.to_string());
            Err(cursor.refuse(entry.at, what, "a power of two", got))
        }
    }
}

/// One description, `offset` still relative to the data.
fn tensor(cursor: &mut Cursor<'_>, file: &str, part: usize, alignment: u64) -> Result<TensorInfo> {
    let name = cursor.text("a tensor name")?.to_owned();
    let what = |of: &str| format!("the {of} of tensor \"{name}\"");
    let start = cursor.offset();
    let rank = cursor.u32(&what("rank"))?;
    if !(1..=MAX_DIMS).contains(&rank) {
        return Err(cursor.refuse(start, what("rank"), format!("1 to {MAX_DIMS}"), rank));
    }
    let dims_at = cursor.offset();
    let dims = (0..rank).map(|_| cursor.u64(&what("dimensions"))).collect::<Result<Vec<_>>>()?;
    let type_at = cursor.offset();
    let id = cursor.u32(&what("type"))?;
    let Some(kind) = GgmlType::from_id(id) else {
        return Err(Error::UnsupportedModel {
            what: format!("{file}: type {id} of tensor \"{name}\""),
            hint: format!("the types that can be dequantised are {}", GgmlType::dequantizable()),
        });
    };
    let offset_at = cursor.offset();
    let offset = cursor.u64(&what("offset"))?;

    let values = dims.iter().try_fold(1u64, |product, &d| product.checked_mul(d)).filter(|&v| v > 0);
    let Some(values) = values else {
        return Err(cursor.refuse(
            dims_at,
            what("dimensions"),
            "positive, their product below 2^64",
            format!("{dims:?}"),
        ));
    };
    let (block_len, block_bytes) = (kind.block_len() as u64, kind.block_bytes() as u64);
    if !dims[0].is_multiple_of(block_len) {
        let expected = format!("a multiple of {block_len} (one block of {})", kind.name());
        return Err(cursor.refuse(dims_at, what("row length"), expected, dims[0]));
    }
    let Some(bytes) = (values / block_len).checked_mul(block_bytes) else {
        return Err(cursor.refuse(
            type_at,
            what("bytes"),
            "below 2^64",
            format!("{dims:?} of {}", kind.name()),
        ));
    };
    if !offset.is_multiple_of(alignment) {
        return Err(cursor.refuse(offset_at, what("offset"), format!("a multiple of {alignment}"), offset));
    }
    Ok(TensorInfo { name, dims, kind, part, offset, bytes, values })
}

/// Makes offsets absolute; tensors must lie inside the file and apart from each other.
fn place(cursor: &Cursor<'_>, tensors: &mut [TensorInfo], alignment: u64, file_len: u64) -> Result<()> {
    let header_end = cursor.offset();
    let data = (header_end as u64).next_multiple_of(alignment);
    for t in tensors.iter_mut() {
        let end = data.checked_add(t.offset).and_then(|start| start.checked_add(t.bytes));
        if end.is_none_or(|end| end > file_len) {
            let got = format!("{} bytes at {} + {}", t.bytes, data, t.offset);
            let expected = format!("inside the file of {file_len} bytes");
            return Err(cursor.refuse(header_end, format!("tensor \"{}\"", t.name), expected, got));
        }
        t.offset += data;
    }
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_unstable_by_key(|t| t.offset);
    for pair in order.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if a.offset + a.bytes > b.offset {
            let expected = format!("behind the end of \"{}\" at {}", a.name, a.offset + a.bytes);
            let what = format!("tensor \"{}\"", b.name);
            return Err(cursor.refuse(b.offset as usize, what, expected, b.offset));
        }
    }
    Ok(())
}

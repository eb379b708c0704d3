//! The header of one file.

use crate::tensors::TensorInfo;
use crate::types::GgmlType;
use ::safetensors::tensor::{Dtype, Metadata, TensorInfo as Stored};
use draftwood_base::{Error, Result};
use serde_json::error::Category;

/// Bytes of the length field.
const LENGTH: usize = 8;
/// Real headers have a hundred bytes per tensor; the format allows 100 MB, which would only fill memory.
const MAX_HEADER: u64 = 1 << 25;

/// A tensor whose type is not one of ours.
pub struct Unread {
    pub name: String,
    pub kind: String,
    pub offset: u64,
}

/// The tensors of one file, in the order of their data.
pub struct Header {
    pub tensors: Vec<TensorInfo>,
    pub unread: Vec<Unread>,
}

impl Header {
    pub fn read(bytes: &[u8], file: &str) -> Result<Self> {
        let text = text(bytes, file)?;
        let data = LENGTH + text.len();
        let metadata: Metadata = serde_json::from_str(text).map_err(|error| refuse(text, file, &error))?;
        let expected = bytes.len() - data;
        if metadata.data_len() != expected {
            let hint = "the file is cut off or has bytes that no tensor owns: fetch it again";
            let got = format!("{} bytes", metadata.data_len());
            let expected = format!("the {expected} bytes behind the header");
            return Err(Error::model_format(file, LENGTH as u64, "the tensors' data", expected, got, hint));
        }
        let (mut tensors, mut unread) = (Vec::new(), Vec::new());
        for name in metadata.offset_keys() {
            let Some(stored) = metadata.info(&name) else { continue };
            let (start, end) = stored.data_offsets;
            let offset = (data + start) as u64;
            let Some(kind) = kind(stored.dtype) else {
                unread.push(Unread { name, kind: stored.dtype.to_string(), offset });
                continue;
            };
            tensors.push(TensorInfo {
                name,
                dims: stored.shape.iter().rev().map(|&n| n as u64).collect(),
                kind,
                part: 0,
                offset,
                bytes: (end - start) as u64,
                values: ((end - start) / kind.block_bytes()) as u64,
            });
        }
        Ok(Self { tensors, unread })
    }
}

/// The header between its length and the data.
fn text<'a>(bytes: &'a [u8], file: &str) -> Result<&'a str> {
    let refuse = |at: u64, what: &str, expected: String, got: String, hint: &str| {
        Err(Error::model_format(file, at, what, expected, got, hint))
    };
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
        let got = format!("{} bytes", bytes.len());
        return refuse(0, "the file", "at least 8 bytes".into(), got, "fetch it again");
    };
    let length = u64::from_le_bytes(*length);
    let room = (rest.len() as u64).min(MAX_HEADER);
    let Some(header) = usize::try_from(length).ok().filter(|_| length <= room).and_then(|n| rest.get(..n))
    else {
        let hint = match bytes {
            [b'P', b'K', ..] | [0x80, ..] => {
                "this looks like a pickle: pickles can run code and are not read"
            }
            [b'G', b'G', b'U', b'F', ..] => "this looks like a GGUF file",
            [b'v', b'e', b'r', b's', b'i', b'o', b'n', ..] => {
                "this looks like the pointer of Git LFS: fetch the file that it stands for"
            }
            _ => "this is no safetensors file, or it is cut off",
        };
        return refuse(0, "the length of the header", format!("at most {room}"), length.to_string(), hint);
    };
    match std::str::from_utf8(header) {
        Ok(text) => Ok(text),
        Err(error) => {
            let at = (LENGTH + error.valid_up_to()) as u64;
            let byte = header[error.valid_up_to()];
            refuse(at, "the header", "UTF-8".into(), format!("the byte {byte:#04x}"), "the file is damaged")
        }
    }
}

/// Ours of the stored types; the others (8-bit floats, unsigned integers, truth values) are listed, but not read.
fn kind(dtype: Dtype) -> Option<GgmlType> {
    Some(match dtype {
        Dtype::F32 => GgmlType::F32,
        Dtype::F16 => GgmlType::F16,
        Dtype::BF16 => GgmlType::BF16,
        Dtype::F64 => GgmlType::F64,
        Dtype::I8 => GgmlType::I8,
        Dtype::I16 => GgmlType::I16,
        Dtype::I32 => GgmlType::I32,
        Dtype::I64 => GgmlType::I64,
        _ => return None,
    })
}

/// What the crate refused, with the place in the file.
fn refuse(text: &str, file: &str, error: &serde_json::Error) -> Error {
    // Its own checks come after the parser and have no place.
    if error.classify() == Category::Data && error.line() == 0 {
        let culprit = culprit(text);
        let (name, problem) = culprit.map_or((None, error.to_string()), |(n, p)| (Some(n), p));
        let at = name.as_ref().and_then(|name| find(text, name)).unwrap_or(0);
        let what = name.map_or("the tensors".into(), |name| format!("tensor \"{name}\""));
        let expected =
            "described by a type, a shape, and the place of that many bytes right behind the tensor before";
        return Error::model_format(
            file,
            (LENGTH + at) as u64,
            what,
            expected,
            format!("an error ({problem})"),
            "",
        );
    }
    // Lines and columns count from one; a column counts bytes.
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let at = (LENGTH + before + error.column().saturating_sub(1)) as u64;
    let got = format!("an error ({error})");
    Error::model_format(file, at, "the header", "a JSON object of tensors", got, "the file is damaged")
}

/// The first tensor that is wrong by itself or does not begin where the one before ends.
fn culprit(text: &str) -> Option<(String, String)> {
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let mut tensors = Vec::new();
    for (name, value) in header {
        if name != "__metadata__" {
            tensors.push((name, serde_json::from_value::<Stored>(value).ok()?));
        }
    }
    tensors.sort_by_key(|(_, stored)| stored.data_offsets);
    let mut next = 0;
    for (name, mut stored) in tensors {
        let (start, end) = stored.data_offsets;
        if start != next || end < start {
            return Some((name, format!("bytes {start} to {end}, where byte {next} comes next")));
        }
        next = end;
        let described = format!("{} bytes for {} {:?}", end - start, stored.dtype, stored.shape);
        stored.data_offsets = (0, end - start);
        if Metadata::new(None, vec![(name.clone(), stored)]).is_err() {
            return Some((name, described));
        }
    }
    None
}

/// Where the name of a tensor stands in the header.
fn find(text: &str, name: &str) -> Option<usize> {
    text.find(&serde_json::to_string(name).ok()?)
}

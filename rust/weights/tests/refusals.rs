//! Each way of being no sound GGUF file, and the words that it gets.

mod common;

use common::{File, Folder, Meta, Stored};
use draftwood_base::Error;
use draftwood_weights::{GgmlType, GgufFile, Value};

fn refused(bytes: Vec<u8>) -> Error {
    GgufFile::from_bytes("x.gguf", bytes).unwrap_err()
}

/// The refusal is a `ModelFormat` of this file whose text has all `words`.
#[track_caller]
fn assert_format(error: &Error, words: &[&str]) {
    assert!(matches!(error, Error::ModelFormat { .. }), "{error}");
    let text = error.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "no {word:?} in {text}"));
}

fn tensor(dims: &[u64], kind: GgmlType, bytes: usize) -> Stored {
    Stored::new("w", dims, kind, vec![0; bytes])
}

fn file(tensor: Stored) -> Vec<u8> {
    File::default().and(tensor).write()
}

#[test]
fn other_kinds_of_files() {
    assert_format(&refused(vec![]), &["x.gguf: at byte 0", "got an empty file"]);
    assert_format(&refused(b"GG".to_vec()), &["the first bytes must be \"GGUF\", got \"GG\""]);
    assert_format(&refused(b"\x80\x02}q\x00".to_vec()), &["got \"\\x80\\x02}q\""]);
    assert_format(&refused(b"FUGG\0\0\0\x03".to_vec()), &["big-endian"]);
    assert_format(&refused(b"tjgg\x03\0\0\0".to_vec()), &["from before GGUF"]);
}

#[test]
fn versions() {
    for version in [2, 3] {
        assert_eq!(
            GgufFile::from_bytes("", File { version, ..File::default() }.write()).unwrap().version(),
            version
        );
    }
    for version in [0, 1, 4, 1 << 31] {
        assert_format(
            &refused(File { version, ..File::default() }.write()),
            &["at byte 4", "version must be 2 or 3"],
        );
    }
    let big = File { version: 3u32.swap_bytes(), ..File::default() }.write();
    assert_format(&refused(big), &["got 3 in big-endian order", "gguf_convert_endian"]);
}

#[test]
fn counts_and_lengths_beyond_the_file() {
    let sound = File::default().with("key", Meta::Str("value".into())).write();
    for (at, word) in [(8, "number of tensors"), (16, "number of metadata keys"), (24, "a metadata key")] {
        for huge in [u64::MAX, 1 << 63, 1 << 40, 1000] {
            let mut bytes = sound.clone();
            bytes[at..at + 8].copy_from_slice(&huge.to_le_bytes());
            assert_format(&refused(bytes), &[&format!("at byte {at}"), word, &format!("got {huge}")]);
        }
    }
    let array = File::default().with("key", Meta::Array(8, vec![])).write();
    let mut bytes = array.clone();
    let at = bytes.len() - 8;
    bytes[at..].copy_from_slice(&(u64::MAX / 8).to_le_bytes());
    assert_format(&refused(bytes), &["the length of metadata \"key\" must be at most 0"]);
}

#[test]
fn keys_and_values() {
    let twice = File::default().with("a", Meta::U8(1)).with("a", Meta::U8(2)).write();
    assert_format(&refused(twice), &["a metadata key must be a new name, got \"a\""]);
    assert_format(&refused(File::default().with("", Meta::U64(1)).write()), &["got \"\""]);
    let mut bytes = File::default().with("a", Meta::Bool(true)).write();
    *bytes.last_mut().unwrap() = 2;
    assert_format(&refused(bytes), &["metadata \"a\" must be a bool, 0 or 1, got 2"]);
    let mut bytes = File::default().with("ab", Meta::U64(0)).write();
    bytes[33] = 0xFF;
    assert_format(&refused(bytes.clone()), &["at byte 33", "UTF-8, got \"\\xff\""]);
    bytes[33] = b'b';
    bytes[34] = 13;
    assert_format(&refused(bytes), &["the type of metadata \"ab\" must be 0 to 12, got 13"]);

    let mut nested = Meta::Array(0, vec![]);
    for _ in 0..3 {
        nested = Meta::Array(9, vec![nested]);
    }
    assert!(GgufFile::from_bytes("", File::default().with("a", nested.clone()).write()).is_ok());
    let deeper = File::default().with("a", Meta::Array(9, vec![nested])).write();
    assert_format(&refused(deeper), &["nested at most 4 deep"]);
}

#[test]
fn a_value_that_is_no_text_leaves_the_rest_readable() {
    let mut bytes =
        File::default().with("a", Meta::Str("xy".into())).with("b", Meta::Str("fine".into())).write();
    let at = 24 + 9 + 4 + 8;
    bytes[at] = 0xC0;
    let file = GgufFile::from_bytes("x.gguf", bytes).unwrap();
    assert_format(
        &file.get("a").err().unwrap(),
        &[&format!("at byte {at}"), "metadata \"a\" must be UTF-8", "\\xc0y"],
    );
    assert!(matches!(file.get("b"), Ok(Some(Value::Str("fine")))));
    assert!(matches!(file.get("c"), Ok(None)));
}

#[test]
fn alignment() {
    for bad in [Meta::U32(0), Meta::U32(24), Meta::Str("32".into()), Meta::I32(-32), Meta::U64(1 << 40)] {
        let bytes = File::default().with("general.alignment", bad).write();
        assert_format(&refused(bytes), &["general.alignment must be a power of two"]);
    }
    for alignment in [1, 8, 256] {
        let file =
            File { alignment, ..File::default() }.with("general.alignment", Meta::U32(alignment as u32));
        let bytes = file.and(Stored::floats("a", &[1.0])).and(Stored::floats("b", &[2.0])).write();
        let file = GgufFile::from_bytes("", bytes).unwrap();
        let mut out = [0.0];
        file.tensor("b").unwrap().dequantize(&mut out).unwrap();
        assert_eq!(out, [2.0], "alignment {alignment}");
    }
}

#[test]
fn tensors() {
    use GgmlType::{F32, Q4_K, Q8_0};
    let of = |t| refused(file(t));
    assert_format(&of(tensor(&[], F32, 4)), &["the rank of tensor \"w\" must be 1 to 4, got 0"]);
    assert_format(&of(tensor(&[1; 5], F32, 4)), &["got 5"]);
    assert_format(&of(tensor(&[4, 0], F32, 16)), &["positive", "got [4, 0]"]);
    assert_format(&of(tensor(&[1 << 32, 1 << 32], F32, 16)), &["product below 2^64"]);
    assert_format(&of(tensor(&[1 << 62], F32, 16)), &["the bytes of tensor \"w\" must be below 2^64"]);
    assert_format(
        &of(tensor(&[48, 2], Q8_0, 102)),
        &["row length", "a multiple of 32 (one block of Q8_0), got 48"],
    );
    assert_format(&of(tensor(&[64], Q4_K, 144)), &["a multiple of 256"]);
    assert_format(&of(tensor(&[32, 2], Q8_0, 67)), &["tensor \"w\" must be inside the file of 163 bytes"]);
    let off = |offset| Stored { offset: Some(offset), ..tensor(&[1], F32, 4) };
    assert_format(&of(off(4)), &["the offset of tensor \"w\" must be a multiple of 32, got 4"]);
    assert_format(&of(off(32)), &["inside the file"]);
    assert_format(&of(off(u64::MAX - 31)), &["inside the file"]);

    let two = File::default().and(Stored::floats("w", &[1.0])).and(Stored::floats("w", &[1.0]));
    assert_format(&refused(two.write()), &["a tensor name must be new, got \"w\""]);
    let mut two = File::default().and(tensor(&[16], F32, 64)).and(Stored::floats("v", &[1.0]));
    two.tensors[1].offset = Some(32);
    assert_format(&refused(two.write()), &["tensor \"v\" must be behind the end of \"w\""]);
    two.tensors[1].offset = Some(0);
    assert_format(&refused(two.write()), &["must be behind the end of"]);
}

#[test]
fn types_that_are_not_read() {
    let mut bytes = file(tensor(&[32], GgmlType::Q8_0, 34));
    let at = bytes.iter().rposition(|&b| b == 8).unwrap();
    bytes[at] = 99;
    let error = refused(bytes);
    assert!(matches!(error, Error::UnsupportedModel { .. }));
    assert!(error.to_string().contains("type 99 of tensor \"w\" is not supported"), "{error}");

    let opened = GgufFile::from_bytes("x.gguf", file(tensor(&[256], GgmlType::Q6_K, 210))).unwrap();
    let error = opened.tensor("w").unwrap().dequantize(&mut [0.0; 256]).unwrap_err();
    assert!(matches!(error, Error::UnsupportedModel { .. }));
    assert!(error.to_string().contains("x.gguf: type Q6_K of tensor \"w\" is not supported"), "{error}");
}

#[test]
fn values_that_are_not_finite() {
    let mut blocks = vec![0; 34 * 3];
    blocks[34 * 2 + 1] = 0xFC;
    let bytes = file(Stored::new("w", &[32, 3], GgmlType::Q8_0, blocks));
    let opened = GgufFile::from_bytes("x.gguf", bytes).unwrap();
    let w = opened.tensor("w").unwrap();
    let error = w.dequantize(&mut [0.0; 96]).unwrap_err();
    let at = w.offset + 68;
    assert_format(
        &error,
        &[&format!("at byte {at}"), "value 64 of tensor \"w\" (Q8_0) must be finite, got NaN"],
    );
    assert!(matches!(w.dequantize(&mut [0.0; 95]), Err(Error::InvalidArgument(_))));
}

#[test]
fn paths() {
    for path in ["/no/such/file.gguf", "/", "/dev/null"] {
        let error = GgufFile::open(path).unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument(m) if m.what == "path"), "{error}");
        assert!(error.to_string().contains(path), "{error}");
    }
    let folder = Folder::new("paths");
    assert_format(&GgufFile::open(folder.write("empty.gguf", b"")).unwrap_err(), &["got an empty file"]);
}

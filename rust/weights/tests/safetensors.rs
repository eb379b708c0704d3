//! safetensors: sound files and folders read as written, each way of being none is refused with its place.

mod common;

use common::Folder;
use common::damage::{DAMAGES_PER_FILE, damage, damaged_files};
use common::reference::reference;
use draftwood_base::Error;
use draftwood_weights::{GgmlType, SafeTensors};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::cell::Cell;

/// A tensor to write: name, type as the format spells it, shape, bytes.
type Stored = (String, &'static str, Vec<u64>, Vec<u8>);

fn stored(name: &str, kind: &'static str, shape: &[u64], bytes: Vec<u8>) -> Stored {
    (name.into(), kind, shape.into(), bytes)
}

fn floats(name: &str, values: &[f32]) -> Stored {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    stored(name, "F32", &[values.len() as u64], bytes)
}

fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn write(tensors: &[Stored], padding: usize) -> Vec<u8> {
    let (mut entries, mut data) = (vec![r#""__metadata__":{"format":"pt"}"#.to_owned()], Vec::new());
    for (name, kind, shape, bytes) in tensors {
        let (start, end) = (data.len(), data.len() + bytes.len());
        data.extend(bytes);
        entries.push(format!(
            r#""{name}":{{"dtype":"{kind}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
    }
    let header = format!("{{{}}}{}", entries.join(","), " ".repeat(padding));
    with_header(&header, &data)
}

#[track_caller]
fn assert_format(error: &Error, words: &[&str]) {
    assert!(matches!(error, Error::ModelFormat { .. }), "{error}");
    let text = error.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "no {word:?} in {text}"));
}

#[track_caller]
fn refused(bytes: Vec<u8>, words: &[&str]) {
    assert_format(&SafeTensors::from_bytes("x.safetensors", bytes).unwrap_err(), words);
}

#[test]
fn values_shapes_and_places() {
    let tensors = [
        floats("a", &[1.0, -2.5]),
        stored("b", "BF16", &[2, 3], [0x80, 0x3F].repeat(6)),
        stored("c", "F16", &[], vec![0x00, 0xC0]),
        stored("d", "F8_E4M3", &[2], vec![1, 2]),
        stored("e", "F32", &[0, 4], vec![]),
    ];
    let file = SafeTensors::from_bytes("x", write(&tensors, 3)).unwrap();
    let values = |name: &str| {
        let tensor = file.tensor(name).unwrap();
        let mut out = vec![f32::NAN; tensor.values as usize];
        tensor.dequantize(&mut out).unwrap();
        (tensor.dims.clone(), out)
    };
    assert_eq!(values("a"), (vec![2], vec![1.0, -2.5]));
    assert_eq!(values("b"), (vec![3, 2], vec![1.0; 6]));
    assert_eq!(values("c"), (vec![], vec![-2.0]));
    assert_eq!(values("e"), (vec![4, 0], vec![]));
    let set = file.weights();
    assert_eq!((set.len(), set.bytes()), (4, 8 + 12 + 2));
    assert_eq!(set.unread().collect::<Vec<_>>(), [("d", "F8_E4M3")]);
    let error = set.require("d").err().unwrap();
    assert!(matches!(error, Error::UnsupportedModel { .. }));
    assert!(error.to_string().contains("x: type F8_E4M3 of tensor \"d\""), "{error}");
    assert_format(&set.require("f").err().unwrap(), &["tensor \"f\" must be in the file, got none"]);
}

#[test]
fn values_that_are_not_finite() {
    let file = SafeTensors::from_bytes("x", write(&[floats("w", &[0.0, f32::INFINITY])], 0)).unwrap();
    let w = file.tensor("w").unwrap();
    let error = w.dequantize(&mut [0.0; 2]).unwrap_err();
    let at = format!("at byte {}", w.offset + 4);
    assert_format(&error, &[&at, "value 1 of tensor \"w\" (F32) must be finite, got inf"]);
}

#[test]
fn other_kinds_of_files() {
    refused(vec![], &["x.safetensors: at byte 0", "at least 8 bytes, got 0 bytes"]);
    refused(b"PK\x03\x04 a zip file".to_vec(), &["the length of the header", "pickle"]);
    refused(b"GGUF\x03\0\0\0\x01".to_vec(), &["GGUF"]);
    refused(b"version https://git-lfs.github.com/spec/v1".to_vec(), &["Git LFS"]);
    refused(vec![0xFF; 64], &["at most 56, got 18446744073709551615"]);
    let mut long = vec![b' '; (1 << 25) + 100];
    long[..8].copy_from_slice(&((1u64 << 25) + 1).to_le_bytes());
    refused(long, &["at most 33554432"]);
}

#[test]
fn headers() {
    let one = |entry: &str| with_header(&format!(r#"{{"w":{entry}}}"#), &[0; 8]);
    refused(with_header("", &[]), &["at byte 8", "a JSON object of tensors"]);
    refused(with_header("{\"\u{e9}", &[]), &["EOF"]);
    let mut bytes = with_header("{\"ab\":1}", &[]);
    bytes[10] = 0xFF;
    refused(bytes, &["at byte 10: the header must be UTF-8, got the byte 0xff"]);
    refused(with_header("{\n\"w\": }", &[]), &["at byte 15"]);
    refused(with_header(&"[".repeat(10_000), &[]), &["the header must be"]);
    refused(one(r#"{"dtype":"F31","shape":[2],"data_offsets":[0,8]}"#), &["F31"]);
    refused(one(r#"{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}"#), &["-2"]);
    refused(one(r#"{"dtype":"F32","shape":[2]}"#), &["data_offsets"]);
    let wrong = r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#;
    refused(one(wrong), &["at byte 9: tensor \"w\" must be", "8 bytes for F32 [3]"]);
    let huge = format!(r#"{{"dtype":"F32","shape":[{},{}],"data_offsets":[0,8]}}"#, u64::MAX, u64::MAX);
    refused(one(&huge), &["tensor \"w\"", "8 bytes for F32"]);
    // Eight of the largest that the check of one tensor lets through: with the header they pass 2^64.
    let end = (1u64 << 61) - 4;
    let huge = |i: u64| {
        let (start, end) = (i * end, (i + 1) * end);
        format!(r#""{i}":{{"dtype":"F32","shape":[{}],"data_offsets":[{start},{end}]}}"#, (end - start) / 4)
    };
    let header = |n| format!("{{{}}}", (0..n).map(huge).collect::<Vec<_>>().join(","));
    refused(with_header(&header(1), &[0; 8]), &["data must be the 8 bytes behind", &end.to_string()]);
    refused(with_header(&header(8), &[0; 8]), &["data must be the 8 bytes behind", &(8 * end).to_string()]);
    refused(one(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#), &["\"w\"", "byte 0 comes next"]);
    refused(one(r#"{"dtype":"F32","shape":[0],"data_offsets":[8,0]}"#), &["\"w\"", "byte 0 comes next"]);
    refused(one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#), &["got 4 bytes"]);
    let overlap = r#"{"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    refused(with_header(overlap, &[0; 8]), &["tensor \"w\"", "bytes 4 to 8, where byte 8 comes next"]);
    let mut cut = write(&[floats("w", &[1.0; 8])], 0);
    cut.truncate(cut.len() - 5);
    refused(cut, &["27 bytes behind the header, got 32 bytes", "cut off"]);
}

#[test]
fn folders() {
    let folder = Folder::new("safetensors-folders");
    let error = SafeTensors::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
    assert!(error.to_string().contains("model.safetensors.index.json"), "{error}");
    assert!(matches!(SafeTensors::open("/no/such/file"), Err(Error::InvalidArgument(_))));

    folder.write("1.safetensors", &write(&[floats("a", &[1.0]), floats("b", &[2.0])], 0));
    let second = folder.write("2.safetensors", &write(&[floats("c", &[3.0])], 0));
    let index = |c: &str| {
        let text =
            format!(r#"{{"weight_map":{{"a":"1.safetensors","b":"1.safetensors","{c}":"2.safetensors"}}}}"#);
        folder.write("model.safetensors.index.json", text.as_bytes());
    };
    index("c");
    let file = SafeTensors::open(folder.path()).unwrap();
    assert_eq!(file.files().len(), 2);
    for (name, value, part) in [("a", 1.0, 0), ("b", 2.0, 0), ("c", 3.0, 1)] {
        let (tensor, mut out) = (file.tensor(name).unwrap(), [0.0]);
        tensor.dequantize(&mut out).unwrap();
        // Memory that was given back is read from the file again.
        tensor.release();
        assert_eq!(tensor.bytes(), f32::to_le_bytes(value));
        assert_eq!((out[0], tensor.part, tensor.kind), (value, part, GgmlType::F32));
    }
    let words = |words: &[&str]| assert_format(&SafeTensors::open(folder.path()).unwrap_err(), words);
    index("d");
    words(&["2.safetensors", "tensor \"d\" must be in 2.safetensors", "got none"]);
    index("c");
    folder.write("2.safetensors", &write(&[floats("c", &[3.0]), floats("a", &[3.0])], 0));
    words(&["2.safetensors", "tensor \"a\"", "a second one beside that in", "1.safetensors"]);
    std::fs::remove_file(second).unwrap();
    words(&["index.json", "no file", "2.safetensors"]);
    folder.write("model.safetensors", &write(&[floats("whole", &[1.0])], 0));
    assert!(SafeTensors::open(folder.path()).unwrap().tensor("whole").is_some());
}

fn tensor() -> impl Strategy<Value = (&'static str, Vec<u64>, Vec<u8>)> {
    let kinds = vec![("F32", 4), ("F16", 2), ("BF16", 2), ("I64", 8), ("U8", 1), ("BOOL", 1)];
    (prop::sample::select(kinds), vec(0u64..8, 0..4)).prop_flat_map(|((kind, width), shape)| {
        let bytes = width * shape.iter().product::<u64>() as usize;
        vec(any::<u8>(), bytes).prop_map(move |bytes| (kind, shape.clone(), bytes))
    })
}

fn read_everything(file: &SafeTensors) {
    for tensor in file.tensors() {
        assert_eq!(tensor.bytes().len() as u64, tensor.bytes);
        assert_eq!(tensor.values * tensor.kind.block_bytes() as u64, tensor.bytes);
        assert_eq!(tensor.dims.iter().product::<u64>(), tensor.values);
        let mut out = vec![0.0; tensor.values as usize];
        match tensor.dequantize(&mut out) {
            Ok(()) => {
                for (i, value) in out.iter().enumerate() {
                    assert_eq!(value.to_bits(), reference(tensor.kind, tensor.bytes(), i).to_bits());
                }
            }
            Err(Error::ModelFormat { .. }) => assert!(out.iter().any(|v| !v.is_finite())),
            Err(Error::UnsupportedModel { .. }) => assert!(!tensor.kind.can_dequantize()),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn sound_files_read_back_and_damaged_ones_are_refused_or_read() {
    let config = Config { cases: damaged_files().div_ceil(DAMAGES_PER_FILE), ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let damages = vec(vec((any::<u8>(), any::<u16>(), any::<u64>()), 1..4), DAMAGES_PER_FILE as usize);
    let (refused, read) = (Cell::new(0u32), Cell::new(0u32));
    let outcome = runner.run(&(vec(tensor(), 1..5), 0usize..20, damages), |(tensors, padding, damages)| {
        let named: Vec<Stored> = (0..)
            .zip(tensors)
            .map(|(i, (kind, shape, bytes))| (format!("w.{i}"), kind, shape, bytes))
            .collect();
        let bytes = write(&named, padding);
        let sound = SafeTensors::from_bytes("sound", bytes.clone())
            .map_err(|error| TestCaseError::fail(format!("{error}")))?;
        read_everything(&sound);
        for (name, kind, shape, stored) in &named {
            match sound.tensor(name) {
                Some(tensor) => {
                    prop_assert_eq!(tensor.bytes(), stored.as_slice());
                    prop_assert!(tensor.dims.iter().rev().eq(shape));
                    prop_assert_eq!(tensor.kind.name(), *kind);
                }
                None => prop_assert!(sound.weights().unread().any(|u| u == (name.as_str(), *kind))),
            }
        }
        for changes in damages {
            let mut bytes = bytes.clone();
            changes.into_iter().for_each(|(kind, at, value)| damage(&mut bytes, kind, at, value));
            match SafeTensors::from_bytes("damaged", bytes) {
                Ok(file) => {
                    read_everything(&file);
                    read.set(read.get() + 1);
                }
                Err(Error::ModelFormat { .. }) => refused.set(refused.get() + 1),
                Err(other) => return Err(TestCaseError::fail(format!("{other}"))),
            }
        }
        Ok(())
    });
    outcome.unwrap();
    // Damage that is always noticed, or never, would test one half only.
    let (refused, read) = (refused.get(), read.get());
    assert!(
        refused + read >= damaged_files() && refused.min(read) * 20 > refused + read,
        "{refused}, {read}"
    );
}

//! Random sound files read back as written; random damage to them gives a typed error or a file that can be read.
//!
//! `DRAFTWOOD_FUZZ_CASES` sets the number of damaged files (default 100,000); the same cases come every time.

mod common;

use common::damage::{DAMAGES_PER_FILE, damage, damaged_files};
use common::reference::reference;
use common::{File, Meta, Stored};
use draftwood_base::Error;
use draftwood_weights::{Array, GgmlType, GgufFile, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::cell::Cell;

fn scalar() -> impl Strategy<Value = Meta> {
    prop_oneof![
        any::<u8>().prop_map(Meta::U8),
        any::<i8>().prop_map(Meta::I8),
        any::<u16>().prop_map(Meta::U16),
        any::<i16>().prop_map(Meta::I16),
        any::<u32>().prop_map(Meta::U32),
        any::<i32>().prop_map(Meta::I32),
        any::<u32>().prop_map(Meta::F32),
        any::<bool>().prop_map(Meta::Bool),
        vec(any::<char>(), 0..8).prop_map(|c| Meta::Str(c.into_iter().collect())),
        any::<u64>().prop_map(Meta::U64),
        any::<i64>().prop_map(Meta::I64),
        any::<u64>().prop_map(Meta::F64),
    ]
}

/// Scalars, arrays of one scalar type, and arrays of such arrays.
fn meta() -> impl Strategy<Value = Meta> {
    let array = (scalar(), 0usize..5).prop_map(|(v, n)| Meta::Array(v.id(), vec![v; n])).boxed();
    prop_oneof![
        3 => scalar(),
        2 => array.clone(),
        1 => vec(array, 0..4).prop_map(|arrays| Meta::Array(9, arrays)),
    ]
}

fn tensor() -> impl Strategy<Value = (Vec<u64>, GgmlType, Vec<u8>)> {
    let kinds = GgmlType::ALL.iter().copied().filter(|kind| kind.can_dequantize());
    let kinds = prop::sample::select(kinds.collect::<Vec<_>>());
    (kinds, 1u64..4, vec(1u64..4, 0..3)).prop_flat_map(|(kind, blocks, rest)| {
        let count = (blocks * rest.iter().product::<u64>()) as usize;
        let dims = [vec![blocks * kind.block_len() as u64], rest].concat();
        vec(any::<u8>(), count * kind.block_bytes()).prop_map(move |bytes| (dims.clone(), kind, bytes))
    })
}

fn file() -> impl Strategy<Value = File> {
    (2u32..4, prop::sample::select(vec![8u64, 32, 64]), vec(meta(), 0..6), vec(tensor(), 0..4)).prop_map(
        |(version, alignment, meta, tensors)| {
            let mut file = File { version, alignment, ..File::default() }
                .with("general.alignment", Meta::U32(alignment as u32));
            for (i, value) in meta.into_iter().enumerate() {
                file = file.with(&format!("key.{i}"), value);
            }
            for (i, (dims, kind, bytes)) in tensors.into_iter().enumerate() {
                file = file.and(Stored::new(&format!("blk.{i}.weight"), &dims, kind, bytes));
            }
            file
        },
    )
}

fn read_back(value: &Value<'_>) -> Result<Meta, Error> {
    let items =
        |array: &Array<'_>| array.iter().map(|item| read_back(&item?)).collect::<Result<Vec<_>, Error>>();
    Ok(match value {
        Value::U8(v) => Meta::U8(*v),
        Value::I8(v) => Meta::I8(*v),
        Value::U16(v) => Meta::U16(*v),
        Value::I16(v) => Meta::I16(*v),
        Value::U32(v) => Meta::U32(*v),
        Value::I32(v) => Meta::I32(*v),
        Value::F32(v) => Meta::F32(v.to_bits()),
        Value::Bool(v) => Meta::Bool(*v),
        Value::Str(v) => Meta::Str((*v).into()),
        Value::Array(array) => Meta::Array(array.item_type() as u32, items(array)?),
        Value::U64(v) => Meta::U64(*v),
        Value::I64(v) => Meta::I64(*v),
        Value::F64(v) => Meta::F64(v.to_bits()),
    })
}

fn assert_reads_as(file: &File, read: &GgufFile) {
    assert_eq!(read.version(), file.version);
    assert!(read.keys().iter().eq(file.meta.iter().map(|(key, _)| key)));
    for (key, value) in &file.meta {
        assert_eq!(&read_back(&read.get(key).unwrap().unwrap()).unwrap(), value, "{key}");
    }
    assert_eq!(read.tensors().len(), file.tensors.len());
    for (got, stored) in read.tensors().zip(&file.tensors) {
        assert_eq!((&got.name, &got.dims, got.kind), (&stored.name, &stored.dims, stored.kind));
        assert_eq!(got.bytes(), stored.bytes);
        let expected: Vec<f32> =
            (0..got.values as usize).map(|i| reference(stored.kind, &stored.bytes, i)).collect();
        let mut out = vec![0.0; expected.len()];
        match got.dequantize(&mut out) {
            Ok(()) => {
                assert!(
                    out.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{}",
                    got.kind.name()
                );
                assert!(expected.iter().all(|v| v.is_finite()));
            }
            Err(error) => {
                let bad = expected.iter().position(|v| !v.is_finite()).expect("a finite tensor");
                assert!(error.to_string().contains(&format!("value {bad} of tensor")), "{error}");
            }
        }
    }
}

/// Everything that a caller can ask of a file; only typed errors may come of it.
fn read_everything(file: &GgufFile) {
    let typed = |error: Error| match error {
        Error::ModelFormat { .. } | Error::UnsupportedModel { .. } => {}
        other => panic!("{other}"),
    };
    for key in file.keys() {
        match file.get(key) {
            Ok(value) => drop(read_back(&value.expect("a listed key")).map_err(typed)),
            Err(error) => typed(error),
        }
    }
    for tensor in file.tensors() {
        assert_eq!(tensor.bytes().len() as u64, tensor.bytes);
        let mut out = vec![0.0; tensor.values as usize];
        tensor.dequantize(&mut out).unwrap_or_else(typed);
    }
}

#[test]
fn sound_files_read_back_and_damaged_ones_are_refused_or_read() {
    let config = Config { cases: damaged_files().div_ceil(DAMAGES_PER_FILE), ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let damages = vec(vec((any::<u8>(), any::<u16>(), any::<u64>()), 1..4), DAMAGES_PER_FILE as usize);
    let (refused, read) = (Cell::new(0u32), Cell::new(0u32));
    let outcome = runner.run(&(file(), damages), |(file, damages)| {
        let bytes = file.write();
        let sound = GgufFile::from_bytes("sound.gguf", bytes.clone())
            .map_err(|error| TestCaseError::fail(format!("{error}")))?;
        assert_reads_as(&file, &sound);
        for changes in damages {
            let mut bytes = bytes.clone();
            changes.into_iter().for_each(|(kind, at, value)| damage(&mut bytes, kind, at, value));
            match GgufFile::from_bytes("damaged.gguf", bytes) {
                Ok(file) => {
                    read_everything(&file);
                    read.set(read.get() + 1);
                }
                Err(Error::ModelFormat { .. } | Error::UnsupportedModel { .. }) => {
                    refused.set(refused.get() + 1)
                }
                Err(other) => return Err(TestCaseError::fail(format!("{other}"))),
            }
        }
        Ok(())
    });
    outcome.unwrap();
    // Damage that is always noticed, or never, would test one half only.
    let (refused, read) = (refused.get(), read.get());
    assert!(
        refused + read >= damaged_files() && refused.min(read) * 10 > refused + read,
        "{refused}, {read}"
    );
}

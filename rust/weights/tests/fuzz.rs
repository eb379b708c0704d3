//! Random sound files read back as written; random damage to them gives a typed error or a file that can be read.
//!
//! `DRAFTWOOD_FUZZ_CASES` sets the number of damaged files (default 100,000); the same cases come every time.

mod common;

use common::{File, Meta, Stored};
use draftwood_base::Error;
use draftwood_weights::{Array, GgmlType, GgufFile, Value};
use half::{bf16, f16};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::cell::Cell;

const DAMAGES_PER_FILE: u32 = 50;

fn damaged_files() -> u32 {
    std::env::var("DRAFTWOOD_FUZZ_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(100_000)
}

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
    use GgmlType::{BF16, F16, F32, Q4_1, Q8_0};
    let kinds = prop::sample::select(vec![F32, F16, BF16, Q4_1, Q8_0]);
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

/// One value after the other, straight from the description of each type.
fn reference(kind: GgmlType, bytes: &[u8], i: usize) -> f32 {
    let half = |at: usize| f16::from_bits(u16::from_le_bytes([bytes[at], bytes[at + 1]])).to_f32_const();
    let (block, j) = (i / kind.block_len() * kind.block_bytes(), i % kind.block_len());
    match kind {
        GgmlType::F32 => f32::from_le_bytes(bytes[block..block + 4].try_into().unwrap()),
        GgmlType::F16 => half(block),
        GgmlType::BF16 => bf16::from_le_bytes([bytes[block], bytes[block + 1]]).to_f32_const(),
        GgmlType::Q8_0 => half(block) * f32::from(bytes[block + 2 + j] as i8),
        GgmlType::Q4_1 => {
            let byte = bytes[block + 4 + j % 16];
            half(block) * f32::from(if j < 16 { byte & 15 } else { byte >> 4 }) + half(block + 2)
        }
        _ => unreachable!(),
    }
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

/// One change: a flipped bit, a field of 4 or 8 bytes replaced, bytes cut out, copied in, or cut off the end.
fn damage(bytes: &mut Vec<u8>, kind: u8, at: u16, value: u64) {
    if bytes.is_empty() {
        return;
    }
    let at = usize::from(at) % bytes.len();
    let extreme = [0, 1, 2, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 32, u64::MAX / 8, 1 << 63, u64::MAX, value % 64];
    let field = extreme[value as usize % extreme.len()].to_le_bytes();
    let end = |n: usize| (at + n).min(bytes.len());
    match kind % 6 {
        0 => bytes[at] ^= 1 << (value % 8),
        1 => {
            let end = end(8);
            bytes[at..end].copy_from_slice(&field[..end - at]);
        }
        2 => {
            let end = end(4);
            bytes[at..end].copy_from_slice(&field[..end - at]);
        }
        3 => drop(bytes.drain(at..end(1 + value as usize % 16))),
        4 => {
            let copy = bytes[at..end(1 + value as usize % 64)].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => bytes.truncate(at),
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

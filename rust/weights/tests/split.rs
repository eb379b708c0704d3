//! Split sets load whole from their first file; anything else about them is an error that names the file.

mod common;

use common::{File, Folder, Meta, Stored};
use draftwood_base::Error;
use draftwood_weights::GgufFile;
use std::path::PathBuf;

fn part(number: u16, count: u16, total: i32, tensor: &str, value: f32) -> File {
    let mut file = File::default();
    if number == 0 {
        file = file.with("general.architecture", Meta::Str("llama".into()));
    }
    file.with("split.no", Meta::U16(number))
        .with("split.count", Meta::U16(count))
        .with("split.tensors.count", Meta::I32(total))
        .and(Stored::floats(tensor, &[value]))
}

/// Writes the parts of a set of three; returns their paths.
fn write(folder: &Folder, parts: [File; 3]) -> Vec<PathBuf> {
    let names = (1..).map(|i| format!("m-0000{i}-of-00003.gguf"));
    names.zip(parts).map(|(name, part)| folder.write(&name, &part.write())).collect()
}

fn sound() -> [File; 3] {
    [part(0, 3, 3, "a", 1.0), part(1, 3, 3, "b", 2.0), part(2, 3, 3, "c", 3.0)]
}

#[track_caller]
fn refused(path: &PathBuf, words: &[&str]) {
    let error = GgufFile::open(path).unwrap_err();
    assert!(matches!(error, Error::ModelFormat { .. }), "{error}");
    let text = error.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "no {word:?} in {text}"));
}

#[test]
fn the_first_file_loads_all() {
    let folder = Folder::new("split-all");
    let paths = write(&folder, sound());
    let file = GgufFile::open(&paths[0]).unwrap();
    assert_eq!(file.files().map(PathBuf::from).collect::<Vec<_>>(), paths);
    assert_eq!(file.keys().len(), 4);
    for (name, value, part) in [("a", 1.0, 0), ("b", 2.0, 1), ("c", 3.0, 2)] {
        let tensor = file.tensor(name).unwrap();
        let mut out = [0.0];
        tensor.dequantize(&mut out).unwrap();
        assert_eq!((out[0], tensor.part, tensor.path()), (value, part, paths[part].to_str().unwrap()));
    }
}

#[test]
fn later_lone_and_missing_files() {
    let folder = Folder::new("split-lone");
    let paths = write(&folder, sound());
    refused(&paths[1], &["00002-of-00003", "the first of 3, got number 2", "load ", "m-00001-of-00003.gguf"]);
    let lone = folder.write("renamed.gguf", &sound()[0].write());
    refused(&lone, &["NAME-00001-of-00003.gguf", "renamed.gguf"]);
    std::fs::remove_file(&paths[2]).unwrap();
    refused(&paths[0], &["3 files side by side, got no file ", "m-00003-of-00003.gguf"]);
    let error = GgufFile::from_bytes("memory", sound()[0].write()).unwrap_err();
    assert!(matches!(error, Error::ModelFormat { .. }), "{error}");
}

#[test]
fn parts_of_different_sets() {
    let folder = Folder::new("split-mixed");
    let mut parts = sound();
    parts[2] = part(1, 3, 3, "c", 3.0);
    refused(&write(&folder, parts)[0], &["m-00003-of-00003.gguf", "split.no must be 2, got 1"]);
    let mut parts = sound();
    parts[1] = part(1, 2, 3, "b", 3.0);
    refused(&write(&folder, parts)[0], &["m-00002-of-00003.gguf", "split.count must be 3, got 2"]);
    let mut parts = sound();
    parts[1] = File::default().and(Stored::floats("b", &[1.0]));
    refused(&write(&folder, parts)[0], &["m-00002-of-00003.gguf", "split.no must be 1, got none"]);
    let mut parts = sound();
    parts[1] = part(1, 3, 3, "a", 2.0);
    refused(&write(&folder, parts)[0], &["m-00002-of-00003.gguf", "tensor \"a\"", "m-00001-of-00003.gguf"]);
    let mut parts = sound();
    parts[0] = part(0, 3, 4, "a", 2.0);
    refused(&write(&folder, parts)[0], &["number of tensors in all parts must be 4, got 3"]);
    let mut parts = sound();
    parts[0].meta[2].1 = Meta::U64(1 << 40);
    refused(&write(&folder, parts)[0], &["split.count must be a number below 100000"]);
}

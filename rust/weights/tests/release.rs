//! Memory of mapped tensors goes back to the system when a loader is done with them, and the bytes stay readable.
#![cfg(target_os = "linux")]

mod common;

use common::{File, Folder, Stored};
use draftwood_weights::GgufFile;

/// KiB of a mapped file that are in memory.
fn resident(path: &str) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(path));
    let rss =
        lines.find_map(|line| line.strip_prefix("Rss:")).unwrap_or_else(|| panic!("{path} is not mapped"));
    rss.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn released_tensors_leave_memory_and_come_back() {
    let folder = Folder::new("release");
    let values: Vec<f32> = (0..1 << 20).map(|i| i as f32).collect();
    let file = File::default().and(Stored::floats("a", &values)).and(Stored::floats("b", &values));
    let path = folder.write("x.gguf", &file.write());
    let opened = GgufFile::open(&path).unwrap();
    let (path, mut out) = (path.to_str().unwrap(), vec![0.0; values.len()]);
    for tensor in opened.tensors() {
        tensor.dequantize(&mut out).unwrap();
    }
    let both = resident(path);
    assert!(both > 8000, "{both} KiB");
    opened.tensor("a").unwrap().release();
    let one = resident(path);
    assert!(one < both - 4000, "{both} KiB, then {one}");
    opened.tensor("a").unwrap().dequantize(&mut out).unwrap();
    assert_eq!(out, values);
    assert!(resident(path) > 8000);
}

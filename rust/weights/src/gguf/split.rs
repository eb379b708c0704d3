//! Names and numbers of split sets: `NAME-00001-of-00003.gguf` and its siblings, keys `split.no`, `split.count`,
//! `split.tensors.count` (written by llama.cpp's `gguf-split`). The first file carries the metadata of the model.

use std::path::{Path, PathBuf};

/// Path of part `index` (from 0), from the path of the part `from`; None if the name isn't that of part `from` of
/// `count`.
pub fn sibling(path: &Path, from: u64, index: u64, count: u64) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(&suffix(from, count))?;
    Some(path.with_file_name(format!("{stem}{}", suffix(index, count))))
}

/// The end of the name of part `index` (from 0).
pub fn suffix(index: u64, count: u64) -> String {
    format!("-{:05}-of-{count:05}.gguf", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings() {
        let first = Path::new("/m/a-b-00001-of-00012.gguf");
        assert_eq!(sibling(first, 0, 11, 12), Some("/m/a-b-00012-of-00012.gguf".into()));
        assert_eq!(sibling(first, 1, 0, 12), None);
        assert_eq!(sibling(first, 0, 1, 13), None);
        assert_eq!(sibling(Path::new("/m/a.gguf"), 0, 1, 2), None);
    }
}

//! The bytes of one file: mapped, or owned by the caller. The only unsafe code of the crate.

use draftwood_base::{Error, Result};
use memmap2::Mmap;
use std::fs::{self, File};
use std::ops::Deref;
use std::path::Path;

/// Read-only bytes behind one slice.
pub enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl Bytes {
    /// Maps a regular file. Pipes and devices are refused before they are opened, since opening one may wait for ever.
    pub fn map(path: &Path) -> Result<Self> {
        let unreadable = |error: std::io::Error| {
            Error::invalid("path", "a readable model file", format!("{} ({error})", path.display()), "")
        };
        let about = fs::metadata(path).map_err(unreadable)?;
        if !about.is_file() {
            let kind = if about.is_dir() { "a folder" } else { "neither file nor folder" };
            return Err(Error::invalid(
                "path",
                "a regular file",
                format!("{} ({kind})", path.display()),
                "name the .gguf file itself",
            ));
        }
        if about.len() == 0 {
            return Ok(Bytes::Owned(Vec::new()));
        }
        map_file(&File::open(path).map_err(unreadable)?).map_err(unreadable)
    }
}

#[allow(unsafe_code)]
fn map_file(file: &File) -> std::io::Result<Bytes> {
    // SAFETY: the mapping is private and read-only, and lives as long as the slice taken from it. The file must not be
    // cut short by others meanwhile; that is the contract of every mapped file, and stated at `GgufFile::open`. Bytes
    // changed in place can change results but no bound: each access goes through checked cursors and slices.
    unsafe { Mmap::map(file) }.map(Bytes::Mapped)
}

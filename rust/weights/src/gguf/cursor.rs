//! Reading from untrusted bytes: nothing is taken that the file does not have, every refusal knows its offset.

use draftwood_base::{Error, Result};
use std::fmt::Display;

/// A position in the bytes of one file.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    file: &'a str,
}

const DAMAGED: &str = "the file is truncated or damaged: fetch it again";

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], file: &'a str) -> Self {
        Self { bytes, at: 0, file }
    }

    /// A cursor at `at`, or at the end if that lies behind it.
    pub fn seek(self, at: usize) -> Self {
        Self { at: at.min(self.bytes.len()), ..self }
    }

    pub fn offset(&self) -> usize {
        self.at
    }

    pub fn remaining(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The error for a field that starts at `offset`.
    pub fn refuse(
        &self,
        offset: usize,
        what: impl Into<String>,
        expected: impl Into<String>,
        got: impl Display,
    ) -> Error {
        Error::model_format(self.file, offset as u64, what, expected, got, DAMAGED)
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8]> {
        if count > self.remaining() {
            let expected =
                format!("at most {} bytes long (the file has {})", self.remaining(), self.bytes.len());
            return Err(self.refuse(self.at, what, expected, count));
        }
        let end = self.at + count as usize;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    pub fn u8(&mut self, what: &str) -> Result<u8> {
        Ok(self.array::<1>(what)?[0])
    }

    pub fn u16(&mut self, what: &str) -> Result<u16> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `least_bytes` each, `limit` at most; refused before anything is made of it.
    pub fn count(&mut self, what: &str, least_bytes: u64, limit: u64) -> Result<u64> {
        let start = self.at;
        let count = self.u64(what)?;
        let most = (self.remaining() / least_bytes).min(limit);
        if count > most {
            let expected = format!("at most {most} (the file has {} bytes)", self.bytes.len());
            return Err(self.refuse(start, what, expected, count));
        }
        Ok(count)
    }

    /// A length and as many bytes.
    pub fn string(&mut self, what: &str) -> Result<&'a [u8]> {
        let start = self.at;
        let length = self.u64(what)?;
        if length > self.remaining() {
            let expected =
                format!("at most {} bytes long (the file has {})", self.remaining(), self.bytes.len());
            return Err(self.refuse(start, what, expected, length));
        }
        self.take(length, what)
    }

    /// A string that must be UTF-8.
    pub fn text(&mut self, what: &str) -> Result<&'a str> {
        let start = self.at;
        let bytes = self.string(what)?;
        std::str::from_utf8(bytes).map_err(|error| {
            let shown = bytes[error.valid_up_to()..].iter().take(4).copied().collect::<Vec<_>>();
            let at = start + 8 + error.valid_up_to();
            self.refuse(at, what, "UTF-8", format!("\"{}\"", shown.escape_ascii()))
        })
    }
}

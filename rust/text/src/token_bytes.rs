//! The bytes that each vocabulary id stands for.

use std::sync::{Arc, OnceLock};

use draftwood_base::{Error, Result, Token};

const EXISTS: u8 = 1;
const CONTROL: u8 = 2;

/// Bytes of every vocabulary id, in one allocation that all clones share.
///
/// An id is *text* (its bytes count), *control* (end of text, turn markers: it exists and has no bytes, so it never
/// shows up in `text`), or a *hole* (a logit row without a token: it must not be drawn).
#[derive(Debug, Clone)]
pub struct TokenBytes {
    table: Arc<Table>,
}

#[derive(Debug)]
struct Table {
    bytes: Box<[u8]>,
    /// `len + 1` ends; id `i` owns `bytes[offsets[i]..offsets[i + 1]]`.
    offsets: Box<[u32]>,
    flags: Box<[u8]>,
}

impl TokenBytes {
    /// A table from tokens as a byte-level BPE vocabulary spells them (GPT-2's byte ↔ character table).
    ///
    /// A token with a character outside that table was added as plain text and stands for its own UTF-8 bytes, as
    /// in `tokenizers`' byte-level decoder. `None` is a hole; a `control` id has no bytes, whatever its spelling.
    ///
    /// # Errors
    /// `InvalidArgument` if a control id is outside the vocabulary or a hole, or if the table passes 4 GiB.
    pub fn from_byte_level<'a>(
        tokens: impl Iterator<Item = Option<&'a str>>,
        control: &[Token],
    ) -> Result<Self> {
        let table = byte_of_char();
        let mut scratch = Vec::new();
        let mut builder = Builder::default();
        for token in tokens {
            builder.push(token.map(|spelling| {
                scratch.clear();
                for c in spelling.chars() {
                    match table.get(c as usize).copied().flatten() {
                        Some(byte) => scratch.push(byte),
                        None => {
                            scratch.clear();
                            scratch.extend_from_slice(spelling.as_bytes());
                            break;
                        }
                    }
                }
                scratch.as_slice()
            }))?;
        }
        builder.finish(control)
    }

    /// A table from the raw bytes of each id; `None` is a hole.
    ///
    /// # Errors
    /// As [`TokenBytes::from_byte_level`].
    pub fn from_bytes<'a>(tokens: impl Iterator<Item = Option<&'a [u8]>>, control: &[Token]) -> Result<Self> {
        let mut builder = Builder::default();
        for token in tokens {
            builder.push(token)?;
        }
        builder.finish(control)
    }

    /// Bytes of `id`; none for control tokens, holes and ids past the end.
    #[inline]
    pub fn get(&self, id: Token) -> &[u8] {
        let (i, t) = (id as usize, &*self.table);
        if i >= t.flags.len() || t.flags[i] != EXISTS {
            return &[];
        }
        &t.bytes[t.offsets[i] as usize..t.offsets[i + 1] as usize]
    }

    /// Whether `id` is a control token.
    #[inline]
    pub fn is_control(&self, id: Token) -> bool {
        self.table.flags.get(id as usize).is_some_and(|f| f & CONTROL != 0)
    }

    /// Whether `id` has a token: text or control.
    #[inline]
    pub fn exists(&self, id: Token) -> bool {
        self.table.flags.get(id as usize).is_some_and(|f| f & EXISTS != 0)
    }

    /// Ids that the table covers, holes included.
    pub fn len(&self) -> usize {
        self.table.flags.len()
    }

    /// Whether the table covers no id.
    pub fn is_empty(&self) -> bool {
        self.table.flags.is_empty()
    }

    /// Control ids, ascending.
    pub fn control_ids(&self) -> impl Iterator<Item = Token> + '_ {
        (0..self.len() as Token).filter(|&id| self.is_control(id))
    }

    /// Ids without a token, ascending.
    pub fn holes(&self) -> impl Iterator<Item = Token> + '_ {
        (0..self.len() as Token).filter(|&id| !self.exists(id))
    }

    /// The table as bytes, for a fingerprint: per id one byte of kind (0 hole, 1 text, 3 control), the length as
    /// little-endian u32, the bytes. Holes at the end are left out, so that padded vocabularies agree.
    pub fn canonical(&self) -> Vec<u8> {
        let t = &*self.table;
        let len = t.flags.iter().rposition(|&f| f != 0).map_or(0, |last| last + 1);
        let mut out = Vec::with_capacity(t.bytes.len() + 5 * len);
        for (id, &flags) in t.flags[..len].iter().enumerate() {
            let bytes = self.get(id as Token);
            out.push(flags);
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        out
    }

    /// Text of `ids`; bytes that are no UTF-8 become U+FFFD, one per maximal subpart.
    pub fn decode(&self, ids: impl IntoIterator<Item = Token>) -> String {
        let mut bytes = Vec::new();
        for id in ids {
            bytes.extend_from_slice(self.get(id));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[derive(Default)]
struct Builder {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
    flags: Vec<u8>,
}

impl Builder {
    fn push(&mut self, token: Option<&[u8]>) -> Result<()> {
        self.offsets.push(self.end()?);
        self.bytes.extend_from_slice(token.unwrap_or_default());
        self.flags.push(if token.is_some() { EXISTS } else { 0 });
        Ok(())
    }

    fn end(&self) -> Result<u32> {
        u32::try_from(self.bytes.len()).map_err(|_| {
            Error::invalid("the vocabulary", "at most 4 GiB of token bytes", self.bytes.len(), "")
        })
    }

    fn finish(mut self, control: &[Token]) -> Result<TokenBytes> {
        self.offsets.push(self.end()?);
        for &id in control {
            match self.flags.get_mut(id as usize) {
                Some(flags) if *flags & EXISTS != 0 => *flags |= CONTROL,
                _ => {
                    let expected = format!("an id with a token, below {}", self.flags.len());
                    return Err(Error::invalid("a control id", expected, id, ""));
                }
            }
        }
        let Self { bytes, offsets, flags } = self;
        let table = Table { bytes: bytes.into(), offsets: offsets.into(), flags: flags.into() };
        Ok(TokenBytes { table: Arc::new(table) })
    }
}

/// GPT-2's table, inverted: printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards.
fn byte_of_char() -> &'static [Option<u8>; 0x144] {
    static TABLE: OnceLock<[Option<u8>; 0x144]> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = [None; 0x144];
        let mut next = 0x100;
        for byte in 0..=255u8 {
            if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
                table[byte as usize] = Some(byte);
            } else {
                table[next] = Some(byte);
                next += 1;
            }
        }
        table
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_become_bytes() {
        let tokens = [Some("Ġthe"), None, Some("Ċ"), Some("Ã©"), Some("a b"), Some("<|end|>"), Some("")];
        let t = TokenBytes::from_byte_level(tokens.into_iter(), &[5]).unwrap();
        let all: Vec<&[u8]> = (0..8).map(|i| t.get(i)).collect();
        let want: [&[u8]; 8] = [b" the", b"", b"\n", "é".as_bytes(), b"a b", b"", b"", b""];
        assert_eq!(all, want);
        assert_eq!(
            (t.len(), t.exists(1), t.exists(5), t.exists(6), t.exists(7)),
            (7, false, true, true, false)
        );
        assert_eq!(t.control_ids().collect::<Vec<_>>(), [5]);
        assert_eq!(t.holes().collect::<Vec<_>>(), [1]);
        assert_eq!(t.decode([0, 5, 3, 99, 2]), " theé\n");
    }

    #[test]
    fn padding_does_not_change_the_fingerprint() {
        let table = |tokens: &[Option<&str>], control: &[Token]| {
            TokenBytes::from_byte_level(tokens.iter().copied(), control).unwrap().canonical()
        };
        let base = table(&[Some("a"), Some("b")], &[1]);
        assert_eq!(base, [1, 1, 0, 0, 0, b'a', 3, 0, 0, 0, 0]);
        assert_eq!(table(&[Some("a"), Some("b"), None, None], &[1]), base);
        assert_ne!(table(&[Some("a"), None, Some("b")], &[2]), base);
        assert_ne!(table(&[Some("a"), Some("b")], &[]), base);
    }

    #[test]
    fn every_byte_has_one_character() {
        let table = byte_of_char();
        let mut seen: Vec<u8> = table.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..=255).collect::<Vec<u8>>());
        assert_eq!(
            (table['Ġ' as usize], table['Ċ' as usize], table['ł' as usize], table['Ń' as usize]),
            (Some(b' '), Some(b'\n'), Some(0xA0), Some(0xAD))
        );
    }

    #[test]
    fn control_ids_need_a_token() {
        for id in [1, 7] {
            let error = TokenBytes::from_bytes([Some(&b"a"[..]), None].into_iter(), &[id]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("a control id must be an id with a token, below 2, got {id}")
            );
        }
    }
}

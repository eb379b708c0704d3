//! Arrays of fixed-width integers, least significant bit first, in little-endian bytes.

use std::io::{self, Write};

/// Bits that hold every value up to `largest`, at least one.
pub(crate) fn width_for(largest: u64) -> u32 {
    (u64::BITS - largest.leading_zeros()).max(1)
}

/// Bytes of `count` values.
pub(crate) fn bytes_for(count: u64, width: u32) -> u64 {
    (count * u64::from(width)).div_ceil(8)
}

/// Streams values of up to 32 bits each.
pub(crate) struct PackedWriter<W> {
    out: W,
    width: u32,
    pending: u64,
    filled: u32,
}

impl<W: Write> PackedWriter<W> {
    pub(crate) fn new(out: W, width: u32) -> Self {
        Self { out, width, pending: 0, filled: 0 }
    }

    pub(crate) fn push(&mut self, value: u32) -> io::Result<()> {
        debug_assert!(u64::from(value) >> self.width == 0);
        self.pending |= u64::from(value) << self.filled;
        self.filled += self.width;
        if self.filled >= 32 {
            self.out.write_all(&(self.pending as u32).to_le_bytes())?;
            self.pending >>= 32;
            self.filled -= 32;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        let rest = self.filled.div_ceil(8) as usize;
        self.out.write_all(&self.pending.to_le_bytes()[..rest])
    }
}

/// Sets a value of up to 32 bits at bit `at` of zeroed `bytes`, which end with 8 spare bytes.
pub(crate) fn put(bytes: &mut [u8], at: u64, value: u32) {
    let window = &mut bytes[(at >> 3) as usize..][..8];
    let mut word = [0; 8];
    word.copy_from_slice(window);
    let word = u64::from_le_bytes(word) | u64::from(value) << (at & 7);
    window.copy_from_slice(&word.to_le_bytes());
}

/// The value of `width` bits that starts at bit `at` of the eight bytes around it.
#[inline(always)]
pub(crate) fn unpack(window: u64, at: u64, width: u32) -> u32 {
    ((window >> (at & 7)) & ((1 << width) - 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn streams_and_random_writes_agree(width in 1u32..=32, seeds in prop::collection::vec(any::<u32>(), 0..50)) {
            let values: Vec<u32> = seeds.iter().map(|s| s >> (32 - width)).collect();
            let mut stream = Vec::new();
            let mut writer = PackedWriter::new(&mut stream, width);
            values.iter().for_each(|&v| writer.push(v).unwrap());
            writer.finish().unwrap();
            prop_assert_eq!(stream.len() as u64, bytes_for(values.len() as u64, width));
            let mut random = vec![0; stream.len() + 8];
            (0..values.len()).rev().for_each(|i| put(&mut random, i as u64 * u64::from(width), values[i]));
            prop_assert_eq!(&random[..stream.len()], &stream[..]);
            for (i, &value) in values.iter().enumerate() {
                let at = i as u64 * u64::from(width);
                let window = u64::from_le_bytes(random[(at >> 3) as usize..][..8].try_into().unwrap());
                prop_assert_eq!(unpack(window, at, width), value);
            }
        }
    }

    #[test]
    fn widths() {
        assert_eq!([0, 1, 2, 255, 256, 65_535].map(width_for), [1, 1, 2, 8, 9, 16]);
    }
}

//! From stored blocks to f32. One [`BlockType`] per stored type, one line in the table at the end.

mod k;
mod simple;

use crate::types::GgmlType;
use half::f16;
use k::{Q4_K, Q5_K, Q6_K};
use simple::{BF16, F16, F32, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

/// A stored type: fixed groups of values behind one or two scales.
pub trait BlockType {
    /// Values per block.
    const LEN: usize;
    /// Bytes per block.
    const BYTES: usize;
    /// Decodes whole blocks: `blocks.len() / BYTES == out.len() / LEN`, without remainders. Each product and each sum
    /// is rounded to f32 (no fused multiply-add), as in ggml's reference.
    fn decode(blocks: &[u8], out: &mut [f32]);
}

/// The f16 at byte `at` of a block.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Values decoded between two looks for infinities: a multiple of every block length, small enough to stay in L1.
const STRETCH: usize = 1024;

/// Decodes `blocks` into `out`; stops at the first value that is not finite and returns its index.
///
/// A non-finite scale always gives a non-finite value (∞·0 is NaN), so looking at the values finds it too.
fn decode_finite<B: BlockType>(blocks: &[u8], out: &mut [f32]) -> Result<(), usize> {
    let stretch_bytes = STRETCH / B::LEN * B::BYTES;
    for (i, (bytes, values)) in blocks.chunks(stretch_bytes).zip(out.chunks_mut(STRETCH)).enumerate() {
        B::decode(bytes, values);
        let exponent = f32::INFINITY.to_bits();
        if values.iter().fold(false, |bad, v| bad | (v.to_bits() & exponent == exponent)) {
            let at = values.iter().position(|v| !v.is_finite()).unwrap_or(0);
            return Err(i * STRETCH + at);
        }
    }
    Ok(())
}

type Decoder = fn(&[u8], &mut [f32]) -> Result<(), usize>;

fn decoder(kind: GgmlType) -> Option<Decoder> {
    Some(match kind {
        GgmlType::F32 => decode_finite::<F32>,
        GgmlType::F16 => decode_finite::<F16>,
        GgmlType::BF16 => decode_finite::<BF16>,
        GgmlType::Q4_0 => decode_finite::<Q4_0>,
        GgmlType::Q4_1 => decode_finite::<Q4_1>,
        GgmlType::Q5_0 => decode_finite::<Q5_0>,
        GgmlType::Q5_1 => decode_finite::<Q5_1>,
        GgmlType::Q8_0 => decode_finite::<Q8_0>,
        GgmlType::Q4_K => decode_finite::<Q4_K>,
        GgmlType::Q5_K => decode_finite::<Q5_K>,
        GgmlType::Q6_K => decode_finite::<Q6_K>,
        _ => return None,
    })
}

impl GgmlType {
    /// Whether [`dequantize_blocks`] knows this type.
    pub fn can_dequantize(self) -> bool {
        decoder(self).is_some()
    }

    /// The types that [`dequantize_blocks`] knows, for messages.
    pub fn dequantizable() -> String {
        let names: Vec<_> = Self::ALL.iter().filter(|t| t.can_dequantize()).map(|t| t.name()).collect();
        names.join(", ")
    }
}

/// What stopped [`dequantize_blocks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DequantizeError {
    /// No decoder for this type.
    Unknown,
    /// `blocks` and `out` are no equal number of whole blocks.
    Size,
    /// The value with this index is infinite or no number.
    NotFinite(usize),
}

/// Decodes whole blocks of `kind`; with several threads each takes one contiguous part. The values do not depend on
/// `threads`.
///
/// # Errors
/// See [`DequantizeError`]; `out` is then partly written.
///
/// # Cost
/// One pass over both; memory-bound. A thread is worth starting from about 10⁵ values on.
pub fn dequantize_blocks(
    kind: GgmlType,
    blocks: &[u8],
    out: &mut [f32],
    threads: usize,
) -> Result<(), DequantizeError> {
    let decode = decoder(kind).ok_or(DequantizeError::Unknown)?;
    let (len, bytes) = (kind.block_len(), kind.block_bytes());
    let count = out.len() / len;
    if !out.len().is_multiple_of(len) || !blocks.len().is_multiple_of(bytes) || blocks.len() / bytes != count
    {
        return Err(DequantizeError::Size);
    }
    let share = count.div_ceil(threads.max(1)).max(1);
    if share >= count {
        return decode(blocks, out).map_err(DequantizeError::NotFinite);
    }
    let first_bad = std::thread::scope(|scope| {
        let parts: Vec<_> = blocks
            .chunks(share * bytes)
            .zip(out.chunks_mut(share * len))
            .map(|(blocks, out)| scope.spawn(move || decode(blocks, out)))
            .collect();
        parts.into_iter().enumerate().find_map(|(i, part)| match part.join() {
            Ok(Ok(())) => None,
            Ok(Err(at)) => Some(i * share * len + at),
            Err(panic) => std::panic::resume_unwind(panic),
        })
    });
    first_bad.map_or(Ok(()), |at| Err(DequantizeError::NotFinite(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_agree_with_the_table() {
        fn check<B: BlockType>(kind: GgmlType) {
            assert_eq!((B::LEN, B::BYTES), (kind.block_len(), kind.block_bytes()), "{}", kind.name());
            assert!(STRETCH.is_multiple_of(B::LEN));
        }
        check::<F32>(GgmlType::F32);
        check::<F16>(GgmlType::F16);
        check::<BF16>(GgmlType::BF16);
        check::<Q4_0>(GgmlType::Q4_0);
        check::<Q4_1>(GgmlType::Q4_1);
        check::<Q5_0>(GgmlType::Q5_0);
        check::<Q5_1>(GgmlType::Q5_1);
        check::<Q8_0>(GgmlType::Q8_0);
        check::<Q4_K>(GgmlType::Q4_K);
        check::<Q5_K>(GgmlType::Q5_K);
        check::<Q6_K>(GgmlType::Q6_K);
        let expected = "F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16";
        assert_eq!(GgmlType::dequantizable(), expected);
    }

    #[test]
    fn type_numbers_are_their_own_inverse() {
        for &kind in GgmlType::ALL {
            assert_eq!(GgmlType::from_id(kind as u32), Some(kind));
        }
        assert_eq!(GgmlType::from_id(4), None);
    }

    #[test]
    fn nibbles_and_signs() {
        let mut q4 = vec![0u8; 20];
        q4[0..2].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        q4[2..4].copy_from_slice(&f16::from_f32(-1.0).to_le_bytes());
        q4[4] = 0xF3;
        let mut out = [0.0; 32];
        dequantize_blocks(GgmlType::Q4_1, &q4, &mut out, 1).unwrap();
        assert_eq!((out[0], out[1], out[16], out[17]), (0.5, -1.0, 6.5, -1.0));

        let mut q8 = vec![0u8; 34];
        q8[0..2].copy_from_slice(&f16::from_f32(2.0).to_le_bytes());
        (q8[2], q8[33]) = (0x80, 0x7F);
        dequantize_blocks(GgmlType::Q8_0, &q8, &mut out, 1).unwrap();
        assert_eq!((out[0], out[1], out[31]), (-256.0, 0.0, 254.0));
    }

    #[test]
    fn a_non_finite_scale_is_found_by_any_number_of_threads() {
        let mut blocks = vec![0u8; 34 * 200];
        blocks[34 * 150 + 1] = 0x7C; // f16 ∞, all quants zero
        let mut out = vec![0.0; 32 * 200];
        for threads in [1, 2, 3, 7, 1000] {
            let found = dequantize_blocks(GgmlType::Q8_0, &blocks, &mut out, threads);
            assert_eq!(found, Err(DequantizeError::NotFinite(32 * 150)), "{threads} threads");
        }
    }

    #[test]
    fn broken_sizes_and_unknown_types() {
        let mut out = [0.0; 32];
        assert_eq!(dequantize_blocks(GgmlType::Q8_0, &[0; 33], &mut out, 1), Err(DequantizeError::Size));
        assert_eq!(dequantize_blocks(GgmlType::Q8_0, &[0; 68], &mut out, 1), Err(DequantizeError::Size));
        assert_eq!(dequantize_blocks(GgmlType::Q8_0, &[0; 34], &mut out[1..], 1), Err(DequantizeError::Size));
        assert_eq!(dequantize_blocks(GgmlType::Q3_K, &[0; 110], &mut out, 1), Err(DequantizeError::Unknown));
        assert_eq!(dequantize_blocks(GgmlType::F32, &[], &mut [], 2), Ok(()));
    }
}

//! From stored blocks to f32. One [`BlockType`] per stored type, one line in the table at the end.

use crate::types::GgmlType;
use half::f16;

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

/// f32, little-endian.
struct F32;
/// IEEE half precision.
struct F16;
/// The upper half of an f32.
struct BF16;
/// `d: f16, m: f16, 16 bytes`: x = d·q + m; byte j holds q of value j in its low and of value 16 + j in its high nibble.
#[allow(non_camel_case_types)]
struct Q4_1;
/// `d: f16, 32 signed bytes`: x = d·q.
#[allow(non_camel_case_types)]
struct Q8_0;

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

impl BlockType for F32 {
    const LEN: usize = 1;
    const BYTES: usize = 4;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        for (value, bytes) in out.iter_mut().zip(blocks.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*bytes);
        }
    }
}

impl BlockType for F16 {
    const LEN: usize = 1;
    const BYTES: usize = 2;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        for (value, bytes) in out.iter_mut().zip(blocks.as_chunks::<2>().0) {
            *value = f16::from_le_bytes(*bytes).to_f32();
        }
    }
}

impl BlockType for BF16 {
    const LEN: usize = 1;
    const BYTES: usize = 2;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        for (value, bytes) in out.iter_mut().zip(blocks.as_chunks::<2>().0) {
            *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }
}

impl BlockType for Q4_1 {
    const LEN: usize = 32;
    const BYTES: usize = 20;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        for (values, block) in out.as_chunks_mut::<32>().0.iter_mut().zip(blocks.as_chunks::<20>().0) {
            let (d, m) = (half_at(block, 0), half_at(block, 2));
            for j in 0..16 {
                values[j] = d * f32::from(block[4 + j] & 15) + m;
                values[16 + j] = d * f32::from(block[4 + j] >> 4) + m;
            }
        }
    }
}

impl BlockType for Q8_0 {
    const LEN: usize = 32;
    const BYTES: usize = 34;

    fn decode(blocks: &[u8], out: &mut [f32]) {
        for (values, block) in out.as_chunks_mut::<32>().0.iter_mut().zip(blocks.as_chunks::<34>().0) {
            let d = half_at(block, 0);
            for j in 0..32 {
                values[j] = d * f32::from(block[2 + j] as i8);
            }
        }
    }
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
        GgmlType::Q4_1 => decode_finite::<Q4_1>,
        GgmlType::Q8_0 => decode_finite::<Q8_0>,
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
        check::<Q4_1>(GgmlType::Q4_1);
        check::<Q8_0>(GgmlType::Q8_0);
        assert_eq!(GgmlType::dequantizable(), "F32, F16, Q4_1, Q8_0, BF16");
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
        assert_eq!(dequantize_blocks(GgmlType::Q4_K, &[0; 144], &mut out, 1), Err(DequantizeError::Unknown));
        assert_eq!(dequantize_blocks(GgmlType::F32, &[], &mut [], 2), Ok(()));
    }
}

//! How the weights of a panel are stored.

use super::PANEL;
use draftwood_weights::GgmlType;

/// How the weights of a panel are stored. `[16]` stands for the rows; **vector** for four columns of each row, four
/// bytes a row; **nibbles** for 32 columns in four vectors, the columns 0 to 15 in the low halves of the bytes; **high bits**
/// for a vector whose bit k belongs to the same byte of vector k of the nibbles, the high ones being 4 to 7. Blocks follow
/// each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "names as ggml spells them")]
pub enum Layout {
    /// `[column][16]` f32.
    F32,
    /// `[column][16]` f16; columns padded to an even number.
    F16,
    /// `[column / 2][16][2]` bf16; columns padded to an even number.
    BF16,
    /// 32 columns: `d [16] f16`, eight vectors of w + 128.
    Q8_0,
    /// 32 columns: `d [16] f16`, nibbles.
    Q4_0,
    /// 32 columns: `d, m [16] f16`, nibbles.
    Q4_1,
    /// 32 columns: `d [16] f16`, high bits, nibbles.
    Q5_0,
    /// 32 columns: `d, m [16] f16`, high bits, nibbles.
    Q5_1,
    /// 256 columns: `d, m [16] f16`, then eight times scales and minima `[16] u8` and nibbles: four bytes a row more than
    /// in the file, where they have six bits.
    Q4K,
    /// As Q4K, with high bits before the nibbles.
    Q5K,
    /// 256 columns: `d [16] f16`, then eight times scales `[2][16] i8`, pairs of high bits in two vectors, and nibbles.
    Q6K,
}

impl Layout {
    /// All of them.
    pub const ALL: [Layout; 11] = [
        Layout::F32,
        Layout::F16,
        Layout::BF16,
        Layout::Q8_0,
        Layout::Q4_0,
        Layout::Q4_1,
        Layout::Q5_0,
        Layout::Q5_1,
        Layout::Q4K,
        Layout::Q5K,
        Layout::Q6K,
    ];

    /// The layout for weights that a file stores as `kind`, None where there is no kernel.
    pub fn of(kind: GgmlType) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.source() == kind)
    }

    /// The stored type that is repacked into this layout.
    pub fn source(self) -> GgmlType {
        match self {
            Layout::F32 => GgmlType::F32,
            Layout::F16 => GgmlType::F16,
            Layout::BF16 => GgmlType::BF16,
            Layout::Q8_0 => GgmlType::Q8_0,
            Layout::Q4_0 => GgmlType::Q4_0,
            Layout::Q4_1 => GgmlType::Q4_1,
            Layout::Q5_0 => GgmlType::Q5_0,
            Layout::Q5_1 => GgmlType::Q5_1,
            Layout::Q4K => GgmlType::Q4_K,
            Layout::Q5K => GgmlType::Q5_K,
            Layout::Q6K => GgmlType::Q6_K,
        }
    }

    /// Whether weights are integers with scales, which the kernels can multiply with [`crate::quantise::Block`]s.
    pub fn is_quantised(self) -> bool {
        !matches!(self, Layout::F32 | Layout::F16 | Layout::BF16)
    }

    /// Columns that are stored together: their number must be a multiple.
    pub fn block_columns(self) -> usize {
        self.source().block_len()
    }

    /// Bytes of a row as the file stores it.
    pub fn row_bytes(self, columns: usize) -> usize {
        columns / self.block_columns() * self.source().block_bytes()
    }

    /// Bytes of one panel of `columns`.
    pub fn panel_bytes(self, columns: usize) -> usize {
        match self {
            Layout::F16 | Layout::BF16 => columns.next_multiple_of(2) * PANEL * 2,
            _ => columns / self.block_columns() * self.block_bytes(),
        }
    }

    /// Bytes of one block of 16 rows.
    pub(crate) fn block_bytes(self) -> usize {
        let file = PANEL * self.source().block_bytes();
        match self {
            Layout::Q4K | Layout::Q5K => file + 4 * PANEL,
            _ => file,
        }
    }
}

//! The tensor types of GGUF: number, name, values and bytes of one block.

macro_rules! ggml_types {
    ($($variant:ident = $id:literal, $name:literal, $len:literal values in $bytes:literal bytes;)*) => {
        /// How the values of a tensor are stored. Sizes as in ggml (`ggml_type`, checked against the Python package
        /// `gguf`); a type being listed means that its size is known, [`GgmlType::can_dequantize`] says the rest.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, reason = "names as ggml spells them")]
        #[repr(u32)]
        pub enum GgmlType {
            $(#[doc = concat!($len, " values in ", $bytes, " bytes.")] $variant = $id,)*
        }

        impl GgmlType {
            /// Every known type.
            pub const ALL: &[GgmlType] = &[$(GgmlType::$variant),*];

            /// The type with this number in a file.
            pub fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(GgmlType::$variant),)*
                    _ => None,
                }
            }

            /// Name as ggml prints it.
            pub fn name(self) -> &'static str {
                match self { $(GgmlType::$variant => $name,)* }
            }

            /// Values per block.
            pub fn block_len(self) -> usize {
                match self { $(GgmlType::$variant => $len,)* }
            }

            /// Bytes per block.
            pub fn block_bytes(self) -> usize {
                match self { $(GgmlType::$variant => $bytes,)* }
            }
        }
    };
}

ggml_types! {
    F32 = 0, "F32", 1 values in 4 bytes;
    F16 = 1, "F16", 1 values in 2 bytes;
    Q4_0 = 2, "Q4_0", 32 values in 18 bytes;
    Q4_1 = 3, "Q4_1", 32 values in 20 bytes;
    Q5_0 = 6, "Q5_0", 32 values in 22 bytes;
    Q5_1 = 7, "Q5_1", 32 values in 24 bytes;
    Q8_0 = 8, "Q8_0", 32 values in 34 bytes;
    Q8_1 = 9, "Q8_1", 32 values in 40 bytes;
    Q2_K = 10, "Q2_K", 256 values in 84 bytes;
    Q3_K = 11, "Q3_K", 256 values in 110 bytes;
    Q4_K = 12, "Q4_K", 256 values in 144 bytes;
    Q5_K = 13, "Q5_K", 256 values in 176 bytes;
    Q6_K = 14, "Q6_K", 256 values in 210 bytes;
    Q8_K = 15, "Q8_K", 256 values in 292 bytes;
    IQ2_XXS = 16, "IQ2_XXS", 256 values in 66 bytes;
    IQ2_XS = 17, "IQ2_XS", 256 values in 74 bytes;
    IQ3_XXS = 18, "IQ3_XXS", 256 values in 98 bytes;
    IQ1_S = 19, "IQ1_S", 256 values in 50 bytes;
    IQ4_NL = 20, "IQ4_NL", 32 values in 18 bytes;
    IQ3_S = 21, "IQ3_S", 256 values in 110 bytes;
    IQ2_S = 22, "IQ2_S", 256 values in 82 bytes;
    IQ4_XS = 23, "IQ4_XS", 256 values in 136 bytes;
    I8 = 24, "I8", 1 values in 1 bytes;
    I16 = 25, "I16", 1 values in 2 bytes;
    I32 = 26, "I32", 1 values in 4 bytes;
    I64 = 27, "I64", 1 values in 8 bytes;
    F64 = 28, "F64", 1 values in 8 bytes;
    IQ1_M = 29, "IQ1_M", 256 values in 56 bytes;
    BF16 = 30, "BF16", 1 values in 2 bytes;
    TQ1_0 = 34, "TQ1_0", 256 values in 54 bytes;
    TQ2_0 = 35, "TQ2_0", 256 values in 66 bytes;
    MXFP4 = 39, "MXFP4", 32 values in 17 bytes;
    NVFP4 = 40, "NVFP4", 64 values in 36 bytes;
    Q1_0 = 41, "Q1_0", 128 values in 18 bytes;
}

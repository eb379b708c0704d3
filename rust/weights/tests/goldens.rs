//! Blocks whose values the Python package `gguf` has computed: bit for bit.

mod common;

use common::reference::reference;
use draftwood_weights::{GgmlType, GgufFile};

/// Made by `make_block_goldens.py` beside it.
const GOLDENS: &[u8] = include_bytes!("../../../tests/data/block_goldens.gguf");

#[test]
fn values_equal_those_of_the_gguf_package() {
    let file = GgufFile::from_bytes("block_goldens.gguf", GOLDENS.to_vec()).unwrap();
    let mut seen = Vec::new();
    for tensor in file.tensors().filter(|t| !t.name.ends_with(".values")) {
        let mut expected = vec![0.0; tensor.values as usize];
        file.tensor(&format!("{}.values", tensor.name)).unwrap().dequantize(&mut expected).unwrap();
        let mut out = vec![0.0; expected.len()];
        tensor.dequantize(&mut out).unwrap();
        for (i, (got, want)) in out.iter().zip(&expected).enumerate() {
            assert_eq!(got.to_bits(), want.to_bits(), "{}[{i}]: {got} for {want}", tensor.name);
            let slow = reference(tensor.kind, tensor.bytes(), i);
            assert_eq!(slow.to_bits(), want.to_bits(), "reference: {}[{i}]", tensor.name);
        }
        seen.push(tensor.kind);
    }
    use GgmlType::{Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
    assert_eq!(seen, [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K]);
}

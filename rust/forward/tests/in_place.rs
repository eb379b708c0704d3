//! Weights that stay where they are stored give the bits of packed ones: every type, whole models, chunks and trees.

mod common;

use common::plans::{Part, Text, forward};
use common::{Random, RandomWeights, even_spec, learned_spec, mixed_spec, odd_spec};
use draftwood_base::Result;
use draftwood_base::pool::Pool;
use draftwood_forward::panels::Lying;
use draftwood_forward::{Dtype, Executor, Keep, Machine, Model, Spec, Weights};
use draftwood_weights::GgmlType;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Random weights in memory, matrices of some names as [columns, rows].
struct Placed {
    weights: RandomWeights,
    transposed: bool,
    stored: Mutex<HashMap<String, Box<[u8]>>>,
}

impl Weights for Placed {
    fn info(&self, name: &str) -> Option<(Vec<usize>, GgmlType)> {
        self.weights.info(name)
    }

    fn row(&self, name: &str, row: usize, to: &mut [f32]) -> Result<()> {
        self.weights.row(name, row, to)
    }

    fn stored_row(&self, name: &str, row: usize, to: &mut [u8]) -> Result<()> {
        self.weights.stored_row(name, row, to)
    }

    fn lying(&self, name: &str) -> Option<Lying> {
        let (shape, kind) = self.info(name)?;
        let [rows, columns] = shape[..] else { return None };
        let (size, blocks) = (kind.block_bytes(), columns / kind.block_len());
        let mut bytes = vec![0; rows * blocks * size];
        for (row, to) in bytes.chunks_exact_mut(blocks * size).enumerate() {
            self.stored_row(name, row, to).unwrap();
        }
        let transposed = self.transposed && kind.block_len() == 1;
        if transposed {
            let rows_of = bytes.clone();
            for (i, value) in rows_of.chunks_exact(size).enumerate() {
                bytes[(i % columns * rows + i / columns) * size..][..size].copy_from_slice(value);
            }
        }
        let bytes = bytes.into_boxed_slice();
        let (row_step, step) = if transposed { (size, rows * size) } else { (blocks * size, size) };
        let lying = Lying { start: bytes.as_ptr(), row_step, step };
        self.stored.lock().unwrap().insert(name.to_owned(), bytes);
        Some(lying)
    }
}

fn model(spec: &Spec, kind: GgmlType, keep: Keep, transposed: bool) -> Arc<Model> {
    let weights = RandomWeights(spec.clone(), kind);
    let source = Arc::new(Placed { weights, transposed, stored: Mutex::default() });
    let model = Model::load(spec.clone(), source, Dtype::Stored, keep, &Pool::new(2)).unwrap();
    assert_eq!(model.reads_in_place(), keep == Keep::InPlace);
    Arc::new(model)
}

/// A prompt in chunks, then a chain with a tree: the bits of all logits.
fn logits(model: &Arc<Model>, machine: Machine, threads: usize) -> Vec<Vec<u32>> {
    let mut executor = Executor::new(Arc::clone(model), machine, Arc::new(Pool::new(threads)));
    executor.allocate(8).unwrap();
    let mut random = Random(7);
    let tokens: Vec<i32> = (0..30).map(|_| random.below(model.spec.vocab) as i32).collect();
    let mut text = Text { pages: (0..8).collect(), context: 0 };
    let mut rows = Vec::new();
    for (from, to) in [(0, 1), (1, 3), (3, 20)] {
        let chain = tokens[from..to].to_vec();
        rows.extend(forward(&mut executor, &[Part { text: &text, chain, nodes: vec![] }]).remove(0));
        text.context = to;
    }
    let nodes = vec![(0, tokens[21]), (0, tokens[22]), (1, tokens[23]), (2, tokens[24])];
    rows.extend(forward(&mut executor, &[Part { text: &text, chain: vec![tokens[20]], nodes }]).remove(0));
    rows.into_iter().map(|row| row.into_iter().map(f32::to_bits).collect()).collect()
}

fn check(spec: &Spec, kind: GgmlType, transposed: bool) {
    let packed = model(spec, kind, Keep::Packed, transposed);
    let in_place = model(spec, kind, Keep::InPlace, transposed);
    assert_eq!(packed.main_type(), in_place.main_type());
    let mut machines: Vec<_> = Machine::all();
    machines.push(Machine::get().with_float_activations());
    machines.push(Machine::get().with_pairs());
    for machine in machines {
        let expected = logits(&packed, machine, 2);
        assert!(expected.iter().flatten().any(|&bits| bits != expected[0][0]));
        for threads in [1, 2, 3] {
            assert!(
                logits(&in_place, machine, threads) == expected,
                "{kind:?} on {} with {threads} threads",
                machine.name()
            );
        }
    }
}

#[test]
fn floats_of_every_shape() {
    for spec in [odd_spec(), even_spec(), learned_spec(), mixed_spec()] {
        for kind in [GgmlType::F32, GgmlType::F16, GgmlType::BF16] {
            check(&spec, kind, false);
            check(&spec, kind, true);
        }
    }
}

#[test]
fn quantised_weights() {
    use GgmlType::*;
    for kind in [Q8_0, Q4_0, Q4_1, Q5_0, Q5_1] {
        check(&even_spec(), kind, false);
    }
    let wide = Spec { hidden: 256, feed_forward: 512, vocab: 200, ..even_spec() };
    for kind in [Q4_K, Q5_K, Q6_K] {
        check(&wide, kind, false);
    }
}

#[test]
fn other_bits_are_packed_all_the_same() {
    let spec = odd_spec();
    for (kind, in_place) in [(GgmlType::F32, true), (GgmlType::BF16, false)] {
        let weights = RandomWeights(spec.clone(), kind);
        let source = Arc::new(Placed { weights, transposed: false, stored: Mutex::default() });
        let model = Model::load(spec.clone(), source, Dtype::F32, Keep::InPlace, &Pool::new(1)).unwrap();
        assert_eq!((model.reads_in_place(), model.main_type()), (in_place, "F32"));
    }
}

/// What loading would refuse shows in the logits of whoever reads it.
#[test]
fn scales_and_values_that_are_not_finite_become_nan() {
    struct Broken(Placed);
    impl Weights for Broken {
        fn info(&self, name: &str) -> Option<(Vec<usize>, GgmlType)> {
            self.0.info(name)
        }
        fn row(&self, name: &str, row: usize, to: &mut [f32]) -> Result<()> {
            self.0.row(name, row, to)
        }
        fn stored_row(&self, name: &str, row: usize, to: &mut [u8]) -> Result<()> {
            self.0.stored_row(name, row, to)
        }
        fn lying(&self, name: &str) -> Option<Lying> {
            let lying = self.0.lying(name)?;
            if name == "token_embd.weight" {
                let mut stored = self.0.stored.lock().unwrap();
                let bytes = stored.get_mut(name).unwrap();
                // The last two bytes of an f32, or the first scale of Q8_0: infinity.
                let at = 5 * lying.row_step + if lying.step == 4 { 2 } else { 0 };
                bytes[at..at + 2].copy_from_slice(if lying.step == 4 { &[0x80, 0x7F] } else { &[0, 0x7C] });
                return Some(Lying { start: bytes.as_ptr(), ..lying });
            }
            Some(lying)
        }
    }
    for kind in [GgmlType::F32, GgmlType::Q8_0] {
        let placed =
            Placed { weights: RandomWeights(even_spec(), kind), transposed: false, stored: Mutex::default() };
        let source = Arc::new(Broken(placed));
        let model = Model::load(even_spec(), source, Dtype::Stored, Keep::InPlace, &Pool::new(1)).unwrap();
        for row in logits(&Arc::new(model), Machine::get(), 1) {
            assert!(!f32::from_bits(row[5]).is_finite() && f32::from_bits(row[40]).is_finite(), "{kind:?}");
        }
    }
}

//! Row invariance, bit for bit, against the scalar oracle: any chunking, any tree, any batch, any page order, any number
//! of threads, any instruction set. Unwritten cache slots hold NaN, so a key that a row must not see shows at once.

mod common;

use common::plans::{Part, Text, forward, text, tree};
use common::{PLAIN, Random, RandomWeights, even_spec, learned_spec, mixed_spec, odd_spec, oracle};
use draftwood_base::pool::Pool;
use draftwood_forward::{Dtype, Executor, LayerSpec, Machine, Model, Spec};
use draftwood_weights::GgmlType;
use std::sync::Arc;

fn executors(spec: &Spec, kind: GgmlType, threads: &[usize]) -> Vec<(String, Executor)> {
    let weights = Arc::new(RandomWeights(spec.clone(), kind));
    let model = Arc::new(Model::load(spec.clone(), weights, Dtype::Stored, &Pool::new(2)).unwrap());
    let mut all = Vec::new();
    for machine in Machine::all() {
        for &threads in threads {
            let mut executor = Executor::new(Arc::clone(&model), machine, Arc::new(Pool::new(threads)));
            executor.allocate(120).unwrap();
            executor.cache().unwrap().fill(f32::NAN);
            all.push((format!("{} on {threads} threads", machine.name()), executor));
        }
    }
    all
}

fn assert_bits(got: &[Vec<f32>], expected: &[Vec<f32>], what: &str) {
    assert_eq!(got.len(), expected.len());
    for (row, (got, expected)) in got.iter().zip(expected).enumerate() {
        let first = got.iter().zip(expected).position(|(a, b)| a.to_bits() != b.to_bits());
        if let Some(i) = first {
            panic!("{what}: row {row}, logit {i}: {:e} instead of {:e}", got[i], expected[i]);
        }
    }
}

/// Feeds `tokens` in chunks of random sizes up to `most` and returns the logits of all of them.
fn feed(
    executor: &mut Executor,
    at: &mut Text,
    tokens: &[i32],
    random: &mut Random,
    most: usize,
) -> Vec<Vec<f32>> {
    let (mut rows, mut left) = (Vec::new(), tokens);
    while !left.is_empty() {
        let (chunk, rest) = left.split_at((1 + random.below(most)).min(left.len()));
        rows.extend(forward(executor, &[Part { text: at, chain: chunk.to_vec(), nodes: vec![] }]).remove(0));
        at.context += chunk.len();
        left = rest;
    }
    rows
}

fn tokens(random: &mut Random, count: usize, vocab: usize) -> Vec<i32> {
    (0..count).map(|_| random.below(vocab) as i32).collect()
}

#[test]
fn chunks_of_a_prompt_give_the_bits_of_the_oracle() {
    for spec in [odd_spec(), even_spec(), learned_spec(), mixed_spec()] {
        let mut random = Random(1);
        let prompt = tokens(&mut random, 70, spec.vocab);
        let expected = oracle::logits(&RandomWeights(spec.clone(), GgmlType::F32), &prompt);
        for (name, mut executor) in executors(&spec, GgmlType::F32, &[1, 2, 3, 5]) {
            let mut free: Vec<i32> = (0..120).collect();
            for most in [1, 2, 7, 19, 64, 200] {
                let mut at = text(&mut random, &mut free, prompt.len());
                let got = feed(&mut executor, &mut at, &prompt, &mut random, most);
                assert_bits(&got, &expected, &format!("{name}, chunks up to {most}"));
            }
        }
    }
}

#[test]
fn bits_are_the_committed_ones() {
    // What a change of kernels and oracle together would hide. FNV-1a over the bits of 40 rows.
    let specs = [odd_spec(), learned_spec(), mixed_spec()];
    let hashes = specs.map(|spec| {
        let mut random = Random(8);
        let prompt = tokens(&mut random, 40, spec.vocab);
        let (_, mut executor) = executors(&spec, GgmlType::F32, &[2]).pop().unwrap();
        let mut at = text(&mut random, &mut (0..120).collect(), prompt.len());
        let rows = feed(&mut executor, &mut at, &prompt, &mut random, 16);
        rows.iter().flatten().fold(0xCBF2_9CE4_8422_2325_u64, |hash, value| {
            (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01B3)
        })
    });
    assert_eq!(hashes, [0xA51E_FFB6_F43B_1488, 0xDCF0_AFEE_7015_E4D7, 0xCEBB_C404_C9FF_B166]);
}

#[test]
fn every_node_of_a_tree_is_its_path_alone() {
    for spec in [odd_spec(), even_spec(), learned_spec(), mixed_spec()] {
        let mut random = Random(2);
        let weights = RandomWeights(spec.clone(), GgmlType::F32);
        for (name, mut executor) in executors(&spec, GgmlType::F32, &[1, 2, 3]) {
            for nodes in [1, 3, 8, 40] {
                let len = 20 + random.below(20);
                let prompt = tokens(&mut random, len, spec.vocab);
                let drafted = tree(&mut random, nodes, spec.vocab);
                let mut free: Vec<i32> = (0..120).collect();
                executor.cache().unwrap().fill(f32::NAN);
                let mut at = text(&mut random, &mut free, prompt.len() + nodes);
                let (cached, chain) = prompt.split_at(random.below(prompt.len()));
                feed(&mut executor, &mut at, cached, &mut random, 16);
                let part = Part { text: &at, chain: chain.to_vec(), nodes: drafted.clone() };
                let got = forward(&mut executor, &[part]).remove(0);
                let mut paths = vec![prompt.clone()];
                for (parent, token) in drafted {
                    let path = [&paths[parent][..], &[token]].concat();
                    paths.push(path);
                }
                for (i, path) in paths.iter().enumerate().step_by(3) {
                    let expected = oracle::logits(&weights, path).pop().unwrap();
                    let row = got[chain.len() - 1 + i].clone();
                    assert_bits(&[row], &[expected], &format!("{name}, node {i} of {nodes}"));
                }
            }
        }
    }
}

#[test]
fn texts_of_a_batch_do_not_see_each_other() {
    let spec = odd_spec();
    let mut random = Random(3);
    let weights = RandomWeights(spec.clone(), GgmlType::F32);
    for (name, mut executor) in executors(&spec, GgmlType::F32, &[1, 2, 3]) {
        let mut free: Vec<i32> = (0..120).collect();
        let prompts: Vec<_> = [5, 33, 16, 1].iter().map(|&n| tokens(&mut random, n, spec.vocab)).collect();
        let mut texts: Vec<_> = prompts.iter().map(|p| text(&mut random, &mut free, p.len() + 9)).collect();
        for (text, prompt) in texts.iter_mut().zip(&prompts) {
            let cached = prompt.len() / 2;
            feed(&mut executor, text, &prompt[..cached], &mut random, 8);
        }
        let parts: Vec<_> = texts
            .iter()
            .zip(&prompts)
            .map(|(text, prompt)| Part {
                text,
                chain: prompt[text.context..].to_vec(),
                nodes: tree(&mut random, 8, spec.vocab),
            })
            .collect();
        for (part, got) in parts.iter().zip(forward(&mut executor, &parts)) {
            let cached = part.text.context;
            let prompt = prompts.iter().find(|p| p.len() == cached + part.chain.len()).unwrap();
            let expected = oracle::logits(&weights, prompt);
            assert_bits(&got[..part.chain.len()], &expected[cached..], &name);
        }
    }
}

#[test]
fn splits_and_their_borders() {
    // One layer, so that the oracle stays quick at 540 tokens; trees across the borders at 256 and 512.
    let spec = Spec { layers: vec![PLAIN], vocab: 40, ..odd_spec() };
    let mut random = Random(4);
    check_borders(&spec, &mut random, &[250, 256, 500, 511, 512, 540]);
}

#[test]
fn a_window_ends_what_a_row_sees() {
    // One layer each, so that what lies behind the window is not seen through a layer below; and windows that change.
    for window in [1, 16, 33, 256, 300] {
        let spec =
            Spec { layers: vec![LayerSpec { window: Some(window), ..PLAIN }], vocab: 40, ..odd_spec() };
        check_borders(&spec, &mut Random(window as u64), &[255, 270, 530]);
    }
    let layers = [Some(20), Some(20), None, Some(3)].map(|window| LayerSpec { window, ..PLAIN }).to_vec();
    check_borders(&Spec { layers, ..odd_spec() }, &mut Random(6), &[19, 90]);
}

/// A prompt in chunks up to each border, and a tree there, against the oracle.
fn check_borders(spec: &Spec, random: &mut Random, borders: &[usize]) {
    let weights = RandomWeights(spec.clone(), GgmlType::F32);
    let prompt = tokens(random, borders[borders.len() - 1], spec.vocab);
    let expected = oracle::logits(&weights, &prompt);
    for (name, mut executor) in executors(spec, GgmlType::F32, &[1, 2, 7]) {
        let mut free: Vec<i32> = (0..120).collect();
        let mut at = text(random, &mut free, prompt.len() + 40);
        let mut rows = Vec::new();
        for &border in borders {
            rows.extend(feed(&mut executor, &mut at, &prompt[rows.len()..border], random, 150));
            let chain = vec![prompt[border - 1]];
            let back = Text { context: border - 1, ..at.clone() };
            let nodes = tree(random, 30, spec.vocab);
            let got = forward(&mut executor, &[Part { text: &back, chain, nodes: nodes.clone() }]).remove(0);
            assert_bits(&got[..1], &expected[border - 1..border], &name);
            let mut path = vec![nodes.len()];
            while let Some(&last) = path.last().filter(|&&n| n > 0) {
                path.push(nodes[last - 1].0);
            }
            let tail: Vec<i32> = path.iter().rev().skip(1).map(|&n| nodes[n - 1].1).collect();
            let alone = oracle::logits(&weights, &[&prompt[..border], &tail].concat()).pop().unwrap();
            assert_bits(&[got[nodes.len()].clone()], &[alone], &format!("{name}, tree at {border}"));
        }
        assert_bits(&rows, &expected, &name);
    }
}

#[test]
fn rows_of_stored_types_do_not_depend_on_their_company() {
    use GgmlType::*;
    let wide = Spec { hidden: 256, feed_forward: 512, ..even_spec() };
    for (kind, spec) in [
        (F16, even_spec()),
        (BF16, even_spec()),
        (Q8_0, even_spec()),
        (Q4_0, even_spec()),
        (Q4_1, even_spec()),
        (Q5_0, even_spec()),
        (Q5_1, even_spec()),
        (Q4_K, wide.clone()),
        (Q5_K, wide.clone()),
        (Q6_K, wide),
    ] {
        let mut random = Random(5);
        let prompt = tokens(&mut random, 45, spec.vocab);
        let nodes = tree(&mut random, 13, spec.vocab);
        let mut expected: Option<[Vec<Vec<f32>>; 2]> = None;
        // The first is the scalar reference on one thread, which goes token by token.
        for (name, mut executor) in executors(&spec, kind, &[1, 2, 3]) {
            let most = if expected.is_none() { 1 } else { 20 };
            let mut free: Vec<i32> = (0..120).collect();
            let mut at = text(&mut random, &mut free, prompt.len() + nodes.len());
            let rows = feed(&mut executor, &mut at, &prompt, &mut random, most);
            let back = Text { context: prompt.len() - 1, ..at };
            let part = Part { text: &back, chain: vec![prompt[44]], nodes: nodes.clone() };
            let drafted = forward(&mut executor, &[part]).remove(0);
            assert!(drafted.iter().flatten().all(|v| v.is_finite()), "{kind:?} {name}");
            let [first_rows, first_drafted] = expected.get_or_insert_with(|| [rows.clone(), drafted.clone()]);
            assert_bits(&rows, first_rows, &format!("{kind:?} {name}"));
            assert_bits(&drafted[..1], &first_rows[44..], &format!("{kind:?} {name}, root"));
            assert_bits(&drafted, first_drafted, &format!("{kind:?} {name}, tree"));
        }
    }
}

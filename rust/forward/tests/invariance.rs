//! Row invariance, bit for bit, against the scalar oracle: any chunking, any tree, any batch, any page order, any number
//! of threads, any instruction set. Unwritten cache slots hold NaN, so a key that a row must not see shows at once.

mod common;

use common::plans::{Part, Text, forward, forward_best, text, tree};
use common::{PLAIN, Random, RandomWeights, even_spec, learned_spec, mixed_spec, odd_spec, oracle};
use draftwood_base::pool::Pool;
use draftwood_forward::{CacheType, Dtype, Executor, Keep, LayerSpec, Machine, Model, Spec};
use draftwood_weights::GgmlType;
use std::sync::Arc;

const CACHES: [CacheType; 2] = [CacheType::F32, CacheType::F16];

/// Executors over weights of f32, on every instruction set; with a cache of halves on the last number of threads alone.
fn executors(spec: &Spec, stored: CacheType, threads: &[usize]) -> Vec<(String, Executor)> {
    let threads = if stored == CacheType::F16 { &threads[threads.len() - 1..] } else { threads };
    executors_on(Machine::all(), spec, GgmlType::F32, stored, threads)
}

fn executors_on(
    machines: Vec<Machine>,
    spec: &Spec,
    kind: GgmlType,
    stored: CacheType,
    threads: &[usize],
) -> Vec<(String, Executor)> {
    let weights = Arc::new(RandomWeights(spec.clone(), kind));
    let model =
        Arc::new(Model::load(spec.clone(), weights, Dtype::Stored, Keep::Packed, &Pool::new(2)).unwrap());
    let mut all = Vec::new();
    for machine in machines {
        for &threads in threads {
            let executor = Executor::new(Arc::clone(&model), machine, Arc::new(Pool::new(threads)));
            let mut executor = executor.with_cache_type(stored);
            executor.allocate(120).unwrap();
            executor.cache().unwrap().fill(f32::NAN);
            all.push((format!("{} on {threads} threads, {stored:?}", machine.name()), executor));
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
    for (spec, stored) in [odd_spec(), even_spec(), learned_spec(), mixed_spec()]
        .into_iter()
        .flat_map(|s| CACHES.map(|c| (s.clone(), c)))
    {
        let mut random = Random(1);
        let prompt = tokens(&mut random, 70, spec.vocab);
        let expected = oracle::logits(&RandomWeights(spec.clone(), GgmlType::F32), &prompt, stored);
        for (name, mut executor) in executors(&spec, stored, &[1, 2, 3, 5]) {
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
        let (_, mut executor) = executors(&spec, CacheType::F32, &[2]).pop().unwrap();
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
    for (spec, stored) in [odd_spec(), even_spec(), learned_spec(), mixed_spec()]
        .into_iter()
        .flat_map(|s| CACHES.map(|c| (s.clone(), c)))
    {
        let mut random = Random(2);
        let weights = RandomWeights(spec.clone(), GgmlType::F32);
        for (name, mut executor) in executors(&spec, stored, &[1, 2, 3]) {
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
                    let expected = oracle::logits(&weights, path, stored).pop().unwrap();
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
    let all = CACHES.into_iter().flat_map(|stored| executors(&spec, stored, &[1, 2, 3]));
    for (name, mut executor) in all {
        let stored = executor.cache_shape().stored;
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
            let expected = oracle::logits(&weights, prompt, stored);
            assert_bits(&got[..part.chain.len()], &expected[cached..], &name);
        }
    }
}

/// Several tiles of the head, shared by threads in any order.
#[test]
fn the_best_tokens_are_those_of_the_logits() {
    let spec = Spec { vocab: 2 * 768 + 100, ..odd_spec() };
    let mut random = Random(9);
    for (name, mut executor) in executors(&spec, CACHES[0], &[1, 2, 3, 5]) {
        let mut free: Vec<i32> = (0..120).collect();
        for len in [1, 2, 20] {
            let at = text(&mut random, &mut free, len + 9);
            let part = Part {
                text: &at,
                chain: tokens(&mut random, len, spec.vocab),
                nodes: tree(&mut random, 8, spec.vocab),
            };
            let logits = forward(&mut executor, std::slice::from_ref(&part)).concat();
            let best = forward_best(&mut executor, &[part]);
            assert_eq!(best.len(), logits.len());
            for (best, row) in best.iter().zip(&logits) {
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let first = row.iter().position(|&x| x == largest).unwrap();
                assert_eq!(*best, [first as i32, -1], "{name}, {len} tokens");
            }
        }
    }
}

#[test]
fn splits_and_their_borders() {
    // One layer, so that the oracle stays quick at 540 tokens; trees across the borders at 256 and 512.
    let spec = Spec { layers: vec![PLAIN], vocab: 40, ..odd_spec() };
    let mut random = Random(4);
    for stored in CACHES {
        check_borders(&spec, stored, &mut random, &[250, 256, 500, 511, 512, 540]);
    }
}

#[test]
fn a_window_ends_what_a_row_sees() {
    // One layer each, so that what lies behind the window is not seen through a layer below; and windows that change.
    for window in [1, 16, 33, 256, 300] {
        let layers = vec![LayerSpec { window: Some(window), ..PLAIN }];
        let spec = Spec { layers, vocab: 40, ..odd_spec() };
        let stored = CACHES[window % 2];
        check_borders(&spec, stored, &mut Random(window as u64), &[255, 270, 530]);
    }
    let layers = [Some(20), Some(20), None, Some(3)].map(|window| LayerSpec { window, ..PLAIN }).to_vec();
    for stored in CACHES {
        check_borders(&Spec { layers: layers.clone(), ..odd_spec() }, stored, &mut Random(6), &[19, 90]);
    }
}

/// A prompt in chunks up to each border, and a tree there, against the oracle.
fn check_borders(spec: &Spec, stored: CacheType, random: &mut Random, borders: &[usize]) {
    let weights = RandomWeights(spec.clone(), GgmlType::F32);
    let prompt = tokens(random, borders[borders.len() - 1], spec.vocab);
    let expected = oracle::logits(&weights, &prompt, stored);
    for (name, mut executor) in executors(spec, stored, &[1, 2, 7]) {
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
            let alone = oracle::logits(&weights, &[&prompt[..border], &tail].concat(), stored).pop().unwrap();
            assert_bits(&[got[nodes.len()].clone()], &[alone], &format!("{name}, tree at {border}"));
        }
        assert_bits(&rows, &expected, &name);
    }
}

/// Every stored type that is not f32, and a model that it fits.
fn stored_types() -> Vec<(GgmlType, Spec)> {
    use GgmlType::*;
    let wide = Spec { hidden: 256, feed_forward: 512, ..even_spec() };
    let even = [F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1].map(|kind| (kind, even_spec()));
    even.into_iter().chain([Q4_K, Q5_K, Q6_K].map(|kind| (kind, wide.clone()))).collect()
}

/// A prompt and a tree at its end on all machines and several threads, the first of them token by token: all the same
/// bits. Returns the prompt and its logits.
fn check_company(
    machines: Vec<Machine>,
    kind: GgmlType,
    spec: &Spec,
    stored: CacheType,
) -> (Vec<i32>, Vec<Vec<f32>>) {
    let mut random = Random(5);
    let prompt = tokens(&mut random, 45, spec.vocab);
    let nodes = tree(&mut random, 13, spec.vocab);
    let mut expected: Option<[Vec<Vec<f32>>; 2]> = None;
    for (name, mut executor) in executors_on(machines, spec, kind, stored, &[1, 2, 3]) {
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
    (prompt, expected.unwrap()[0].clone())
}

#[test]
fn rows_of_stored_types_do_not_depend_on_their_company() {
    for (kind, spec) in stored_types() {
        check_company(Machine::all(), kind, &spec, CacheType::F32);
    }
    check_company(Machine::all(), GgmlType::Q8_0, &even_spec(), CacheType::F16);
}

/// Stored weights with f32 activations are the dequantised matrices.
#[test]
fn float_activations_give_the_bits_of_the_oracle() {
    let machines: Vec<_> = Machine::all().into_iter().map(Machine::with_float_activations).collect();
    for (kind, spec) in stored_types() {
        let (prompt, rows) = check_company(machines.clone(), kind, &spec, CacheType::F32);
        let expected = oracle::logits(&RandomWeights(spec, kind), &prompt, CacheType::F32);
        assert_bits(&rows, &expected, &format!("{kind:?}"));
    }
}

/// bf16 activations change a row's values, but not with its company; and only those of 16-bit weights.
#[test]
fn rows_of_pairs_do_not_depend_on_their_company() {
    let machine = Machine::get().with_pairs();
    for (kind, spec) in stored_types() {
        let (_, exact) = check_company(vec![Machine::get()], kind, &spec, CacheType::F32);
        let (_, rows) = check_company(vec![machine], kind, &spec, CacheType::F32);
        let distance = rows.concat().iter().zip(exact.concat()).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        let largest = exact.concat().iter().fold(0f32, |m, v| m.max(v.abs()));
        let changed = machine.pairs() && matches!(kind, GgmlType::F16 | GgmlType::BF16);
        assert_eq!(distance > 0.0, changed, "{kind:?}");
        assert!(distance < 0.05 * largest, "{kind:?}: {distance} of {largest}");
    }
}

/// A key or value beyond the range of halves does not pass in silence: what sees it is NaN, what does not is not.
#[test]
fn overflow_of_halves_is_nan_in_the_rows_that_see_it() {
    for (name, mut executor) in executors(&odd_spec(), CacheType::F16, &[2]) {
        let mut random = Random(7);
        let mut free: Vec<i32> = (0..120).collect();
        let mut at = text(&mut random, &mut free, 40);
        feed(&mut executor, &mut at, &[1; 20], &mut random, 8);
        let slot = at.pages[1] as usize * 16 + 2;
        let mut key = [0.5; 32];
        key[3] = -7e4;
        for (key, value) in [(&key, &[0.5; 32]), (&[0.5; 32], &key)] {
            let cache = executor.cache().unwrap();
            // SAFETY: nobody else uses the cache.
            unsafe {
                cache.store_key(slot, 1, 0, key);
                cache.store_value(slot, 1, 0, value);
            }
            for (context, seen) in [(19, true), (17, false)] {
                let back = Text { context, ..at.clone() };
                let part = Part { text: &back, chain: vec![3], nodes: vec![] };
                let row = forward(&mut executor, &[part]).remove(0).remove(0);
                let right = |v: &f32| if seen { v.is_nan() } else { v.is_finite() };
                assert!(row.iter().all(right), "{name}, {key:?} at 18 from {context}");
            }
        }
    }
}

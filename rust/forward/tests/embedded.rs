//! Rows given as vectors: the kernels, and the bits, are those of tokens.

mod common;

use common::plans::{Part, Text, forward, forward_embedded, text, tree};
use common::{Random, RandomWeights, learned_spec, mixed_spec, odd_spec};
use draftwood_base::pool::Pool;
use draftwood_forward::{Dtype, Embedded, Executor, Keep, Machine, Model, Spec};
use draftwood_weights::GgmlType;
use std::sync::Arc;

/// Executors of every instruction set and of one or three threads; unwritten slots hold NaN.
fn executors(spec: &Spec) -> Vec<(String, Executor)> {
    let weights = Arc::new(RandomWeights(spec.clone(), GgmlType::F32));
    let model = Model::load(spec.clone(), weights, Dtype::Stored, Keep::Packed, &Pool::new(2)).unwrap();
    let model = Arc::new(model);
    let mut all = Vec::new();
    for (machine, threads) in Machine::all().into_iter().flat_map(|machine| [(machine, 1), (machine, 3)]) {
        let mut executor = Executor::new(Arc::clone(&model), machine, Arc::new(Pool::new(threads)));
        executor.allocate(20).unwrap();
        executor.cache().unwrap().fill(f32::NAN);
        all.push((format!("{} on {threads} threads", machine.name()), executor));
    }
    all
}

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

#[test]
fn a_vector_in_the_place_of_its_tokens_embedding_changes_nothing() {
    for spec in [odd_spec(), learned_spec()] {
        let mut random = Random(31);
        for (what, mut executor) in executors(&spec) {
            let mut free: Vec<i32> = (0..executor.cache().unwrap().pages() as i32).collect();
            let text = text(&mut random, &mut free, 32);
            let chain: Vec<i32> = (0..9).map(|_| random.below(spec.vocab) as i32).collect();
            let parts =
                |chain: Vec<i32>| [Part { text: &text, chain, nodes: tree(&mut Random(5), 4, spec.vocab) }];
            let expected = forward(&mut executor, &parts(chain.clone())).concat();
            // Other tokens under the vectors: they are not looked at.
            let rows = [0, 4, 5, 8, 11];
            let mut tokens = chain.clone();
            tokens.extend(parts(chain.clone())[0].nodes.iter().map(|&(_, token)| token));
            let own: Vec<i32> = rows.iter().map(|&row| tokens[row as usize]).collect();
            let mut vectors = vec![0.0; rows.len() * spec.hidden];
            executor.embed(&own, &mut vectors).unwrap();
            let mut other = parts(chain.iter().map(|token| (token + 1) % spec.vocab as i32).collect());
            for (row, &token) in chain.iter().enumerate().filter(|(row, _)| !rows.contains(&(*row as i32))) {
                other[0].chain[row] = token;
            }
            other[0].nodes[2].1 = 0;
            let got =
                forward_embedded(&mut executor, &other, Embedded { rows: &rows, vectors: &vectors }).unwrap();
            assert_eq!(bits(&got), bits(&expected), "{what}");
            vectors[2] += 1.0;
            let got =
                forward_embedded(&mut executor, &other, Embedded { rows: &rows, vectors: &vectors }).unwrap();
            assert!(got.iter().zip(&expected).all(|(got, expected)| got != expected), "{what}");
        }
    }
}

#[test]
fn a_mixed_row_does_not_depend_on_its_company() {
    let spec = mixed_spec();
    let mut random = Random(77);
    for (what, mut executor) in executors(&spec) {
        let mut free: Vec<i32> = (0..executor.cache().unwrap().pages() as i32).collect();
        let mut texts: Vec<Text> = (0..3).map(|_| text(&mut random, &mut free, 48)).collect();
        for text in &mut texts {
            let tokens: Vec<i32> = (0..20).map(|_| random.below(spec.vocab) as i32).collect();
            forward(&mut executor, &[Part { text, chain: tokens, nodes: vec![] }]);
            text.context = 20;
        }
        let vector: Vec<f32> = (0..spec.hidden).map(|_| random.real()).collect();
        let mixed = |text| Part { text, chain: vec![0], nodes: vec![] };
        let alone = Embedded { rows: &[0], vectors: &vector };
        let alone = forward_embedded(&mut executor, &[mixed(&texts[1])], alone).unwrap();
        let among = [
            Part { text: &texts[0], chain: vec![3, 4], nodes: tree(&mut random, 3, spec.vocab) },
            mixed(&texts[1]),
            Part { text: &texts[2], chain: vec![5], nodes: vec![] },
        ];
        let embedded = Embedded { rows: &[5], vectors: &vector };
        let got = forward_embedded(&mut executor, &among, embedded).unwrap();
        assert_eq!(bits(&got[5..6]), bits(&alone), "{what}");
        // Nobody else sees the vector.
        let plain = forward(&mut executor, &among).concat();
        assert_eq!(bits(&got[..5]), bits(&plain[..5]), "{what}");
        assert_eq!(bits(&got[6..]), bits(&plain[6..]), "{what}");
    }
}

#[test]
fn vectors_that_fit_no_row_are_refused() {
    let spec = odd_spec();
    let (_, mut executor) = executors(&spec).remove(0);
    let text = Text { pages: vec![3], context: 0 };
    let parts = [Part { text: &text, chain: vec![1, 2, 3], nodes: vec![] }];
    let vectors = vec![0.5; 2 * spec.hidden];
    let mut run = |rows: &[i32], values: usize| {
        let embedded = Embedded { rows, vectors: &vectors[..values] };
        forward_embedded(&mut executor, &parts, embedded).map_err(|error| error.to_string())
    };
    assert!(run(&[0, 2], 2 * spec.hidden).is_ok());
    for (rows, values) in [
        (&[2, 0][..], 2 * spec.hidden),
        (&[1, 1], 2 * spec.hidden),
        (&[0, 3], 2 * spec.hidden),
        (&[-1, 2], 2 * spec.hidden),
        (&[0, 2], spec.hidden),
        (&[], spec.hidden),
    ] {
        let words = run(rows, values).unwrap_err();
        assert!(
            words.contains("rows with vectors must be") || words.contains("vectors of rows must be"),
            "{words}"
        );
    }
    // A vector that is not finite shows in its row, and in those that see it.
    let nan = vec![f32::NAN; spec.hidden];
    let got = forward_embedded(&mut executor, &parts, Embedded { rows: &[1], vectors: &nan }).unwrap();
    assert!(got[0].iter().all(|x| x.is_finite()));
    assert!(got[1].iter().all(|x| x.is_nan()));
    assert!(executor.embed(&[spec.vocab as i32], &mut vec![0.0; spec.hidden]).is_err());
    assert!(executor.embed(&[-1], &mut vec![0.0; spec.hidden]).is_err());
    assert!(executor.embed(&[1], &mut vec![0.0; spec.hidden + 1]).is_err());
}

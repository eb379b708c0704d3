//! A search over a corpus and a beam search read the same rows: where the corpus allows everything, they are one search.

mod support;

use draftwood_logits::RowResult;
use draftwood_retrieve::index::{Corpus, Group, Index, Tier};
use draftwood_retrieve::{BeamRows, CorpusSearch, CorpusSearchConfig};
use draftwood_search::{BeamConfig, BeamSearch, Rows};
use proptest::prelude::*;
use support::{Hashed, Model};

const VOCAB: usize = 5;
const LENGTH: usize = 3;

/// All texts of [`LENGTH`] tokens.
fn everything() -> Group {
    let mut corpus = Corpus::default();
    for number in 0..VOCAB.pow(LENGTH as u32) {
        let digit = |place: usize| (number / VOCAB.pow(place as u32) % VOCAB) as u32;
        corpus.push(&(0..LENGTH).map(digit).collect::<Vec<_>>()).unwrap();
    }
    Group::new(vec![Index::build_in_memory(&corpus, Tier::Standard).unwrap()]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(500)))]

    /// Logits in any order of rows: the beams, their tokens and the bits of their sums, and those of the first row.
    #[test]
    fn a_corpus_that_allows_everything_changes_no_bit(
        seed in any::<u64>(), grid in prop::sample::select(vec![1e-6f32, 0.25, 1.0]),
        masked in prop::sample::select(vec![0u64, 4]), shift in -40f32..40.0, beam in 1usize..7,
    ) {
        let (index, model) = (everything(), Hashed { vocab: VOCAB, seed, grid, masked });
        let config = CorpusSearchConfig {
            beam, length: LENGTH + 1, anchored: false, title_end: Vec::new(), end: None, stop_at_count: 0,
            without_last_document: false,
        };
        let mut constrained = CorpusSearch::new(&index, config).unwrap();
        let config = BeamConfig {
            num_beams: beam as u32, max_new_tokens: LENGTH as u32 + 1, end_tokens: Vec::new(), ..BeamConfig::default()
        };
        let mut free = BeamSearch::new(config, &[], vec![]).unwrap();
        let mut texts: Vec<Vec<u32>> = vec![vec![]];
        for step in 0..LENGTH {
            prop_assert_eq!((constrained.live(), free.live()), (texts.len(), texts.len()));
            if texts.is_empty() {
                break;
            }
            let logits: Vec<f32> = texts.iter().rev().flat_map(|text| model.row(text)).map(|x| x + shift).collect();
            let order: Vec<u32> = (0..texts.len() as u32).rev().collect();
            let values = RowResult::full(&logits, texts.len(), VOCAB).unwrap();
            let rows = Rows::logits(values).in_order(&order).unwrap();
            let onward = constrained.step(&index, BeamRows { values, order: &order, are_logits: true }).unwrap();
            let mine: Vec<_> = onward.iter().map(|b| (b.beam, b.token, b.score.to_bits())).collect();
            if step == 0 {
                let mut written = vec![0.0; VOCAB];
                free.write_rows(&rows, &mut written).unwrap();
                let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(constrained.first()), bits(&written));
            }
            let its: Vec<_> = free.step(&rows).unwrap().iter().map(|s| (s.row, s.token, s.score.to_bits())).collect();
            prop_assert_eq!(&mine, &its);
            texts = mine.iter().map(|&(beam, token, _)| [&texts[beam as usize][..], &[token]].concat()).collect();
        }
    }
}

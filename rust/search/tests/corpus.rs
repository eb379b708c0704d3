//! Beams under the rules of a corpus: those of a mask, and those of the lazy step that knows the index itself.

#[path = "../../retrieve/tests/support/group.rs"]
mod group;
mod support;

use draftwood_base::Token;
use draftwood_logits::RowResult;
use draftwood_retrieve::index::{Corpus, Group, Index, Tier};
use draftwood_retrieve::{BeamRows, BlockCorpus, CorpusSearch, CorpusSearchConfig, InCorpus};
use draftwood_search::{AnyProcessor, BeamConfig, BeamSearch, EarlyStopping, Rows};
use group::{Documents, group};
use proptest::prelude::*;
use std::sync::Arc;
use support::{Hashed, Model, assert_same, beams, run};

fn occurs(documents: &Documents, text: &[Token], anchored: bool) -> bool {
    documents.iter().any(|document| match anchored {
        true => document.starts_with(text),
        false => document.windows(text.len()).any(|window| window == text),
    })
}

/// Whether a document ends with what was said.
fn ends(documents: &Documents, text: &[Token], anchored: bool) -> bool {
    !text.is_empty()
        && documents.iter().any(|document| if anchored { document == text } else { document.ends_with(text) })
}

/// Documents in which n-grams repeat; some of their tokens are none of the model's.
fn documents() -> impl Strategy<Value = Documents> {
    prop::collection::vec(prop::collection::vec(0u32..9, 0..14), 1..7)
}

fn models() -> impl Strategy<Value = Hashed> {
    let grid = prop_oneof![Just(1e-6f32), Just(0.25), Just(1.0)];
    let masked = prop_oneof![2 => Just(0u64), 1 => Just(3)];
    (3usize..24, any::<u64>(), grid, masked).prop_map(|(vocab, seed, grid, masked)| Hashed {
        vocab,
        seed,
        grid,
        masked,
    })
}

fn configs() -> impl Strategy<Value = BeamConfig> {
    let rule = prop_oneof![
        Just(EarlyStopping::Heuristic),
        Just(EarlyStopping::WhenFull),
        Just(EarlyStopping::Never)
    ];
    // An end token may be a token of the corpus, too.
    (1u32..9, 1u32..9, 0u32..3, rule, prop::collection::vec(0u32..20, 0..3)).prop_map(
        |(num_beams, max_new_tokens, min_new_tokens, early_stopping, end_tokens)| BeamConfig {
            num_beams,
            num_return: num_beams,
            max_new_tokens,
            min_new_tokens: min_new_tokens.min(max_new_tokens),
            early_stopping,
            end_tokens,
            ..BeamConfig::default()
        },
    )
}

fn tiers() -> impl Strategy<Value = Tier> {
    prop::sample::select(vec![Tier::Tiny, Tier::Compact, Tier::Standard, Tier::Fast])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]

    #[test]
    fn beams_in_a_corpus_are_those_of_a_mask(
        documents in documents(), each in 1usize..7, tier in tiers(), limit in prop::sample::select(vec![0u64, 4, 1024]),
        anchored in any::<bool>(), config in configs(), model in models(), prompt in prop::collection::vec(0u32..9, 0..4),
    ) {
        let forbids = |text: &[Token]| {
            let (last, said) = text.split_last().unwrap();
            let may_end = config.end_tokens.contains(last) && ends(&documents, said, anchored);
            !may_end && !occurs(&documents, text, anchored)
        };
        let rule = InCorpus::new(Arc::new(group(&documents, each, tier)), anchored).with_scanned_rows(limit);
        let found = run(&config, &model, &prompt, vec![AnyProcessor::new(rule)]);
        assert_same(&found, &beams(&config, &model, &forbids));
    }

    #[test]
    fn beams_that_quote_nothing_are_those_of_a_mask(
        documents in documents(), each in 1usize..7, tier in tiers(), n in 1usize..5, config in configs(),
        model in models(), prompt in prop::collection::vec(0u32..9, 0..6),
    ) {
        let forbids = |text: &[Token]| {
            let whole = [&prompt[..], text].concat();
            whole.len() >= n && occurs(&documents, &whole[whole.len() - n..], false)
        };
        let rule = BlockCorpus::new(Arc::new(group(&documents, each, tier)), n as u32).unwrap();
        let found = run(&config, &model, &prompt, vec![AnyProcessor::new(rule)]);
        assert_same(&found, &beams(&config, &model, &forbids));
    }

    /// The same candidates in the same order, step by step, as the search that is made for an index.
    #[test]
    fn candidates_are_those_of_the_lazy_step(
        documents in documents(), each in 1usize..7, limit in prop::sample::select(vec![0u64, 4, 1024]),
        anchored in any::<bool>(), model in models(), beam in 1usize..6, length in 1usize..7,
    ) {
        let index = Arc::new(group(&documents, each, Tier::Standard));
        let config = BeamConfig {
            num_beams: beam as u32,
            num_return: 1,
            max_new_tokens: length as u32,
            keep_candidates: true,
            ..BeamConfig::default()
        };
        let rule = InCorpus::new(Arc::clone(&index), anchored).with_scanned_rows(limit);
        let mut ours = BeamSearch::new(config, &[], vec![AnyProcessor::new(rule)]).unwrap();
        let mut theirs = CorpusSearch::new(&index, CorpusSearchConfig {
            beam, length, anchored, title_end: vec![], end: None, stop_at_count: 0, without_last_document: false,
        }).unwrap();
        let (mut texts, mut found) = (vec![vec![]], Vec::new());
        while !ours.is_done() {
            let flat = texts.iter().flat_map(|text: &Vec<Token>| model.row(text)).collect::<Vec<_>>();
            let rows = RowResult::full(&flat, texts.len(), model.vocab).unwrap();
            let order: Vec<u32> = (0..texts.len() as u32).collect();
            theirs.step(&index, BeamRows { values: rows, order: &order, are_logits: false }).unwrap();
            let survivors = ours.step(&Rows::log_probs(rows)).unwrap();
            let longer = |row: u32, token| [&texts[row as usize][..], &[token]].concat();
            let next = survivors.iter().map(|s| longer(s.row, s.token)).collect();
            let kept = ours.candidates().last().unwrap().iter();
            found.extend(kept.map(|c| (longer(c.row, c.token), c.score.to_bits())));
            texts = next;
            prop_assert_eq!(texts.len(), theirs.live());
        }
        let expected: Vec<_> = theirs.found().into_iter().map(|f| (f.ids, f.log_prob.to_bits())).collect();
        prop_assert_eq!(found, expected);
    }
}

/// A damaged file ends the search with an error, not with a text that the corpus merely seems to forbid.
#[test]
fn what_fails_is_told() {
    let documents: Documents = (0..40).map(|i| (0..40).map(|j| (i * j) % 9).collect()).collect();
    let mut corpus = Corpus::default();
    documents.iter().for_each(|document| corpus.push(document).unwrap());
    let path = std::env::temp_dir().join(format!("draftwood-damaged-{}.dwx", std::process::id()));
    Index::build(&corpus, Tier::Standard, None, &path, |_| ()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // The first section; the header and the table of checksums are read when the file is opened.
    bytes[4096..8192].iter_mut().for_each(|byte| *byte ^= 1);
    let damaged = Arc::new(Group::new(vec![Index::from_bytes(bytes).unwrap()]).unwrap());
    let rules = [
        AnyProcessor::new(InCorpus::new(Arc::clone(&damaged), false)),
        AnyProcessor::new(BlockCorpus::new(damaged, 2).unwrap()),
    ];
    for rule in rules {
        let config = BeamConfig { num_beams: 2, num_return: 1, max_new_tokens: 6, ..BeamConfig::default() };
        let mut search = BeamSearch::new(config, &[1], vec![rule]).unwrap();
        let row = [-1.0f32; 2 * 9];
        let failed = (0..6).find_map(|_| {
            let rows = RowResult::full(&row[..9 * search.live()], search.live(), 9).unwrap();
            search.step(&Rows::log_probs(rows)).err()
        });
        assert!(failed.unwrap().to_string().contains("checksum"));
    }
}

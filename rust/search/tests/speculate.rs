//! Speculative beams over a model and a session that are obvious: texts are lists of tokens, rows are hashes of them.

use draftwood_base::Token;
use draftwood_logits::{RowResult, States};
use draftwood_search::{AnyProcessor, StepCosts};
use draftwood_search::{
    BeamConfig, BeamSearch, Budget, EarlyStopping, Hypothesis, NoRepeatNgrams, OnlyTokens, Phrases,
    RepetitionPenalty, Rows, Speculation, Trie,
};
use draftwood_tree::Forest;
use proptest::prelude::*;
use std::collections::BTreeMap;

const VOCAB: usize = 24;

/// Logits after a text: by its last two tokens, a little by all of it, so that n-grams come true often.
fn row(text: &[Token], out: &mut Vec<f32>) {
    let mix = |seed: u64, token: u64| (seed ^ token).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
    let near = text.iter().rev().take(2).fold(1, |hash, &token| mix(hash, u64::from(token) + 1));
    let far = text.iter().fold(7, |hash, &token| mix(hash, u64::from(token) + 1));
    out.extend((0..VOCAB as u64).map(|token| {
        let unit = |hash: u64| (mix(hash, token * 977) >> 40) as f32 / (1 << 24) as f32;
        30.0 * unit(near) + 0.5 * unit(far)
    }));
}

fn plain(mut search: BeamSearch, prompt: &[Token]) -> (Vec<Hypothesis>, u32) {
    let (mut texts, mut steps) = (vec![prompt.to_vec()], 0);
    while !search.is_done() {
        let mut values = Vec::new();
        texts.iter().for_each(|text| row(text, &mut values));
        let result = RowResult::full(&values, texts.len(), VOCAB).unwrap();
        let survivors = search.step(&Rows::logits(result)).unwrap();
        texts = survivors.iter().map(|s| [&texts[s.row as usize][..], &[s.token]].concat()).collect();
        steps += 1;
    }
    (search.hypotheses(), steps)
}

/// What a session holds: the cached tokens of each text, and the one that comes next.
type Texts = BTreeMap<u32, (Vec<Token>, Option<Token>)>;

struct Run {
    found: Vec<Hypothesis>,
    steps: u32,
    forwards: u32,
    drafted: u32,
}

fn speculate(
    mut search: BeamSearch,
    rules: &[AnyProcessor],
    prompt: &[Token],
    lanes: usize,
    most: usize,
    auto: bool,
) -> Run {
    let mut ours = Speculation::new(&search, prompt, lanes, 0).unwrap();
    let (last, cached) = prompt.split_last().unwrap();
    let mut texts = Texts::from([(0, (cached.to_vec(), Some(*last)))]);
    let (mut next_id, mut run) = (1, Run { found: Vec::new(), steps: 0, forwards: 0, drafted: 0 });
    let mut costs = StepCosts::default();
    while !search.is_done() {
        let mut sequences = ours.sequences();
        sequences.sort_unstable();
        assert!(sequences.iter().eq(texts.keys()));
        let (mut forest, mut forwarded, mut paths, mut values) =
            (Forest::default(), Vec::new(), BTreeMap::new(), Vec::new());
        for (&sequence, (cached, next)) in &texts {
            let nodes = ours.write_tree(sequence, &mut forest);
            assert_eq!(nodes > 0, next.is_some());
            if nodes == 0 {
                continue;
            }
            forwarded.push((sequence, (values.len() / VOCAB) as u32));
            let tree = forest.tree(forest.len() - 1);
            assert_eq!(Some(tree.tokens[0]), *next);
            for node in 0..nodes {
                let mut path = Vec::new();
                tree.path_into(node, &mut path);
                let path: Vec<Token> = path.iter().map(|&at| tree.tokens[at as usize]).collect();
                let text = [&cached[..], &path[..]].concat();
                row(&text, &mut values);
                assert!(node == 0 || obeys(rules, prompt, &text), "a draft that no rule forbids");
                paths.insert((sequence, node as u32), text);
            }
        }
        assert_eq!(forwarded.len(), ours.texts());
        let rows = values.len() / VOCAB;
        assert!(rows <= most.max(search.config().num_beams as usize), "{rows} rows");
        costs.observe(rows as u32, 0.01 + 0.001 * rows as f32);
        let result = RowResult::full(&values, rows, VOCAB).unwrap();
        let budget = Budget { most, costs: auto.then_some(&costs), searches: 1 };
        let advance = ours.advance(&mut search, result, &forwarded, budget).unwrap();
        assert!(advance.steps > 0, "a forward is worth a step at least");
        run.steps += advance.steps;
        run.forwards += 1;
        run.drafted += advance.drafted;
        // The commit: first survivors keep their name, later ones fork, sources without one end.
        let mut after = Texts::new();
        let mut ids = Vec::new();
        for &(source, leaf, next) in &advance.survivors {
            let id = if after.contains_key(&source) { next_id } else { source };
            next_id += u32::from(id != source);
            after.insert(id, (paths[&(source, leaf)].clone(), Some(next)));
            ids.push(id);
        }
        for (&sequence, text) in &texts {
            if !forwarded.iter().any(|&(one, _)| one == sequence) && !advance.closed.contains(&sequence) {
                after.insert(sequence, text.clone());
            }
        }
        assert!(after.len() <= lanes, "{} texts within {lanes}", after.len());
        let changes = ours.committed(&ids);
        let mut made = Vec::new();
        for (source, fork, rows, next) in changes {
            let mut text = after[&source].0.clone();
            text.truncate(rows as usize);
            assert_eq!(text.len(), rows as usize, "no row is cut that is not there");
            let id = if fork { next_id } else { source };
            next_id += u32::from(fork);
            after.insert(id, (text, next));
            made.push(id);
            assert!(after.len() <= lanes);
        }
        ours.arranged(&made);
        texts = after;
    }
    assert!(texts.is_empty(), "nothing is left at the end");
    run.found = search.hypotheses();
    run
}

/// Whether the rules allow the last token of a text.
fn obeys(rules: &[AnyProcessor], prompt: &[Token], text: &[Token]) -> bool {
    let mut states = States::init(rules, prompt);
    let (&last, before) = text[prompt.len()..].split_last().unwrap();
    before.iter().for_each(|&token| states.advance(rules, token));
    states.allow(rules, last, false)
}

fn search(config: &BeamConfig, prompt: &[Token], kind: usize) -> BeamSearch {
    BeamSearch::new(config.clone(), prompt, rules(kind)).unwrap()
}

/// No rule, and rules that test tokens, change values, list tokens, or ask for some.
fn rules(kind: usize) -> Vec<AnyProcessor> {
    let no_repeat = || AnyProcessor::new(NoRepeatNgrams::new(4).unwrap());
    let penalty = || AnyProcessor::new(RepetitionPenalty::new(1.3).unwrap());
    match kind {
        0 => vec![],
        1 => vec![no_repeat()],
        2 => vec![penalty(), no_repeat()],
        3 => vec![trie()],
        4 => vec![AnyProcessor::new(OnlyTokens::new((0..VOCAB as Token).step_by(2).collect()).unwrap())],
        _ => {
            let phrase = vec![vec![3, 5], vec![7]];
            vec![AnyProcessor::new(Phrases::new(vec![phrase], false).unwrap())]
        }
    }
}

/// Forty sequences of 30 tokens that part within the first two.
fn trie() -> AnyProcessor {
    let sequences: Vec<Token> =
        (0..40u32).flat_map(|i| (0..30).map(move |j| (i % 6 + j * (i / 6 + 1)) % VOCAB as u32)).collect();
    AnyProcessor::new(Trie::new(&sequences, &[30; 40]).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(600)))]

    #[test]
    fn equals_one_step_at_a_time(
        prompt in prop::collection::vec(0..VOCAB as Token, 1..12),
        beams in 1u32..7, limit in 1u32..40, minimum in 0u32..5, penalty in -1.0f64..2.0, stopping in 0usize..3,
        ends in prop::collection::vec(0..VOCAB as Token, 0..3), kind in 0usize..6, keep_candidates: bool,
        more_lanes in 0usize..8, most in 1usize..24, auto: bool,
    ) {
        let config = BeamConfig {
            num_beams: beams, num_return: beams, max_new_tokens: limit, min_new_tokens: minimum.min(limit),
            length_penalty: penalty,
            early_stopping: [EarlyStopping::Heuristic, EarlyStopping::WhenFull, EarlyStopping::Never][stopping],
            end_tokens: ends, keep_candidates, ..BeamConfig::default()
        };
        let (want, steps) = plain(search(&config, &prompt, kind), &prompt);
        let run = speculate(search(&config, &prompt, kind), &rules(kind), &prompt, beams as usize + more_lanes, most, auto);
        prop_assert_eq!((run.found, run.steps), (want, steps));
        prop_assert!(run.forwards <= steps);
    }
}

#[test]
fn texts_that_repeat_themselves_need_fewer_forwards() {
    let (mut steps, mut forwards, mut drafted) = (0, 0, 0);
    for seed in 0..20 {
        let prompt: Vec<Token> = (0..6).map(|i| (seed * 7 + i * i) % VOCAB as Token).collect();
        let config = BeamConfig { num_beams: 3, num_return: 3, max_new_tokens: 60, ..BeamConfig::default() };
        let run = speculate(search(&config, &prompt, 0), &[], &prompt, 6, 12, false);
        (steps, forwards, drafted) = (steps + run.steps, forwards + run.forwards, drafted + run.drafted);
    }
    assert!(forwards * 4 < steps * 3 && drafted > 0, "{steps} steps in {forwards} forwards");
}

#[test]
fn texts_within_a_trie_need_fewer_forwards() {
    let config = BeamConfig { num_beams: 3, num_return: 3, max_new_tokens: 30, ..BeamConfig::default() };
    let (want, steps) = plain(search(&config, &[1, 2], 3), &[1, 2]);
    let run = speculate(search(&config, &[1, 2], 3), &rules(3), &[1, 2], 6, 12, false);
    assert_eq!(run.found, want);
    assert!(run.forwards * 2 < steps && run.drafted > 0, "{steps} steps in {} forwards", run.forwards);
}

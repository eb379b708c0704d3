//! The search against a slow, obvious one that sorts all continuations.

mod support;

use draftwood_logits::RowResult;
use draftwood_search::{
    AnyProcessor, BeamConfig, BeamSearch, EarlyStopping, FinishReason, NoRepeatNgrams, Processor,
    RepetitionPenalty, Rows, TokenSet,
};
use proptest::prelude::*;
use std::cell::Cell;
use support::{Hashed, Model, assert_same, beams, run};

fn configs() -> impl Strategy<Value = BeamConfig> {
    let rule = prop_oneof![
        Just(EarlyStopping::Heuristic),
        Just(EarlyStopping::WhenFull),
        Just(EarlyStopping::Never)
    ];
    let penalty = prop_oneof![Just(0.0), Just(1.0), Just(2.0), Just(-0.5), Just(0.3)];
    (1u32..9, 1u32..9, 0u32..4, penalty, rule, prop::collection::vec(0u32..20, 0..4), 1u32..9).prop_map(
        |(num_beams, max_new_tokens, min_new_tokens, length_penalty, early_stopping, mut ends, wanted)| {
            ends.extend(ends.first().copied().filter(|end| end % 2 == 0));
            BeamConfig {
                num_beams,
                num_return: wanted.min(num_beams),
                max_new_tokens,
                min_new_tokens: min_new_tokens.min(max_new_tokens),
                length_penalty,
                early_stopping,
                end_tokens: ends,
                ..BeamConfig::default()
            }
        },
    )
}

fn models() -> impl Strategy<Value = Hashed> {
    let grid = prop_oneof![Just(1e-6f32), Just(0.25), Just(1.0)];
    let masked = prop_oneof![Just(0u64), Just(3), Just(2)];
    (2usize..24, any::<u64>(), grid, masked).prop_map(|(vocab, seed, grid, masked)| Hashed {
        vocab,
        seed,
        grid,
        masked,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]

    #[test]
    fn equals_sorting_everything(config in configs(), model in models()) {
        assert_same(&run(&config, &model, &[], vec![]), &beams(&config, &model, &|_| false));
    }

    #[test]
    fn banned_tokens_never_come(mut config in configs(), model in models(), banned in prop::collection::vec(0u32..24, 0..20)) {
        config.banned = TokenSet::new(&banned);
        assert_same(&run(&config, &model, &[], vec![]), &beams(&config, &model, &|_| false));
    }

    #[test]
    fn no_ngram_comes_twice(config in configs(), model in models(), prompt in prop::collection::vec(0u32..6, 0..12), size in 1u32..4) {
        let n = size as usize;
        let forbids = |text: &[u32]| {
            let whole = [&prompt[..], text].concat();
            whole.len() >= n && whole[..whole.len() - 1].windows(n).any(|w| w == &whole[whole.len() - n..])
        };
        let rules = vec![AnyProcessor::new(NoRepeatNgrams::new(size).unwrap())];
        assert_same(&run(&config, &model, &prompt, rules), &beams(&config, &model, &forbids));
    }

    /// A rule that changes values takes the other path through the step, with one that only masks beside it.
    #[test]
    fn penalties_are_part_of_the_row(config in configs(), model in models(), prompt in prop::collection::vec(0u32..6, 0..12), penalty in 0.5f32..2.0) {
        struct Penalised<'a>(&'a Hashed, &'a [u32], f32);
        impl Model for Penalised<'_> {
            fn row(&self, tokens: &[u32]) -> Vec<f32> {
                let mut row = self.0.row(tokens);
                for (token, x) in row.iter_mut().enumerate() {
                    if self.1.iter().chain(tokens).any(|&t| t as usize == token) {
                        *x *= self.2;
                    }
                }
                row
            }
        }
        let forbids = |text: &[u32]| {
            let whole = [&prompt[..], text].concat();
            whole.len() >= 2 && whole[..whole.len() - 1].windows(2).any(|w| w == &whole[whole.len() - 2..])
        };
        let rules = vec![
            AnyProcessor::new(NoRepeatNgrams::new(2).unwrap()),
            AnyProcessor::new(RepetitionPenalty::new(penalty).unwrap()),
        ];
        let want = beams(&config, &Penalised(&model, &prompt, penalty), &forbids);
        assert_same(&run(&config, &model, &prompt, rules), &want);
    }

    /// Logits shifted by anything are the same law; a written row, given back, gives the same step.
    #[test]
    fn logits_and_written_rows_lead_to_the_same_step(
        config in configs(), values in prop::collection::vec(-9f32..9.0, 30), shift in -50f32..50.0, masked in 0usize..10,
    ) {
        let mut values = values;
        values[masked] = f32::NEG_INFINITY;
        let lse = draftwood_logits::log_sum_exp(&values);
        let logs: Vec<f32> = values.iter().map(|&x| if x.is_finite() { (f64::from(x) - lse) as f32 } else { x }).collect();
        let shifted: Vec<f32> = values.iter().map(|x| x + shift).collect();
        let rule = || vec![AnyProcessor::new(NoRepeatNgrams::new(1).unwrap())];
        let new = || BeamSearch::new(config.clone(), &[4, 5], rule()).unwrap();
        let full = |x| RowResult::full(x, 1, 30).unwrap();
        let (mut a, mut b, mut c) = (new(), new(), new());
        let want = a.step(&Rows::log_probs(full(&logs))).unwrap().to_vec();
        let mut written = vec![0.0; 30];
        b.write_rows(&Rows::logits(full(&values)), &mut written).unwrap();
        prop_assert_eq!(written[4], f32::NEG_INFINITY);
        prop_assert_eq!(b.step(&Rows::processed(full(&written))).unwrap(), &want[..]);
        for (x, y) in c.step(&Rows::logits(full(&shifted))).unwrap().iter().zip(&want) {
            prop_assert!((x.score - y.score).abs() < 1e-4, "{x:?} {y:?}");
        }
        prop_assert_eq!(a.hypotheses(), b.hypotheses());
    }
}

/// The generators reach what they are there for.
#[test]
fn the_drawn_searches_are_not_trivial() {
    let (mut stopped, mut limited, mut early, mut total) = (0, 0, 0, 0);
    for seed in 0..300 {
        let model = Hashed { vocab: 12, seed, grid: 1e-6, masked: 0 };
        let config = BeamConfig {
            num_beams: 4,
            max_new_tokens: 8,
            end_tokens: vec![3, 7],
            num_return: 4,
            ..BeamConfig::default()
        };
        let found = run(&config, &model, &[], vec![]);
        stopped += found.iter().filter(|h| h.finish == FinishReason::Stop).count();
        limited += found.iter().filter(|h| h.finish == FinishReason::Length).count();
        early += usize::from(found.iter().all(|h| h.tokens.len() < 8));
        total += 1;
    }
    assert!(stopped > total && limited > 20 && early > 20, "{stopped} {limited} {early} {total}");
}

#[test]
fn a_dead_end_returns_the_best_prefix() {
    struct Dead;
    impl Model for Dead {
        fn row(&self, tokens: &[u32]) -> Vec<f32> {
            if tokens.len() == 2 { vec![f32::NEG_INFINITY; 4] } else { vec![-1.0, -0.5, -2.0, -3.0] }
        }
    }
    let config = BeamConfig { num_beams: 3, num_return: 3, ..BeamConfig::default() };
    let found = run(&config, &Dead, &[], vec![]);
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].tokens[..], found[0].score), (&[1, 1][..], -0.5));
    assert_eq!(found[0].finish, FinishReason::Constraint);

    struct Nothing;
    impl Model for Nothing {
        fn row(&self, _: &[u32]) -> Vec<f32> {
            vec![f32::NEG_INFINITY; 4]
        }
    }
    let found = run(&config, &Nothing, &[], vec![]);
    assert_eq!((found.len(), found[0].tokens.len(), found[0].score), (1, 0, 0.0));
}

#[test]
fn bad_rows_are_refused_and_change_nothing() {
    let config = BeamConfig { num_beams: 2, ..BeamConfig::default() };
    let mut search = BeamSearch::new(config, &[], vec![]).unwrap();
    let rows = |values: &'static [f32], n| RowResult::full(values, n, values.len() / n).unwrap();
    let words = |search: &mut BeamSearch, rows: Rows<'_>| search.step(&rows).unwrap_err().to_string();
    let nan = rows(&[0.0, f32::NAN, 1.0], 1);
    assert!(
        words(&mut search, Rows::logits(nan))
            .starts_with("the logits of beam 0 must be finite or -inf, got NaN")
    );
    let infinite = rows(&[0.0, 1.0, f32::INFINITY], 1);
    assert!(words(&mut search, Rows::log_probs(infinite)).contains("got inf at token 2"));
    assert!(words(&mut search, Rows::logits(infinite)).contains("got inf at token 2"));
    let two = rows(&[0.0, 1.0, 0.0, 1.0], 2);
    assert!(
        words(&mut search, Rows::logits(two))
            .starts_with("the number of rows must be 1: one per live beam, got 2")
    );
    assert_eq!(search.step(&Rows::logits(rows(&[0.0, 1.0, 2.0], 1))).unwrap().len(), 2);
    let wider = rows(&[0.0; 8], 2);
    assert!(words(&mut search, Rows::logits(wider)).starts_with("the vocabulary size must be 3"));
    assert!(Rows::logits(wider).in_order(&[0, 2]).is_err());
    assert_eq!(search.length(), 1);
}

#[test]
fn beams_may_lie_anywhere_in_the_result() {
    let config = BeamConfig { num_beams: 2, ..BeamConfig::default() };
    let mut search = BeamSearch::new(config, &[], vec![]).unwrap();
    search.step(&Rows::logits(RowResult::full(&[2.0, 1.0, 0.0], 1, 3).unwrap())).unwrap();
    let values = [9.0, 9.0, 9.0, 0.0, 0.0, 5.0, 5.0, 0.0, 0.0];
    let rows = Rows::logits(RowResult::full(&values, 3, 3).unwrap()).in_order(&[2, 1]).unwrap();
    let survivors = search.step(&rows).unwrap();
    assert_eq!(survivors.iter().map(|s| (s.row, s.token)).collect::<Vec<_>>(), [(0, 0), (1, 2)]);
}

/// A user's rule sees every token once per path, in order.
#[test]
fn states_follow_their_paths() {
    struct Recorder;
    thread_local!(static APPLIED: Cell<u32> = const { Cell::new(0) });
    impl Processor for Recorder {
        type State = Vec<u32>;
        fn init(&self, ids: &[u32]) -> Vec<u32> {
            ids.to_vec()
        }
        fn advance(&self, state: &mut Vec<u32>, token: u32) {
            state.push(token);
        }
        fn apply(&self, state: &Vec<u32>, row: &mut [f32]) {
            APPLIED.set(APPLIED.get() + 1);
            row.fill(f32::NEG_INFINITY);
            row[state.iter().sum::<u32>() as usize % 5] = -1.0;
            row[(state.iter().sum::<u32>() as usize + 1) % 5] = -1.0;
        }
    }
    let config = BeamConfig { num_beams: 2, num_return: 2, max_new_tokens: 3, ..BeamConfig::default() };
    let model = Hashed { vocab: 5, seed: 1, grid: 1.0, masked: 0 };
    let found = run(&config, &model, &[3], vec![AnyProcessor::new(Recorder)]);
    for hypothesis in &found {
        let mut text = vec![3];
        for &token in &hypothesis.tokens {
            let sum: u32 = text.iter().sum();
            assert!(token == sum % 5 || token == (sum + 1) % 5);
            text.push(token);
        }
    }
    assert_eq!(APPLIED.get(), 1 + 2 + 2);
}

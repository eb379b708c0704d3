//! The draft-length policy on scripted texts and scripted times: never much slower than plain decoding, near the best
//! fixed length in hindsight, and quick to notice that a text has changed its ways.

#[allow(dead_code, reason = "each test uses a part")]
mod simulated;

use draftwood_base::Token;
use draftwood_plan::{DraftPolicy, Session};
use draftwood_tree::Drafter;
use simulated::*;

/// Tokens at random out of a small alphabet: every token has occurred before, and nothing follows from it.
fn random(seed: u64, length: usize) -> Vec<Token> {
    let mut numbers = Numbers(seed * 0x9E37_79B9 + 1);
    (0..length).map(|_| numbers.below(60) as Token).collect()
}

/// A passage over and over, with a wrong token now and then.
fn looping(seed: u64, length: usize) -> Vec<Token> {
    let (period, mut numbers) = (random(seed + 1000, 23), Numbers(seed + 77));
    let word = |i: usize, numbers: &mut Numbers| match numbers.below(17) {
        0 => 100 + numbers.below(500) as Token,
        _ => period[i % period.len()],
    };
    (0..length).map(|i| word(i, &mut numbers)).collect()
}

fn text(prompt: usize, tokens: Vec<Token>) -> Text {
    Text { prompt: tokens[..prompt].to_vec(), output: tokens[prompt..].to_vec() }
}

type Curve = (&'static str, Box<dyn Fn(u32) -> f64>);

fn curves() -> Vec<Curve> {
    vec![
        ("4-bit weights", Box::new(table(Q4_1))),
        ("f32 weights", Box::new(table(F32))),
        ("every row costs a step", Box::new(|rows| 2e-3 * f64::from(rows))),
        ("rows are free", Box::new(|rows| 2e-3 + 1e-9 * f64::from(rows))),
        ("four rows cost what one does", Box::new(|rows| 2e-3 * (1.0 + 0.8 * f64::from((rows - 1) / 4)))),
    ]
}

fn plain(texts: &[Text], machine: &Machine<'_>) -> Run {
    total(&one_by_one(DraftPolicy::Always, 1, ngram(), texts, machine))
}

fn auto(drafter: Box<dyn Drafter>, texts: &[Text], machine: &Machine<'_>) -> Run {
    total(&one_by_one(DraftPolicy::Auto, 16, drafter, texts, machine))
}

fn best_fixed(texts: &[Text], machine: &Machine<'_>) -> f64 {
    let fixed = |nodes| total(&one_by_one(DraftPolicy::Always, nodes, mix(), texts, machine)).rate();
    [1, 2, 3, 4, 5, 6, 8, 12, 16].map(fixed).into_iter().fold(0.0, f64::max)
}

/// Times as a busy machine gives them: a tenth up or down, and stalls.
fn disturbed(seconds: f64, step: usize) -> f64 {
    let mut numbers = Numbers(step as u64 * 7919 + 13);
    let noise = 0.9 + 0.2 * numbers.below(1000) as f64 / 1000.0;
    seconds * noise * if numbers.below(15) == 0 { 40.0 } else { 1.0 }
}

#[test]
fn texts_that_repeat_nothing_lose_less_than_two_percent() {
    let texts: Vec<Text> = (0..4).map(|seed| text(100, random(seed, 400))).collect();
    for (name, time) in &curves() {
        for told in [&(|time, _| time) as &dyn Fn(f64, usize) -> f64, &disturbed] {
            let machine = Machine { time, told, proposing: 2e-6 };
            let plain = plain(&texts, &machine);
            let drafters: [(&str, Box<dyn Drafter>); 3] =
                [("ngram", ngram()), ("mix", mix()), ("without probabilities", Box::new(Bare(ngram())))];
            for (drafter, its) in drafters {
                let runs = one_by_one(DraftPolicy::Auto, 16, its, &texts, &machine);
                for run in &runs {
                    let ratio = run.rate() / plain.rate();
                    assert!(ratio > 0.98, "{name}, {drafter}: {ratio:.3} of plain decoding, {run:?}");
                }
            }
        }
    }
}

#[test]
fn texts_that_repeat_come_near_the_best_length_in_hindsight() {
    let texts: Vec<Text> = (0..4).map(|seed| text(100, looping(seed, 500))).collect();
    for (name, time) in &curves() {
        let exact = Machine::exact(time);
        let best = best_fixed(&texts, &exact);
        let ratio = auto(mix(), &texts, &exact).rate() / best;
        assert!(ratio > 0.93, "{name}: {ratio:.3} of the best fixed length");
        let ratio = auto(mix(), &texts, &Machine { told: &disturbed, ..exact }).rate() / best;
        assert!(ratio > 0.83, "{name}, disturbed: {ratio:.3} of the best fixed length");
    }
}

#[test]
fn a_text_that_changes_its_ways_is_noticed_both_ways() {
    let mut tokens = random(1, 500);
    tokens.extend(looping(2, 400));
    tokens.extend(random(3, 500));
    let (whole, repeats) = ([text(100, tokens)], [text(30, looping(2, 400))]);
    for (name, time) in &curves() {
        let machine = Machine::exact(time);
        let alone = auto(mix(), &repeats, &machine);
        let run = auto(mix(), &whole, &machine);
        // Phases at the speed that each has alone: plain, drafted, plain.
        let bound = 900.0 * time(1) + 400.0 / alone.rate();
        assert!(run.seconds < bound * 1.06, "{name}: {} instead of {bound}", run.seconds);
    }
}

#[test]
fn one_choice_for_all_texts_of_a_step() {
    let mut texts: Vec<Text> = (0..6).map(|seed| text(20, random(seed, 320))).collect();
    texts.extend((0..2).map(|seed| text(20, looping(seed, 320))));
    for (name, time) in &curves() {
        let machine = Machine::exact(time);
        let run = |policy, nodes| {
            generate(&mut Session::new(config(policy, nodes)).unwrap(), &mut *mix(), &texts, &machine)
        };
        let plain = run(DraftPolicy::Always, 1);
        // What a step does for all texts together, while all of them run.
        let rate = |run: &Run| run.full.0 as f64 / run.full.1;
        let best = [1, 2, 3, 4, 6, 8, 16].map(|nodes| rate(&run(DraftPolicy::Always, nodes)));
        let best = best.into_iter().fold(0.0, f64::max);
        let auto = run(DraftPolicy::Auto, 16);
        assert!(rate(&auto) > 0.98 * rate(&plain), "{name}: {:.3}", rate(&auto) / rate(&plain));
        assert!(rate(&auto) > 0.95 * best, "{name}: {:.3} of the best fixed length", rate(&auto) / best);
        if name.contains("weights") {
            let came_true = auto.counts.accepted as f64 / auto.counts.drafted as f64;
            assert!(came_true > 0.4, "the rows go to the texts that repeat: {:?}", auto.counts);
        }
    }
}

#[test]
fn looking_whether_drafts_pay_again_costs_less_than_a_hundredth() {
    let texts = [text(100, random(5, 4000))];
    let time = |rows| 2e-3 * f64::from(rows);
    let run = auto(ngram(), &texts, &Machine::exact(&time));
    let lost = (run.rows - run.steps) as f64 / run.steps as f64;
    assert!(lost < 0.01, "{lost} rows per step that every row doubles");
    // A machine whose rows cost a step each, and then next to nothing.
    let (before, after) = (looping(1, 300), looping(1, 1500));
    let mut session = Session::new(config(DraftPolicy::Auto, 16)).unwrap();
    let mut drafter = ngram();
    let dear = |rows: u32| 1e-3 * f64::from(rows);
    let cheap = |rows: u32| 1e-3 + 1e-5 * f64::from(rows);
    let mut run = |tokens, time: &dyn Fn(u32) -> f64| {
        generate(&mut session, &mut *drafter, &[text(30, tokens)], &Machine::exact(time))
    };
    let first = run(before, &dear);
    assert!(first.rate() > 970.0, "{first:?}");
    let later = run(after, &cheap);
    assert!(later.tokens as f64 / later.steps as f64 > 2.0, "{later:?}");
}

#[test]
fn dear_proposals_are_made_where_they_pay() {
    let time = table(F32);
    let machine = Machine { proposing: 4e-3, ..Machine::exact(&time) };
    let (useless, useful) = ([text(100, random(6, 1000))], [text(100, looping(6, 1000))]);
    for drafter in [ngram as fn() -> Box<dyn Drafter>, || Box::new(Bare(ngram()))] {
        let ratio = |texts: &[Text]| auto(drafter(), texts, &machine).rate() / plain(texts, &machine).rate();
        assert!(ratio(&useless) > 0.97, "{}", ratio(&useless));
        assert!(ratio(&useful) > 1.5, "{}", ratio(&useful));
    }
    // From one to the other within a text.
    let both = [text(100, [random(7, 600), looping(7, 600)].concat())];
    let run = auto(Box::new(Bare(ngram())), &both, &machine);
    assert!(run.rate() / plain(&both, &machine).rate() > 1.15);
}

#[test]
fn without_times_drafts_are_still_made() {
    let time = table(Q4_1);
    let machine = Machine { told: &|_, _| 0.0, ..Machine::exact(&time) };
    let run = auto(mix(), &[text(100, looping(8, 400))], &machine);
    assert!(run.tokens as f64 / run.steps as f64 > 2.0, "{run:?}");
}

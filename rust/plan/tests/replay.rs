//! Recorded texts of SmolLM2-135M-Instruct (tests/data/make_replay.py): the policy against every fixed length.

#[allow(dead_code, reason = "each test uses a part")]
mod simulated;

use draftwood_plan::DraftPolicy;
use simulated::*;

const GROUPS: usize = 6;

/// Times beside one row, from the machine that the texts' predicted speed-ups refer to.
const Q4_1_RATIOS: &[(f64, f64)] = &[(1.0, 1.0), (4.0, 1.33), (8.0, 1.93), (16.0, 3.5), (32.0, 6.9)];
const F32_RATIOS: &[(f64, f64)] = &[(1.0, 1.0), (4.0, 1.09), (8.0, 1.34), (16.0, 1.52), (32.0, 2.6)];

fn recorded() -> Vec<Text> {
    let bytes = include_bytes!("../../../tests/data/replay.u16");
    let numbers: Vec<u32> =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]]))).collect();
    let (mut at, mut texts) = (0, Vec::new());
    while at < numbers.len() {
        let (prompt, output) = (numbers[at] as usize, numbers[at + 1] as usize);
        let tokens = &numbers[at + 2..at + 2 + prompt + output];
        texts.push(Text { prompt: tokens[..prompt].to_vec(), output: tokens[prompt..].to_vec() });
        at += 2 + prompt + output;
    }
    texts
}

/// Geometric mean over the task groups.
fn speed_up(runs: &[Run], plain: &[Run]) -> f64 {
    let size = runs.len() / GROUPS;
    let logs =
        runs.chunks(size).zip(plain.chunks(size)).map(|(a, b)| (total(a).rate() / total(b).rate()).ln());
    (logs.sum::<f64>() / GROUPS as f64).exp()
}

#[test]
fn the_policy_does_as_well_as_the_best_fixed_length_and_loses_nowhere() {
    let texts = recorded();
    assert_eq!(texts.len() % GROUPS, 0);
    for (name, points, at_least) in [
        ("Q4_1", Q4_1_RATIOS, 1.29),
        ("f32", F32_RATIOS, 1.45),
        ("Q4_1 flat", Q4_1, 1.4),
        ("f32 flat", F32, 1.45),
    ] {
        let time = table(points);
        let machine = Machine::exact(&time);
        let plain = one_by_one(DraftPolicy::Always, 1, mix(), &texts, &machine);
        let fixed = [2, 3, 4, 5, 6, 8, 16]
            .map(|nodes| speed_up(&one_by_one(DraftPolicy::Always, nodes, mix(), &texts, &machine), &plain));
        let best = fixed.into_iter().fold(0.0, f64::max);
        let auto = one_by_one(DraftPolicy::Auto, 16, mix(), &texts, &machine);
        let gain = speed_up(&auto, &plain);
        assert!(gain > 0.98 * best, "{name}: {gain:.3}, the best fixed length {best:.3}");
        assert!(gain > at_least, "{name}: {gain:.3}");
        for (least, its) in [(0.985, 100), (0.98, 1)] {
            let ratios = auto.iter().zip(&plain).filter(|(run, _)| run.tokens >= its);
            let worst = ratios.map(|(run, plain)| run.rate() / plain.rate()).fold(9.0, f64::min);
            assert!(worst > least, "{name}: a text of {its} tokens or more at {worst:.3} of plain decoding");
        }
    }
}

//! Replay of recorded texts.

mod simulated;

use draftwood_plan::DraftPolicy;
use simulated::*;

fn read(path: &str) -> Vec<Text> {
    let bytes = std::fs::read(path).unwrap();
    let numbers: Vec<u32> =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]]))).collect();
    let (mut at, mut texts) = (0, Vec::new());
    while at < numbers.len() {
        let (p, o) = (numbers[at] as usize, numbers[at + 1] as usize);
        let from = at + 2;
        texts.push(Text {
            prompt: numbers[from..from + p].to_vec(),
            output: numbers[from + p..from + p + o].to_vec(),
        });
        at = from + p + o;
    }
    texts
}

#[test]
fn explore() {
    let Ok(path) = std::env::var("REPLAY") else { return };
    let texts = read(&path);
    const SPEC: &[(f64, f64)] = &[(1.0, 1.0), (4.0, 1.33), (8.0, 1.93), (16.0, 3.5), (32.0, 6.9)];
    const SPECF: &[(f64, f64)] = &[(1.0, 1.0), (4.0, 1.09), (8.0, 1.34), (16.0, 1.52), (32.0, 2.6)];
    for (name, points) in [("q41", Q4_1), ("f32", F32), ("spec q41", SPEC), ("spec f32", SPECF)] {
        let time = table(points);
        let machine = Machine::exact(&time);
        let group = texts.len() / 6;
        let show = |what: &str, runs: &[Run], plain: &[Run]| {
            let ratio = |a: &[Run], b: &[Run]| total(a).rate() / total(b).rate();
            let geo: f64 = (0..6)
                .map(|g| ratio(&runs[g * group..(g + 1) * group], &plain[g * group..(g + 1) * group]).ln())
                .sum::<f64>()
                / 6.0;
            let all = total(runs);
            let mut each: Vec<f64> = runs
                .iter()
                .zip(plain)
                .filter(|(r, _)| r.tokens > 60)
                .map(|(r, p)| r.rate() / p.rate())
                .collect();
            each.sort_by(f64::total_cmp);
            println!(
                "{name:9} {what:14} geo {:.3} tok/step {:.2} rows {:.2} min {:.3} {:.3} p10 {:.3} med {:.3}",
                geo.exp(),
                all.tokens as f64 / all.steps as f64,
                all.rows as f64 / all.steps as f64,
                each[0],
                each[1],
                each[each.len() / 10],
                each[each.len() / 2]
            );
        };
        let plain = one_by_one(DraftPolicy::Always, 1, ngram(), &texts, &machine);
        for k in [3, 4, 5, 6, 8, 16] {
            show(&format!("fix {k}"), &one_by_one(DraftPolicy::Always, k, ngram(), &texts, &machine), &plain);
        }
        for k in [4, 8, 16] {
            show(
                &format!("mix fix {k}"),
                &one_by_one(DraftPolicy::Always, k, mix(), &texts, &machine),
                &plain,
            );
        }
        show("auto ngram", &one_by_one(DraftPolicy::Auto, 16, ngram(), &texts, &machine), &plain);
        show("auto suffix", &one_by_one(DraftPolicy::Auto, 16, suffix(), &texts, &machine), &plain);
        show("auto mix", &one_by_one(DraftPolicy::Auto, 16, mix(), &texts, &machine), &plain);
        show("auto mix 32", &one_by_one(DraftPolicy::Auto, 32, mix(), &texts, &machine), &plain);
        show(
            "bare ngram",
            &one_by_one(DraftPolicy::Auto, 16, Box::new(Bare(ngram())), &texts, &machine),
            &plain,
        );
    }
}

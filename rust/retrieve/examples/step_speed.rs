//! Constrained steps on recorded log-probabilities: `step_speed INDEX STEPS` prints a line per step, the n-gram's
//! length, nanoseconds of the step, and the sum of the tokens chosen.
//!
//! STEPS holds for each step: u32 length, beams, vocabulary, k; u32 n-grams [beams, length]; f32 scores [beams]; f32
//! log-probabilities [beams, vocabulary].
#![allow(clippy::print_stdout, missing_docs)]

use draftwood_retrieve::index::{Group, Index, Rows};
use draftwood_retrieve::{Constrained, Step};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

const REPEATS: u32 = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, index, steps] = arguments.as_slice() else { return Err("INDEX STEPS".into()) };
    let group = Group::new(vec![Index::open(Path::new(index))?])?;
    group.parts()[0].verify(|_| ())?;
    let bytes = std::fs::read(steps)?;
    let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let (mut rest, mut constrained) = (words.as_slice(), Constrained::default());
    while let [length, beams, vocab, k, behind @ ..] = rest {
        let [length, beams, vocab, k] = [*length, *beams, *vocab, *k].map(|value| value as usize);
        let (ids, behind) = behind.split_at(beams * length);
        let (scores, behind) = behind.split_at(beams);
        let (log_probs, behind) = behind.split_at(beams * vocab);
        rest = behind;
        let floats = |words: &[u32]| words.iter().map(|&word| f32::from_bits(word)).collect::<Vec<f32>>();
        let (scores, log_probs) = (floats(scores), floats(log_probs));
        let mut rows: Vec<Rows> = Vec::new();
        for beam in 0..beams {
            group.find(&ids[beam * length..(beam + 1) * length], false, &mut rows)?;
        }
        let step = Step { rows: &rows, scores: &scores, log_probs: &log_probs, end: None, k };
        let mut whole = Vec::new();
        for _ in 0..REPEATS {
            let start = Instant::now();
            constrained.step(&group, step)?;
            whole.push(start.elapsed().as_nanos());
        }
        whole.sort_unstable();
        let chosen: u64 = constrained.candidates().iter().map(|one| u64::from(one.token)).sum();
        println!("{length}\t{}\t{chosen}", whole[whole.len() / 2]);
    }
    Ok(())
}

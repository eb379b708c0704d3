//! Constrained steps on recorded log-probabilities: `step_speed INDEX STEPS` prints a line per step, the n-gram's
//! length, nanoseconds of the step, those of the step that the index took to answer, its answers, and the sum of the
//! tokens chosen. Answers are timed where they are asked for, in steps of their own, a reading of the clock each.
//!
//! STEPS holds for each step: u32 length, beams, vocabulary, k; u32 n-grams [beams, length]; f32 scores [beams]; f32
//! log-probabilities [beams, vocabulary].
#![allow(clippy::print_stdout, missing_docs)]

use draftwood_base::{Result as Answer, Token};
use draftwood_retrieve::index::{Followers, Group, Index, Rows};
use draftwood_retrieve::{Answers, Constrained, Step};
use std::cell::Cell;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

const REPEATS: u32 = 15;

/// An index that knows how long it has answered, in nanoseconds, and how often.
struct Timed<'a> {
    index: &'a Group,
    spent: Cell<u128>,
    answers: Cell<u32>,
}

impl Timed<'_> {
    fn timed<T>(&self, answer: impl FnOnce(&Group) -> T) -> T {
        let start = Instant::now();
        let answer = answer(self.index);
        self.spent.set(self.spent.get() + start.elapsed().as_nanos());
        self.answers.set(self.answers.get() + 1);
        answer
    }
}

impl Answers for Timed<'_> {
    fn parts(&self) -> usize {
        self.index.parts().len()
    }

    fn children(&self, part: usize, rows: Rows, ids: &[Token], out: &mut Vec<Rows>) -> Answer<()> {
        self.timed(|index| Answers::children(index, part, rows, ids, out))
    }

    fn next(&self, part: usize, rows: Rows, out: &mut Followers) -> Answer<()> {
        self.timed(|index| Answers::next(index, part, rows, out))
    }

    fn extend(&self, part: usize, rows: Rows, id: Token) -> Answer<Rows> {
        self.timed(|index| Answers::extend(index, part, rows, id))
    }

    fn document_ends(&self, part: usize, rows: Rows) -> Answer<u32> {
        self.timed(|index| Answers::document_ends(index, part, rows))
    }
}

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
        let (mut whole, mut answering, mut answers) = (Vec::new(), Vec::new(), 0);
        for _ in 0..REPEATS {
            let start = Instant::now();
            constrained.step(&group, step)?;
            whole.push(start.elapsed().as_nanos());
            let chosen = constrained.candidates().to_vec();
            let timed = Timed { index: &group, spent: Cell::new(0), answers: Cell::new(0) };
            constrained.step(&timed, step)?;
            if constrained.candidates() != chosen {
                return Err("a step that is watched must choose alike".into());
            }
            answering.push(timed.spent.get());
            answers = timed.answers.get();
        }
        whole.sort_unstable();
        answering.sort_unstable();
        let chosen: u64 = constrained.candidates().iter().map(|one| u64::from(one.token)).sum();
        let middle = whole.len() / 2;
        println!("{length}\t{}\t{}\t{answers}\t{chosen}", whole[middle], answering[middle]);
    }
    Ok(())
}

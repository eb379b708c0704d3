//! What attribution costs: `attribute_speed INDEX TEXTS` or `attribute_speed worst LENGTH` prints a line per text: its
//! tokens, nanoseconds without and with places, live ranges summed over its tokens, spans.
//!
//! TEXTS holds for each text: u32 tokens, then as many u32 ids. The worst case is one token over and over, in the corpus
//! as in the text: every suffix has a count of its own.
#![allow(clippy::print_stdout, missing_docs)]

use draftwood_base::Token;
use draftwood_retrieve::index::{Corpus, Group, Index, Matcher, Tier};
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

const LEAST: u64 = 8;
const PLACES: usize = 10;
const REPEATS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, index, texts] = arguments.as_slice() else { return Err("INDEX TEXTS | worst LENGTH".into()) };
    if index == "worst" {
        let (mut corpus, text) = (Corpus::default(), vec![7; texts.parse()?]);
        corpus.push(&text)?;
        let index = Group::new(vec![Index::build_in_memory(&corpus, Tier::Standard)?])?;
        return told(&index, &text, 1);
    }
    let group = Group::new(vec![Index::open(Path::new(index))?])?;
    group.parts()[0].verify(|_| ())?;
    let bytes = std::fs::read(texts)?;
    let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let mut rest = words.as_slice();
    while let [tokens, behind @ ..] = rest {
        let (ids, after) = behind.split_at(*tokens as usize);
        rest = after;
        told(&group, ids, REPEATS)?;
    }
    Ok(())
}

fn told(group: &Group, ids: &[Token], repeats: usize) -> Result<(), Box<dyn Error>> {
    let (mut matcher, mut ranges) = (Matcher::default(), 0);
    for &id in ids {
        matcher.append(&group.parts()[0], id)?;
        ranges += matcher.matches().len();
    }
    let time = |places| -> Result<u128, Box<dyn Error>> {
        let mut spent = Vec::new();
        for _ in 0..repeats {
            let start = Instant::now();
            black_box(group.attribute(ids, LEAST, places)?);
            spent.push(start.elapsed().as_nanos());
        }
        spent.sort_unstable();
        Ok(spent[repeats / 2])
    };
    let (plain, placed) = (time(0)?, time(PLACES)?);
    let spans = group.attribute(ids, LEAST, 0)?.len();
    println!("{}\t{plain}\t{placed}\t{ranges}\t{spans}", ids.len());
    Ok(())
}

//! Our side of `benches/retrieval/replay_drafts.py`: recorded texts through drafters, without a model.
//!
//!     replay_drafts TEXTS NODES                tokens per step: drafter, steps, tokens, nanoseconds per step
//!     replay_drafts TEXTS long CONTEXT         one text of that many tokens: nanoseconds per append, per proposal,
//!                                              less what reading the clock takes
//!
//! TEXTS holds u32: prompt length, output length, tokens, text after text.
#![allow(clippy::print_stdout, missing_docs)]

use draftwood_base::{Locked, SequenceId, Token};
use draftwood_retrieve::{
    Mix, NGram, NGramConfig, Outputs, OutputsConfig, SharedDrafter, Suffix, SuffixConfig,
};
use draftwood_tree::{Drafter, Forest, GrowingText, View};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
/// Prompt and output, and where the output begins.
type Text = (Vec<Token>, usize);

const DEEPEST: u32 = 64;
const APPENDED: usize = 2000;

fn read(path: &Path) -> Result<Vec<Text>> {
    let bytes = std::fs::read(path)?;
    let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let (mut texts, mut rest) = (Vec::new(), words.as_slice());
    while let [prompt, output, behind @ ..] = rest {
        let (tokens, after) = behind.split_at((prompt + output) as usize);
        texts.push((tokens.to_vec(), *prompt as usize));
        rest = after;
    }
    Ok(texts)
}

fn shared(drafter: impl Drafter + 'static) -> SharedDrafter {
    Arc::new(Locked::new(drafter))
}

fn drafters() -> Result<Vec<(&'static str, Box<dyn Drafter>)>> {
    let suffix = || Suffix::new(SuffixConfig::default());
    let ngram = || NGram::new(NGramConfig { max_ngram: 3, min_prob: 0.01 });
    let outputs = || Outputs::new(OutputsConfig::default());
    Ok(vec![
        ("ngram", Box::new(ngram()?)),
        ("suffix", Box::new(suffix()?)),
        ("mix", Box::new(Mix::new(vec![shared(ngram()?), shared(suffix()?)])?)),
        ("outputs", Box::new(outputs()?)),
        ("mix outputs", Box::new(Mix::new(vec![shared(ngram()?), shared(suffix()?), shared(outputs()?)])?)),
    ])
}

/// The text with every draft verified: steps, and the time of the drafter.
fn replay(
    drafter: &mut dyn Drafter,
    number: u32,
    (tokens, prompt): &Text,
    nodes: u32,
) -> Result<(usize, Duration)> {
    let (mut at, mut steps, mut time, mut forest) = (*prompt, 0, Duration::ZERO, Forest::default());
    let mut text = GrowingText::new(tokens[..at].to_vec());
    while at < tokens.len() {
        let view = View {
            source: &[],
            sequence: SequenceId(number),
            tokens: text.as_ref(),
            budget: nodes,
            max_depth: DEEPEST,
            salt: 0,
        };
        forest.clear();
        let start = Instant::now();
        drafter.propose_batch(&[view], &mut forest)?;
        time += start.elapsed();
        let (tree, mut node) = (forest.tree(0), 0);
        let known = at;
        // Accepted: the path that the text takes. Then the token that the model gives itself.
        while let Some(&token) = tokens.get(at) {
            let child =
                (1..tree.len()).find(|&i| tree.parents[i] as usize == node && tree.tokens[i] == token);
            at += 1;
            match child {
                Some(child) => node = child,
                None => break,
            }
        }
        text.extend(tokens[known..at].iter().copied());
        steps += 1;
    }
    drafter.close(SequenceId(number));
    Ok((steps, time))
}

/// Nanoseconds that reading the clock twice takes: a fifth of an append.
fn clock() -> u64 {
    let mut times: Vec<u64> = (0..10_001).map(|_| Instant::now().elapsed().as_nanos() as u64).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// One text that grows token by token: proposals without room for a draft only read what is new.
fn long(texts: &[Text], context: usize) -> Result<()> {
    let all: Vec<Token> =
        texts.iter().flat_map(|text| &text.0).copied().cycle().take(context + APPENDED).collect();
    let clock = clock();
    for (name, mut drafter) in drafters()? {
        if name.contains("outputs") {
            continue;
        }
        let (mut forest, mut bulk, mut append, mut propose) = (Forest::default(), 0, Vec::new(), Vec::new());
        let mut text = GrowingText::new(all[..context].to_vec());
        for end in context..all.len() {
            if end > context {
                text.push(all[end - 1]);
            }
            for budget in [1, 32] {
                let view = View {
                    source: &[],
                    sequence: SequenceId(0),
                    tokens: text.as_ref(),
                    budget,
                    max_depth: DEEPEST,
                    salt: 0,
                };
                forest.clear();
                let start = Instant::now();
                drafter.propose_batch(&[view], &mut forest)?;
                let time = (start.elapsed().as_nanos() as u64).saturating_sub(clock);
                match (end == context, budget) {
                    (true, 1) => bulk = time,
                    (true, _) => {}
                    (false, 1) => append.push(time),
                    (false, _) => propose.push(time),
                }
            }
        }
        append.sort_unstable();
        propose.sort_unstable();
        let (append, propose) = (append[append.len() / 2], propose[propose.len() / 2]);
        println!("{name}\t{:.1}\t{append}\t{propose}", bulk as f64 / context as f64);
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.as_slice() {
        [_, texts, long_word, context] if long_word == "long" => {
            long(&read(Path::new(texts))?, context.parse()?)
        }
        [_, texts, nodes] => {
            let (texts, nodes) = (read(Path::new(texts))?, nodes.parse()?);
            for (name, mut drafter) in drafters()? {
                for (number, text) in (0u32..).zip(&texts) {
                    let (steps, time) = replay(&mut *drafter, number, text, nodes)?;
                    let output = text.0.len() - text.1;
                    println!(
                        "{name}\t{number}\t{steps}\t{output}\t{}",
                        time.as_nanos() as usize / steps.max(1)
                    );
                }
            }
            Ok(())
        }
        _ => Err("TEXTS NODES | TEXTS long CONTEXT".into()),
    }
}

//! Our side of `benches/retrieval/replay_drafts.py`: recorded texts through drafters, without a model.
//!
//!     replay_drafts TEXTS NODES                tokens per step: drafter, text, steps, tokens, nanoseconds per step;
//!                                              `retrieval` has an index over the texts of the other parity
//!     replay_drafts TEXTS long CONTEXT         one text of that many tokens: nanoseconds per append (mean of all, with
//!                                              the growth of tables), per append (median), per proposal of 32 nodes:
//!                                              where the text happens to be, at matches of 4, 64 and 2,000 tokens;
//!                                              less what reading the clock takes; bytes per token
//!
//! TEXTS holds u32: prompt length, output length, tokens, text after text.
#![allow(clippy::print_stdout, missing_docs)]

use draftwood_base::{Locked, SequenceId, Token};
use draftwood_retrieve::index::{Corpus, Group, Index, Tier};
use draftwood_retrieve::{
    Mix, NGram, NGramConfig, Outputs, OutputsConfig, Retrieval, RetrievalConfig, SharedDrafter, Suffix,
    SuffixConfig,
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
/// Nodes of the proposals that are timed.
const NODES: u32 = 32;

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

/// An index over the texts whose numbers have this parity.
fn index_of(texts: &[Text], parity: usize) -> Result<Arc<Group>> {
    let mut corpus = Corpus::default();
    for (tokens, _) in texts.iter().skip(parity).step_by(2) {
        corpus.push(tokens)?;
    }
    Ok(Arc::new(Group::new(vec![Index::build_in_memory(&corpus, Tier::Standard)?])?))
}

/// Those that draft from an index of the other half of the texts: by the parity of the text.
fn over_others(texts: &[Text]) -> Result<Vec<(&'static str, [Box<dyn Drafter>; 2])>> {
    let others = [index_of(texts, 1)?, index_of(texts, 0)?];
    let retrieval = |config, parity: usize| Retrieval::new(config, Arc::clone(&others[parity]));
    let alone = |config| -> Result<[Box<dyn Drafter>; 2]> {
        Ok([Box::new(retrieval(config, 0)?), Box::new(retrieval(config, 1)?)])
    };
    let mixed = |parity| -> Result<Box<dyn Drafter>> {
        let [own, suffix] = [shared(ngram()?), shared(suffix()?)];
        Ok(Box::new(Mix::new(vec![own, suffix, shared(retrieval(RetrievalConfig::ESCAPE, parity)?)])?))
    };
    Ok(vec![
        ("retrieval", alone(RetrievalConfig::ESCAPE)?),
        ("retrieval as REST", alone(RetrievalConfig::REST)?),
        ("retrieval as SuffixDecoding", alone(RetrievalConfig::SUFFIX_DECODING)?),
        ("mix retrieval", [mixed(0)?, mixed(1)?]),
    ])
}

fn ngram() -> Result<NGram> {
    Ok(NGram::new(NGramConfig { max_ngram: 3, min_prob: 0.01 })?)
}

fn suffix() -> Result<Suffix> {
    Ok(Suffix::new(SuffixConfig::default())?)
}

fn drafters() -> Result<Vec<(&'static str, Box<dyn Drafter>)>> {
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

fn tell(name: &str, number: u32, (tokens, prompt): &Text, (steps, time): (usize, Duration)) {
    let each = time.as_nanos() as usize / steps.max(1);
    println!("{name}\t{number}\t{steps}\t{}\t{each}", tokens.len() - prompt);
}

/// Nanoseconds that reading the clock twice takes: a fifth of an append.
fn clock() -> u64 {
    let mut times: Vec<u64> = (0..10_001).map(|_| Instant::now().elapsed().as_nanos() as u64).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Nanoseconds: tokens appended and proposals are those of a text that goes on.
struct Long<'a> {
    drafter: &'a mut dyn Drafter,
    text: GrowingText,
    forest: Forest,
    clock: u64,
}

impl Long<'_> {
    /// A proposal; without room for a draft it only reads what is new.
    fn propose(&mut self, budget: u32) -> Result<u64> {
        let view = View {
            source: &[],
            sequence: SequenceId(0),
            tokens: self.text.as_ref(),
            budget,
            max_depth: DEEPEST,
            salt: 0,
        };
        self.forest.clear();
        let start = Instant::now();
        self.drafter.propose_batch(&[view], &mut self.forest)?;
        Ok((start.elapsed().as_nanos() as u64).saturating_sub(self.clock))
    }

    /// Per proposal where the longest match has `length` tokens: they are copied from before, behind a new token.
    fn matching(&mut self, all: &[Token], length: usize) -> Result<u64> {
        let (mut times, mut from) = (Vec::new(), 7);
        let rounds = if length > 1000 { 1 } else { 50 };
        for round in 0..rounds {
            from = (from * 48_271 + 11) % (all.len() / 2);
            self.text.push((1 << 19) + (length * 64 + round) as Token);
            self.text.extend(all[from..from + length].iter().copied());
            self.propose(1)?;
            times.push(self.propose(NODES)?);
            // Of a long match every length that follows is as good.
            for &token in &all[from + length..][..if length > 1000 { 50 } else { 0 }] {
                self.text.push(token);
                self.propose(1)?;
                times.push(self.propose(NODES)?);
            }
        }
        Ok(median(times))
    }
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// One text that grows token by token.
fn long(texts: &[Text], context: usize) -> Result<()> {
    let all: Vec<Token> =
        texts.iter().flat_map(|text| &text.0).copied().cycle().take(context + APPENDED).collect();
    let clock = clock();
    for (name, mut drafter) in drafters()? {
        if name.contains("outputs") {
            continue;
        }
        let text = GrowingText::new(all[..1].to_vec());
        let mut long = Long { drafter: &mut *drafter, text, forest: Forest::default(), clock };
        let start = Instant::now();
        for &token in &all[1..context] {
            long.text.push(token);
            long.propose(1)?;
        }
        let amortised = (start.elapsed().as_nanos() as u64).saturating_sub(clock * context as u64);
        let (mut append, mut propose) = (Vec::new(), Vec::new());
        for &token in &all[context..] {
            long.text.push(token);
            append.push(long.propose(1)?);
            propose.push(long.propose(NODES)?);
        }
        let (append, propose) = (median(append), median(propose));
        print!("{name}\t{:.1}\t{append}\t{propose}", amortised as f64 / context as f64);
        for length in [4, 64, 2000] {
            print!("\t{}", long.matching(&all, length)?);
        }
        println!();
    }
    let mut suffix = suffix()?;
    let view = View {
        source: &[],
        sequence: SequenceId(0),
        tokens: (&all).into(),
        budget: 1,
        max_depth: 1,
        salt: 0,
    };
    suffix.propose_batch(&[view], &mut Forest::default())?;
    println!("suffix bytes\t{:.1}", suffix.bytes(SequenceId(0)) as f64 / all.len() as f64);
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
                    tell(name, number, text, replay(&mut *drafter, number, text, nodes)?);
                }
            }
            for (name, mut drafters) in over_others(&texts)? {
                for (number, text) in (0u32..).zip(&texts) {
                    let drafter = &mut *drafters[number as usize % 2];
                    tell(name, number, text, replay(drafter, number, text, nodes)?);
                }
            }
            Ok(())
        }
        _ => Err("TEXTS NODES | TEXTS long CONTEXT".into()),
    }
}

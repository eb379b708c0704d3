//! Phrases that must occur in a text.

use super::Processor;
use draftwood_base::{Error, Result, Token};
use std::sync::Arc;

/// A phrase that must occur, or several of which one must.
pub type Phrase = Vec<Vec<Token>>;

/// Every phrase occurs in the generated tokens, before an end token. `ordered`: one after the other, without overlap;
/// otherwise in any order, and one token may belong to several.
///
/// A text's progress is the length of what it holds (of a disjunction the longest alternative counts) plus the longest
/// beginning of a missing phrase that it ends with.
///
/// Source: Post and Vilar, "Fast lexically constrained decoding with dynamic beam allocation" (2018), arXiv 1804.06609;
/// disjunctions after Hu et al. (2019). Matching is Knuth–Morris–Pratt's, so no occurrence is missed.
#[derive(Debug, Clone)]
pub struct Phrases {
    entries: Arc<[Vec<Pattern>]>,
    ordered: bool,
}

#[derive(Debug)]
struct Pattern {
    tokens: Vec<Token>,
    /// Longest proper border of each beginning.
    border: Vec<u32>,
}

impl Pattern {
    fn new(tokens: Vec<Token>) -> Self {
        let mut border = vec![0; tokens.len() + 1];
        for i in 1..tokens.len() {
            border[i + 1] = next(&tokens, &border, border[i], tokens[i]);
        }
        Self { tokens, border }
    }

    /// Tokens matched after one more.
    fn next(&self, matched: u32, token: Token) -> u32 {
        next(&self.tokens, &self.border, matched, token)
    }
}

fn next(tokens: &[Token], border: &[u32], mut matched: u32, token: Token) -> u32 {
    loop {
        if tokens[matched as usize] == token {
            return matched + 1;
        }
        if matched == 0 {
            return 0;
        }
        matched = border[matched as usize];
    }
}

/// What a text holds already.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Tokens matched of each alternative of each entry; those of a complete entry are not kept up.
    matched: Vec<Vec<u32>>,
    complete: Vec<bool>,
}

impl Phrases {
    /// # Errors
    /// [`Error::InvalidArgument`] for no phrase, an entry without alternatives, or an empty phrase.
    pub fn new(entries: Vec<Phrase>, ordered: bool) -> Result<Self> {
        let what = "the phrases that must occur";
        if entries.is_empty() {
            return Err(Error::invalid(what, "at least one phrase", "none", ""));
        }
        if let Some(i) = entries.iter().position(|entry| entry.is_empty() || entry.iter().any(Vec::is_empty))
        {
            return Err(Error::invalid(
                what,
                "phrases of at least one token",
                format!("phrase {i} is empty"),
                "",
            ));
        }
        let entries = entries.into_iter().map(|entry| entry.into_iter().map(Pattern::new).collect());
        Ok(Self { entries: entries.collect(), ordered })
    }

    /// The entries that a text may work on.
    fn pending<'a>(&'a self, state: &'a Progress) -> impl Iterator<Item = usize> + 'a {
        let most = if self.ordered { 1 } else { usize::MAX };
        (0..self.entries.len()).filter(|&i| !state.complete[i]).take(most)
    }
}

impl Processor for Phrases {
    type State = Progress;

    fn init(&self, _: &[Token]) -> Progress {
        Progress {
            matched: self.entries.iter().map(|entry| vec![0; entry.len()]).collect(),
            complete: vec![false; self.entries.len()],
        }
    }

    fn advance(&self, state: &mut Progress, token: Token) {
        let most = if self.ordered { 1 } else { self.entries.len() };
        let mut seen = 0;
        for i in 0..self.entries.len() {
            if state.complete[i] || seen == most {
                continue;
            }
            seen += 1;
            for (matched, pattern) in state.matched[i].iter_mut().zip(&self.entries[i]) {
                *matched = pattern.next(*matched, token);
                state.complete[i] |= *matched as usize == pattern.tokens.len();
            }
        }
    }

    fn apply(&self, _: &Progress, _: &mut [f32]) {}

    fn allows(&self, _: &Progress, _: Token) -> Option<bool> {
        Some(true)
    }

    fn progress(&self, state: &Progress) -> Option<u32> {
        let longest = |i: usize| self.entries[i].iter().map(|p| p.tokens.len()).max().unwrap_or(0) as u32;
        let complete = (0..self.entries.len()).filter(|&i| state.complete[i]).map(longest).sum::<u32>();
        let partial = self.pending(state).flat_map(|i| &state.matched[i]).max();
        Some(complete + partial.copied().unwrap_or(0))
    }

    fn advances(&self, state: &Progress, out: &mut Vec<Token>) {
        for i in self.pending(state) {
            let both = self.entries[i].iter().zip(&state.matched[i]);
            out.extend(both.map(|(pattern, &matched)| pattern.tokens[matched as usize]));
        }
    }

    fn done(&self, state: &Progress) -> bool {
        state.complete.iter().all(|&complete| complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(text: &[Token], entry: &Phrase) -> bool {
        entry.iter().any(|phrase| text.windows(phrase.len()).any(|window| window == phrase))
    }

    /// The earliest end of an occurrence at or after `from`.
    fn earliest(text: &[Token], entry: &Phrase, from: usize) -> Option<usize> {
        (from..=text.len()).find(|&to| entry.iter().any(|p| to >= from + p.len() && text[..to].ends_with(p)))
    }

    proptest! {
        #[test]
        fn equals_looking_for_the_phrases(
            entries in prop::collection::vec(prop::collection::vec(prop::collection::vec(0u32..3, 1..4), 1..3), 1..4),
            text in prop::collection::vec(0u32..3, 0..14), ordered: bool,
        ) {
            let rule = Phrases::new(entries.clone(), ordered).unwrap();
            let mut state = rule.init(&[0, 1, 2]);
            for &token in &text {
                rule.advance(&mut state, token);
            }
            let (mut complete, mut from) = (Vec::new(), 0);
            for entry in &entries {
                let end = earliest(&text, entry, from);
                let missing_before = ordered && complete.contains(&false);
                complete.push(if ordered { end.is_some() && !missing_before } else { holds(&text, entry) });
                if let (Some(&true), true, Some(end)) = (complete.last(), ordered, end) {
                    from = end;
                }
            }
            prop_assert_eq!(&state.complete, &complete);
            prop_assert_eq!(rule.done(&state), !complete.contains(&false));
            let mut want = 0;
            let mut partial = 0;
            let mut next = Vec::new();
            for (entry, &complete) in entries.iter().zip(&complete) {
                if complete {
                    want += entry.iter().map(Vec::len).max().unwrap();
                } else if !ordered || next.is_empty() {
                    for phrase in entry {
                        let n = (0..phrase.len()).rev().find(|&n| text[from..].ends_with(&phrase[..n])).unwrap();
                        partial = partial.max(n);
                        next.push(phrase[n]);
                    }
                }
            }
            prop_assert_eq!(rule.progress(&state), Some((want + partial) as u32));
            let mut advances = Vec::new();
            rule.advances(&state, &mut advances);
            prop_assert_eq!(advances, next);
        }
    }

    #[test]
    fn no_phrase_is_refused() {
        for bad in [vec![], vec![vec![]], vec![vec![vec![1], vec![]]]] {
            assert!(Phrases::new(bad, false).is_err());
        }
    }
}

//! Drafts obey the rules of their search: a token that a rule forbids is not chosen, so its row would be for nothing.

use super::nodes::Nodes;
use crate::BeamSearch;
use crate::candidates::best_tokens;
use draftwood_base::Token;
use draftwood_logits::{AnyProcessor, States};
use rustc_hash::FxHashMap;

/// The rules of a search, with their states of live texts and of drafted ones, which are made as they are asked for.
pub(super) struct Rules<'a> {
    rules: &'a [AnyProcessor],
    ends: &'a [Token],
    states: FxHashMap<u32, States>,
    row: Vec<f32>,
    listed: Vec<Token>,
    seen: Vec<(Token, f32)>,
}

impl<'a> Rules<'a> {
    /// `live`: node of each live beam.
    pub fn of(search: &'a BeamSearch, live: &[u32]) -> Self {
        let states = match search.rules().is_empty() {
            true => FxHashMap::default(),
            false => live.iter().copied().zip(search.states().cloned()).collect(),
        };
        let ends = &search.config().end_tokens;
        Self { rules: search.rules(), ends, states, row: Vec::new(), listed: Vec::new(), seen: Vec::new() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Makes the states of a node that is at or below a live one.
    fn reach(&mut self, nodes: &Nodes, node: u32) {
        let mut path = vec![node];
        while let Some(&at) = path.last().filter(|&at| !self.states.contains_key(at)) {
            path.push(nodes.get(at).parent);
        }
        for pair in path.windows(2).rev() {
            let child = self.states[&pair[1]].child(self.rules, nodes.get(pair[0]).token);
            self.states.insert(pair[0], child);
        }
    }

    /// Drops what may not follow a node whose row is not known. If that is everything and a rule lists at most `most`
    /// tokens, these are the guess: within a trie most texts have one way to go on. A rule may list more than the model's
    /// `vocab` tokens.
    pub fn correct(
        &mut self,
        nodes: &Nodes,
        node: u32,
        (most, vocab): (usize, usize),
        guess: &mut Vec<(Token, f32)>,
    ) {
        if self.is_empty() {
            return;
        }
        self.reach(nodes, node);
        let Self { rules, ends, states, listed, .. } = self;
        let states = &states[&node];
        guess.retain(|&(token, _)| states.allow(rules, token, false));
        if guess.is_empty() && states.candidates(rules, listed) && listed.len() <= most + ends.len() {
            let known = |token: Token| (token as usize) < vocab && !ends.contains(&token);
            listed.retain(|&token| known(token) && states.allow(rules, token, false));
            let share = -(listed.len().max(1) as f32).ln();
            guess.extend(listed.iter().take(most).map(|&token| (token, share)));
        }
    }

    /// Writes the best `need` tokens that may follow a node, end tokens aside, with their log-probabilities after rules,
    /// best first; `values` are the node's logits and `lse` is their log-sum-exp.
    ///
    /// Cost: one pass over the row; a second one and a copy for rules that change values; the allowed tokens alone where
    /// a rule lists them.
    pub fn best(
        &mut self,
        nodes: &Nodes,
        node: u32,
        values: &[f32],
        lse: f64,
        need: usize,
        out: &mut Vec<(Token, f32)>,
    ) {
        self.reach(nodes, node);
        let Self { rules, ends, states, row, listed, seen } = self;
        let states = &states[&node];
        let log = |value: f32| (f64::from(value) - lse) as f32;
        let goes_on = |token: Token| !ends.contains(&token) && states.allow(rules, token, false);
        out.clear();
        seen.clear();
        if states.change_values(rules) {
            row.clear();
            row.extend(values.iter().map(|&value| log(value)));
            states.apply(rules, row, ends);
            let fine = |token: Token| !ends.contains(&token);
            best_tokens(row, need, |value| value, fine, seen, |token, value| out.push((token, value)));
        } else if states.candidates(rules, listed) {
            let known = listed.iter().filter(|&&token| (token as usize) < values.len() && goes_on(token));
            out.extend(known.map(|&token| (token, log(values[token as usize]))));
            out.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        } else {
            best_tokens(
                values,
                need,
                |value| value,
                goes_on,
                seen,
                |token, value| out.push((token, log(value))),
            );
        }
        out.truncate(need);
    }
}

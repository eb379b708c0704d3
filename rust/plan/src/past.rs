//! What a text remembers so that tokens can be taken back (backspace): the rows of its earlier states, and how often it
//! has drawn in each state.
//!
//! A state is a text. Its row is the same whenever the text comes back to it, so the logits are kept instead of being
//! computed again, and popping a token costs no forward. Its noise is not the same: the draw's slot counts the draws
//! that were made in this state before.
//!
//! Source: SequenceMatch, arXiv 2306.05426, with a stack of logits.

use draftwood_base::Token;
use draftwood_text::TextStream;

/// The past of one text with `t` generated tokens, at the beginning of a step.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    /// The token that takes one back.
    pub token: Token,
    /// Tokens chosen so far, those that take back included, and how many may be.
    pub actions: u32,
    pub limit: u32,
    pub visits: Visits,
    /// [t · columns] logits of the states before the present one, that after the prompt first.
    rows: Vec<f32>,
    /// [t] the text and its characters before each generated token.
    texts: Vec<(TextStream, u32)>,
    /// Characters told so far.
    pub shown: u32,
}

impl Past {
    /// No past. Room for what `max_new_tokens` may need is taken as the text grows: a row is 4 bytes per column.
    pub fn new(token: Token, max_new_tokens: u32) -> Self {
        Self {
            token,
            actions: 0,
            limit: max_new_tokens.saturating_mul(ACTIONS_PER_TOKEN),
            visits: Visits::default(),
            rows: Vec::new(),
            texts: Vec::new(),
            shown: 0,
        }
    }

    /// The row of the state with `generated` tokens.
    pub fn row(&self, generated: u32, columns: usize) -> &[f32] {
        &self.rows[generated as usize * columns..][..columns]
    }

    /// Takes what a step has chosen, in order.
    pub fn follow(&mut self, actions: &[Token]) {
        self.actions += actions.len() as u32;
        actions.iter().for_each(|&action| self.visits.act(action, self.token));
    }

    /// Keeps rows of further states.
    pub fn keep_rows(&mut self, rows: &[f32]) {
        self.rows.extend_from_slice(rows);
    }

    /// Keeps the text before a further token.
    pub fn keep_text(&mut self, text: &TextStream) {
        self.texts.push((text.clone(), self.shown));
    }

    /// Falls back to the state with `generated` tokens, whose row stays: its text, and the characters to take back.
    pub fn fall_back(&mut self, generated: u32, columns: usize) -> (TextStream, u32) {
        self.rows.truncate((generated as usize + 1) * columns);
        self.texts.truncate(generated as usize + 1);
        let (text, shown) = self.texts.pop().expect("a text before each generated token");
        let back = self.shown - shown;
        self.shown = shown;
        (text, back)
    }
}

/// A text of n tokens may be chosen in 4 · n actions.
const ACTIONS_PER_TOKEN: u32 = 4;

/// A trie of the states that a text has been in, with the number of draws in each.
#[derive(Debug, Clone)]
pub(crate) struct Visits {
    states: Vec<State>,
    at: usize,
    trial: Option<Trial>,
}

#[derive(Debug, Clone)]
struct State {
    token: Token,
    parent: usize,
    draws: u32,
    /// The latest child, and the child of the same parent before this one; 0 for none.
    child: usize,
    sibling: usize,
}

/// What [`Visits::undo`] must take back.
#[derive(Debug, Clone)]
struct Trial {
    at: usize,
    states: usize,
    drawn: Vec<usize>,
}

impl Default for Visits {
    fn default() -> Self {
        let root = State { token: 0, parent: 0, draws: 0, child: 0, sibling: 0 };
        Self { states: vec![root], at: 0, trial: None }
    }
}

impl Visits {
    /// Draws in the present state.
    pub fn draws(&self) -> u32 {
        self.states[self.at].draws
    }

    /// Notes a draw in the present state and goes where it leads. Popping the empty text stays there.
    pub fn act(&mut self, action: Token, backspace: Token) {
        self.states[self.at].draws += 1;
        if let Some(trial) = &mut self.trial {
            trial.drawn.push(self.at);
        }
        self.at = if action == backspace { self.states[self.at].parent } else { self.child(action) };
    }

    /// What follows is tried only, until [`Visits::undo`].
    pub fn try_out(&mut self) {
        self.trial = Some(Trial { at: self.at, states: self.states.len(), drawn: Vec::new() });
    }

    /// Takes back everything since [`Visits::try_out`].
    pub fn undo(&mut self) {
        let Some(trial) = self.trial.take() else { return };
        for at in trial.drawn {
            self.states[at].draws -= 1;
        }
        while self.states.len() > trial.states
            && let Some(state) = self.states.pop()
        {
            self.states[state.parent].child = state.sibling;
        }
        self.at = trial.at;
    }

    fn child(&mut self, token: Token) -> usize {
        let mut child = self.states[self.at].child;
        while child != 0 && self.states[child].token != token {
            child = self.states[child].sibling;
        }
        if child == 0 {
            child = self.states.len();
            let sibling = self.states[self.at].child;
            self.states.push(State { token, parent: self.at, draws: 0, child: 0, sibling });
            self.states[self.at].child = child;
        }
        child
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Counts by texts, the slow way; every second run of actions is tried and undone before it is taken.
    #[test]
    fn visits_count_the_draws_of_each_text() {
        let mut word = 9u64;
        let mut next = |below: u64| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (word >> 33) % below
        };
        let (mut visits, mut counts, mut text) = (Visits::default(), HashMap::new(), Vec::<Token>::new());
        for _ in 0..400 {
            let actions: Vec<Token> = (0..next(6)).map(|_| next(3) as Token).collect();
            if next(2) == 0 {
                visits.try_out();
                (0..next(6)).for_each(|_| visits.act(next(3) as Token, 0));
                visits.undo();
            }
            for action in actions {
                let count: &mut u32 = counts.entry(text.clone()).or_default();
                assert_eq!(visits.draws(), *count);
                *count += 1;
                visits.act(action, 0);
                if action == 0 {
                    text.pop();
                } else {
                    text.push(action);
                }
            }
        }
        assert!(counts.values().any(|&count| count > 20) && counts.len() > 50);
    }
}

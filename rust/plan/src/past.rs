//! What a text remembers so that tokens can be taken back (backspace): the rows of its earlier states, and how often it
//! has drawn at each length.
//!
//! A state is a text. Its row is the same whenever the text comes back to it, so the logits are kept instead of being
//! computed again, and popping a token costs no forward. Its noise is not the same: the draw's slot counts the draws that
//! were made at this position before. Counting those of the state alone would not do: two states of one length would
//! share their noise, and what made the first one be left would mostly make the second one be left too.
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
    /// Draws by the number of generated tokens.
    draws: Vec<u32>,
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
            draws: Vec::new(),
            rows: Vec::new(),
            texts: Vec::new(),
            shown: 0,
        }
    }

    /// The row of the state with `generated` tokens.
    pub fn row(&self, generated: u32, columns: usize) -> &[f32] {
        &self.rows[generated as usize * columns..][..columns]
    }

    /// Draws so far at the length of `generated` tokens.
    pub fn draws(&self, generated: u32) -> u32 {
        self.draws.get(generated as usize).copied().unwrap_or(0)
    }

    /// Takes what a step has chosen, in order, from the state with `generated` tokens on.
    pub fn follow(&mut self, mut generated: u32, actions: &[Token]) {
        self.actions += actions.len() as u32;
        for &action in actions {
            if self.draws.len() <= generated as usize {
                self.draws.resize(generated as usize + 1, 0);
            }
            self.draws[generated as usize] += 1;
            generated = if action == self.token { generated - 1 } else { generated + 1 };
        }
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

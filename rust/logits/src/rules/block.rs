//! Sequences that may never be completed: bad words, quotations.

use super::Processor;
use crate::mask;
use draftwood_base::{Result, Token};

/// Forbids every token that would complete one of the given sequences, whose beginning may lie in the prompt.
///
/// Cost: a binary search per distinct length when a text grows.
#[derive(Debug, Clone)]
pub struct BlockSequences {
    tables: Vec<Table>,
    /// Tokens of the past that decide: the longest length − 1.
    reach: usize,
}

/// Sequences of one length, sorted, one after the other.
#[derive(Debug, Clone)]
struct Table {
    length: usize,
    flat: Vec<Token>,
}

impl Table {
    fn row(&self, i: usize) -> &[Token] {
        &self.flat[i * self.length..][..self.length]
    }

    /// Appends the last token of each sequence that begins with `tail`.
    fn completions(&self, tail: &[Token], out: &mut Vec<Token>) {
        let rows = self.flat.len() / self.length;
        let (mut low, mut high) = (0, rows);
        while low < high {
            let middle = (low + high) / 2;
            if self.row(middle)[..self.length - 1] < *tail {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let matching = (low..rows).map(|i| self.row(i)).take_while(|row| row.starts_with(tail));
        out.extend(matching.map(|row| row[self.length - 1]));
    }
}

impl BlockSequences {
    /// Takes sequences of any lengths, sequence i holding the next `lengths[i]` of `tokens`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no sequence, an empty one, or lengths that do not add up.
    pub fn new(tokens: &[Token], lengths: &[u32]) -> Result<Self> {
        let sequences = super::trie::cut(tokens, lengths, "the blocked sequences")?;
        let mut sorted = sequences;
        sorted.sort_unstable_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        sorted.dedup();
        let mut tables: Vec<Table> = Vec::new();
        for sequence in sorted {
            match tables.last_mut() {
                Some(table) if table.length == sequence.len() => table.flat.extend_from_slice(sequence),
                _ => tables.push(Table { length: sequence.len(), flat: sequence.to_vec() }),
            }
        }
        let reach = tables.last().map_or(0, |table| table.length - 1);
        Ok(Self { tables, reach })
    }

    fn state(&self, past: Vec<Token>) -> Blocked {
        let mut forbidden = Vec::new();
        for table in &self.tables {
            if let Some(from) = past.len().checked_sub(table.length - 1) {
                table.completions(&past[from..], &mut forbidden);
            }
        }
        forbidden.sort_unstable();
        forbidden.dedup();
        Blocked { past, forbidden }
    }
}

/// The end of a text, and what may not follow it.
#[derive(Debug, Clone)]
pub struct Blocked {
    past: Vec<Token>,
    forbidden: Vec<Token>,
}

impl Processor for BlockSequences {
    type State = Blocked;

    fn init(&self, ids: &[Token]) -> Blocked {
        self.state(ids[ids.len().saturating_sub(self.reach)..].to_vec())
    }

    fn advance(&self, state: &mut Blocked, token: Token) {
        let mut past = std::mem::take(&mut state.past);
        past.push(token);
        let surplus = past.len().saturating_sub(self.reach);
        past.drain(..surplus);
        *state = self.state(past);
    }

    fn apply(&self, state: &Blocked, row: &mut [f32]) {
        mask(row, &state.forbidden);
    }

    fn allows(&self, state: &Blocked, token: Token) -> Option<bool> {
        Some(state.forbidden.binary_search(&token).is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_sequence_is_ever_completed(
            sequences in prop::collection::vec(prop::collection::vec(0u32..4, 1..4), 1..8),
            text in prop::collection::vec(0u32..4, 0..12), cut in 0usize..12,
        ) {
            let lengths: Vec<u32> = sequences.iter().map(|s| s.len() as u32).collect();
            let rule = BlockSequences::new(&sequences.concat(), &lengths).unwrap();
            let cut = cut.min(text.len());
            let mut state = rule.init(&text[..cut]);
            for &token in &text[cut..] {
                rule.advance(&mut state, token);
            }
            let mut row = [0.0; 4];
            rule.apply(&state, &mut row);
            for token in 0..4u32 {
                let longer = [&text[..], &[token]].concat();
                let completes = sequences.iter().any(|s| longer.ends_with(s));
                prop_assert_eq!(rule.allows(&state, token), Some(!completes));
                prop_assert_eq!(row[token as usize] == f32::NEG_INFINITY, completes);
            }
        }
    }

    #[test]
    fn nothing_to_block_is_refused() {
        assert!(BlockSequences::new(&[], &[]).is_err());
        assert!(BlockSequences::new(&[1], &[1, 0]).is_err());
        assert!(BlockSequences::new(&[1], &[2]).is_err());
    }
}

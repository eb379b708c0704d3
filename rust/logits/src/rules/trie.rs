//! Allowed sequences as a trie in two flat arrays.

use super::Processor;
use super::only::keep_only;
use draftwood_base::{Error, Result, Token};
use std::sync::Arc;

/// The generated tokens follow one of the given sequences. Where one is complete the text may end; a sequence that holds
/// an end token ends with it.
///
/// Nodes are numbered level by level, so that the children of a node are neighbours and those of the next node follow:
/// `first[n] .. first[n + 1]`. Cost: 8 bytes and two bits per node, a binary search among siblings per test; a step
/// reads the allowed children only.
///
/// Source: De Cao et al., "Autoregressive entity retrieval" (2021), arXiv 2010.00904; the layout is a breadth-first
/// ordered trie as in Jacobson (1989), with plain integers.
#[derive(Debug, Clone)]
pub struct Trie(Arc<Nodes>);

#[derive(Debug)]
struct Nodes {
    token: Vec<Token>,
    /// First child of each node, and one more entry.
    first: Vec<u32>,
    /// One bit per node: a sequence ends here.
    complete: Vec<u64>,
}

/// Where a text stands that has left the trie.
const LOST: u32 = u32::MAX;

/// The sequences of `lengths[i]` tokens each.
pub(super) fn cut<'a>(tokens: &'a [Token], lengths: &[u32], what: &str) -> Result<Vec<&'a [Token]>> {
    if lengths.is_empty() {
        return Err(Error::invalid(what, "at least one sequence", "none", ""));
    }
    let mut rest = tokens;
    let mut sequences = Vec::with_capacity(lengths.len());
    for (i, &length) in lengths.iter().enumerate() {
        if length == 0 {
            return Err(Error::invalid(
                what,
                "sequences of at least one token",
                format!("sequence {i} is empty"),
                "",
            ));
        }
        let Some((sequence, others)) = rest.split_at_checked(length as usize) else {
            return Err(Error::invalid(what, "as many tokens as the lengths say", tokens.len(), ""));
        };
        sequences.push(sequence);
        rest = others;
    }
    match rest.is_empty() {
        true => Ok(sequences),
        false => Err(Error::invalid(what, "as many tokens as the lengths say", tokens.len(), "")),
    }
}

impl Trie {
    /// Takes sequences of any lengths, sequence i holding the next `lengths[i]` of `tokens`.
    ///
    /// Cost: one sort of the sequences and one pass over their tokens.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no sequence, an empty one, lengths that do not add up, or 2^32 nodes and more.
    pub fn new(tokens: &[Token], lengths: &[u32]) -> Result<Self> {
        if tokens.len() >= LOST as usize {
            return Err(Error::invalid("the tokens of a trie", "fewer than 2^32 − 1", tokens.len(), ""));
        }
        let mut sequences = cut(tokens, lengths, "the sequences of a trie")?;
        sequences.sort_unstable();
        sequences.dedup();
        let mut nodes = Nodes { token: vec![0], first: Vec::new(), complete: Vec::new() };
        // The nodes of one level, as ranges of the sorted sequences.
        let mut level = vec![(0, sequences.len())];
        let mut depth = 0;
        while !level.is_empty() {
            let mut below = Vec::new();
            for &(from, to) in &level {
                nodes.first.push(nodes.token.len() as u32);
                let at = nodes.first.len() - 1;
                if nodes.complete.len() <= at / 64 {
                    nodes.complete.push(0);
                }
                // Sorted and distinct: the one that ends here comes first.
                let ends = sequences[from].len() == depth;
                nodes.complete[at / 64] |= u64::from(ends) << (at % 64);
                let mut i = from + usize::from(ends);
                while i < to {
                    let token = sequences[i][depth];
                    let same =
                        sequences[i..to].iter().take_while(|sequence| sequence[depth] == token).count();
                    nodes.token.push(token);
                    below.push((i, i + same));
                    i += same;
                }
            }
            level = below;
            depth += 1;
        }
        nodes.first.push(nodes.token.len() as u32);
        nodes.token.shrink_to_fit();
        nodes.first.shrink_to_fit();
        Ok(Self(Arc::new(nodes)))
    }

    /// Number of nodes, the root included.
    pub fn nodes(&self) -> usize {
        self.0.token.len()
    }

    /// Memory in bytes.
    pub fn bytes(&self) -> usize {
        4 * (self.0.token.len() + self.0.first.len()) + 8 * self.0.complete.len()
    }

    fn range(&self, node: u32) -> std::ops::Range<usize> {
        let first = &self.0.first;
        match node {
            LOST => 0..0,
            _ => first[node as usize] as usize..first[node as usize + 1] as usize,
        }
    }

    fn children(&self, node: u32) -> &[Token] {
        &self.0.token[self.range(node)]
    }

    fn below(&self, node: u32, token: Token) -> Option<u32> {
        let at = self.children(node).binary_search(&token).ok()?;
        Some((self.range(node).start + at) as u32)
    }
}

impl Processor for Trie {
    /// A node.
    type State = u32;

    fn init(&self, _: &[Token]) -> u32 {
        0
    }

    fn advance(&self, state: &mut u32, token: Token) {
        *state = self.below(*state, token).unwrap_or(LOST);
    }

    fn apply(&self, state: &u32, row: &mut [f32]) {
        keep_only(row, self.children(*state));
    }

    fn allows(&self, state: &u32, token: Token) -> Option<bool> {
        Some(self.below(*state, token).is_some())
    }

    fn candidates(&self, state: &u32, out: &mut Vec<Token>) -> bool {
        out.extend_from_slice(self.children(*state));
        true
    }

    fn child(&self, state: &u32, token: Token) -> Option<u32> {
        self.below(*state, token)
    }

    fn ends(&self, state: &u32) -> bool {
        *state != LOST && self.0.complete[*state as usize / 64] >> (*state % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_looking_through_the_list(
            sequences in prop::collection::vec(prop::collection::vec(0u32..5, 1..5), 1..30),
            text in prop::collection::vec(0u32..5, 0..5),
        ) {
            let lengths: Vec<u32> = sequences.iter().map(|s| s.len() as u32).collect();
            let trie = Trie::new(&sequences.concat(), &lengths).unwrap();
            let mut state = trie.init(&[3, 3]);
            for &token in &text {
                trie.advance(&mut state, token);
            }
            let (mut listed, mut row) = (Vec::new(), [1.5; 5]);
            prop_assert!(trie.candidates(&state, &mut listed));
            trie.apply(&state, &mut row);
            for token in 0..5u32 {
                let longer = [&text[..], &[token]].concat();
                let allowed = sequences.iter().any(|s| s.starts_with(&longer));
                prop_assert_eq!(listed.contains(&token), allowed);
                prop_assert_eq!(trie.allows(&state, token), Some(allowed));
                prop_assert_eq!(trie.child(&state, token).is_some(), allowed);
                prop_assert_eq!(row[token as usize] == 1.5, allowed);
            }
            prop_assert_eq!(trie.ends(&state), sequences.contains(&text));
        }
    }

    #[test]
    fn a_million_short_sequences_take_little_memory() {
        let n = 100_000u32;
        let digits = |i: u32| {
            let h = i.wrapping_mul(2_654_435_761);
            [h >> 24, h >> 16 & 255, h >> 8 & 255, i % 7]
        };
        let flat: Vec<Token> = (0..n).flat_map(digits).collect();
        let trie = Trie::new(&flat, &vec![4; n as usize]).unwrap();
        assert!(trie.bytes() <= 24 * n as usize, "{} bytes", trie.bytes());
    }

    #[test]
    fn nothing_allowed_is_refused() {
        for (tokens, lengths) in [(&[][..], &[][..]), (&[1], &[1, 0]), (&[1], &[2]), (&[1, 2], &[1])] {
            assert!(Trie::new(tokens, lengths).is_err());
        }
    }
}

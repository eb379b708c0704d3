//! The last tokens of a text however long it is, in two suffix automata.

use crate::follow::Growing;
use crate::ppm::{Context, Contexts, Follower};
use crate::suffix_automaton::{NESTED, SuffixAutomaton};
use draftwood_base::Token;

/// What a text has said lately: all of it while it is short, and then its last `half` to `2 · half` tokens.
///
/// Nothing can be taken out of a suffix automaton. So a second one begins when the first holds `half` tokens and reads
/// along; when the first one is full, the second takes its place. Which tokens are searched depends on how many were
/// read alone, and a text of less than `half` tokens pays nothing for it.
#[derive(Debug, Clone)]
pub(crate) struct Generations {
    half: usize,
    searched: SuffixAutomaton,
    /// Tokens of `searched`.
    tokens: usize,
    /// Holds all but the first half of them.
    next: Option<SuffixAutomaton>,
}

impl Generations {
    /// An empty text, of which at most `max_tokens` tokens are searched, at least 2.
    pub fn new(max_tokens: usize) -> Self {
        Self { half: max_tokens / 2, searched: SuffixAutomaton::new(NESTED), tokens: 0, next: None }
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.searched.bytes() + self.next.as_ref().map_or(0, SuffixAutomaton::bytes)
    }

    #[cold]
    fn turn(&mut self) {
        if let Some(next) = self.next.take() {
            self.searched = next;
            self.tokens = self.half;
        }
        self.next = Some(SuffixAutomaton::new(NESTED));
    }
}

impl Growing for Generations {
    #[inline]
    fn tail(&self) -> Option<Context> {
        self.searched.tail()
    }

    #[inline]
    fn append(&mut self, token: Token, without: usize) {
        self.searched.append(token, without);
        self.tokens += 1;
        if let Some(next) = &mut self.next {
            next.append(token, 0);
        }
        if self.tokens == self.half * if self.next.is_some() { 2 } else { 1 } {
            self.turn();
        }
    }
}

impl Contexts for Generations {
    #[inline]
    fn followers(&self, node: u32) -> impl Iterator<Item = Follower> {
        self.searched.followers(node)
    }

    #[inline]
    fn shorter(&self, context: Context) -> Option<Context> {
        self.searched.shorter(context)
    }

    #[inline]
    fn expect(&self, node: u32) {
        self.searched.expect(node);
    }
}

//! Sequences as a naive engine keeps them. Every row is the identity of its prefix.

use super::rng::mix;
use draftwood_base::SequenceId;

/// Prefix identity: the row of `token` behind the row `prefix`.
pub(super) fn row_after(prefix: u64, token: u64) -> u64 {
    mix(prefix ^ mix(token))
}

/// What a row holds in the cache of `group`.
pub(super) fn cell(row: u64, group: usize) -> u64 {
    row ^ mix(group as u64 + 1)
}

/// A sequence as a naive engine keeps it: all its rows, in order.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) rows: Vec<u64>,
    pub(super) capacity: u32,
    /// Rows that its family shares.
    pub(super) shared: u32,
    pub(super) family: usize,
}

/// One sequence's rows in a step.
pub(super) struct Draft {
    pub(super) id: SequenceId,
    pub(super) text: Text,
    pub(super) chain: u32,
    pub(super) parents: Vec<usize>,
    /// Rows of the chain, then of the nodes 1, 2, …
    pub(super) rows: Vec<u64>,
}

impl Draft {
    pub(super) fn path_to(&self, leaf: usize) -> Vec<u32> {
        let mut path = vec![leaf as u32];
        while path[0] != 0 {
            path.insert(0, self.parents[path[0] as usize] as u32);
        }
        path
    }

    pub(super) fn text_along(&self, path: &[u32]) -> Text {
        let root = self.chain as usize - 1;
        let mut text = self.text.clone();
        text.rows.extend(&self.rows[..root]);
        text.rows.extend(path.iter().map(|&node| self.rows[root + node as usize]));
        text
    }
}

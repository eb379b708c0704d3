//! What goes into a commit and what comes out.

use draftwood_base::{Ragged, SequenceId};

/// The survivors of a step: for each its source and the path of node numbers from the root, `0, …, leaf`. Reused from
/// step to step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths {
    sources: Vec<SequenceId>,
    nodes: Ragged<u32>,
}

impl Paths {
    /// Forgets all paths, keeps the memory.
    pub fn clear(&mut self) {
        self.sources.clear();
        self.nodes.clear();
    }

    /// Adds a survivor. The first one of a source keeps its id and pages, later ones fork.
    pub fn push(&mut self, source: SequenceId, nodes: impl IntoIterator<Item = u32>) {
        self.sources.push(source);
        self.nodes.extend_row(nodes);
    }

    /// Adds a source that keeps its known chain and nothing of its tree: a prefill chunk, or a step whose draft failed.
    pub fn advance(&mut self, source: SequenceId) {
        self.push(source, [0]);
    }

    /// Number of survivors.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether nothing survives.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Source of each survivor.
    pub fn sources(&self) -> &[SequenceId] {
        &self.sources
    }

    /// Source of survivor `i`.
    ///
    /// # Panics
    /// If `i ≥ len()`.
    pub fn source(&self, i: usize) -> SequenceId {
        self.sources[i]
    }

    /// Path of survivor `i`.
    ///
    /// # Panics
    /// If `i ≥ len()`.
    pub fn path(&self, i: usize) -> &[u32] {
        self.nodes.row(i)
    }
}

/// One survivor after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The sequence that its path came from.
    pub source: SequenceId,
    /// The sequence that it is now: `source` itself, or a new one if it forked.
    pub sequence: SequenceId,
    /// Rows in the cache: those before the step, the chain, and the path below the root.
    pub len: u32,
}

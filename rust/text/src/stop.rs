//! Search for several stop strings in a stream of bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use draftwood_base::{Error, Result};

const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;

/// The stop strings of one request, compiled once and shared by its sequences.
///
/// The earliest completion wins; of strings that complete at the same byte the longest, of equal strings the first
/// given. So the text is cut before everything that the stop covers, and the answer depends on the bytes alone,
/// never on how tokens cut them.
///
/// An automaton of Aho and Corasick (1975) with sparse edges: its state is one integer, which a stream keeps
/// between pushes, and its depth says how many of the last bytes may still become a stop.
///
/// # Cost
/// Memory O(bytes of all strings); O(1) per byte of text, amortised.
#[derive(Debug, Clone)]
pub struct StopStrings {
    automaton: Arc<Automaton>,
}

#[derive(Debug)]
struct Automaton {
    nodes: Box<[Node]>,
    /// Edges of node `i`, sorted by byte: `edges[nodes[i].edges..nodes[i + 1].edges]`.
    edges: Box<[(u8, u32)]>,
    /// Edges of the root, dense: most bytes of a text start no stop string.
    start: Box<[u32; 256]>,
    /// Length of each string.
    lengths: Box<[u32]>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    edges: u32,
    fail: u32,
    /// The string that completes here: the longest suffix of this node that is one, else `NONE`.
    stop: u32,
    /// How many of the last bytes are the start of a string that is still open.
    hold: u32,
}

impl StopStrings {
    /// Compiles `strings`; none at all is allowed and stops nothing.
    ///
    /// # Errors
    /// `InvalidArgument` if a string is empty, or if they pass 1 MiB together.
    pub fn new<S: AsRef<str>>(strings: &[S]) -> Result<Self> {
        let total: usize = strings.iter().map(|s| s.as_ref().len()).sum();
        if total > 1 << 20 {
            return Err(Error::invalid("stop", "at most 1 MiB of strings", format!("{total} bytes"), ""));
        }
        if let Some(i) = strings.iter().position(|s| s.as_ref().is_empty()) {
            return Err(Error::invalid(format!("stop[{i}]"), "a non-empty string", "\"\"", "leave it out"));
        }
        Ok(Self { automaton: Arc::new(Automaton::new(strings.iter().map(|s| s.as_ref().as_bytes()))) })
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.automaton.lengths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.automaton.lengths.is_empty()
    }

    /// Bytes of string `i`.
    pub(crate) fn length(&self, i: usize) -> usize {
        self.automaton.lengths[i] as usize
    }

    /// The state after `byte`.
    #[inline]
    pub(crate) fn step(&self, mut state: u32, byte: u8) -> u32 {
        let a = &*self.automaton;
        while state != ROOT {
            if let Some(next) = a.child(state, byte) {
                return next;
            }
            state = a.nodes[state as usize].fail;
        }
        a.start[byte as usize]
    }

    /// The string that completes in `state`.
    #[inline]
    pub(crate) fn completed(&self, state: u32) -> Option<usize> {
        let stop = self.automaton.nodes[state as usize].stop;
        (stop != NONE).then_some(stop as usize)
    }

    /// How many of the last bytes may still become the start of a stop string.
    #[inline]
    pub(crate) fn hold(&self, state: u32) -> usize {
        self.automaton.nodes[state as usize].hold as usize
    }
}

impl Automaton {
    fn new<'a>(strings: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut children: Vec<Vec<(u8, u32)>> = vec![Vec::new()];
        let mut stop = vec![NONE];
        let mut lengths = Vec::new();
        for string in strings {
            let mut at = 0;
            for &byte in string {
                let next = children.len() as u32;
                match children[at].binary_search_by_key(&byte, |e| e.0) {
                    Ok(i) => at = children[at][i].1 as usize,
                    Err(i) => {
                        children[at].insert(i, (byte, next));
                        children.push(Vec::new());
                        stop.push(NONE);
                        at = next as usize;
                    }
                }
            }
            if stop[at] == NONE {
                stop[at] = lengths.len() as u32;
            }
            lengths.push(string.len() as u32);
        }

        let mut nodes = Vec::with_capacity(children.len() + 1);
        let mut edges = Vec::with_capacity(children.len());
        for (list, stop) in children.iter().zip(&stop) {
            nodes.push(Node { edges: edges.len() as u32, fail: ROOT, stop: *stop, hold: 0 });
            edges.extend_from_slice(list);
        }
        // A closing node, so that every node's edges end where the next one's begin.
        nodes.push(Node { edges: edges.len() as u32, fail: ROOT, stop: NONE, hold: 0 });
        let mut start = Box::new([ROOT; 256]);
        for &(byte, child) in &children[0] {
            start[byte as usize] = child;
        }
        let mut automaton = Self { nodes: nodes.into(), edges: edges.into(), start, lengths: lengths.into() };
        automaton.link(&children);
        automaton
    }

    /// Breadth first, so that a node's suffix is finished before the node.
    fn link(&mut self, children: &[Vec<(u8, u32)>]) {
        let mut queue: VecDeque<(u32, u32, u32)> = children[0].iter().map(|e| (e.1, ROOT, 1)).collect();
        while let Some((at, fail, depth)) = queue.pop_front() {
            let suffix = self.nodes[fail as usize];
            let node = &mut self.nodes[at as usize];
            node.fail = fail;
            if node.stop == NONE {
                node.stop = suffix.stop;
            }
            // A leaf is a finished string: only its suffix can still grow.
            node.hold = if children[at as usize].is_empty() { suffix.hold } else { depth };
            for &(byte, child) in &children[at as usize] {
                let mut from = fail;
                let target = loop {
                    if from == ROOT {
                        break self.start[byte as usize];
                    }
                    match self.child(from, byte) {
                        Some(next) => break next,
                        None => from = self.nodes[from as usize].fail,
                    }
                };
                queue.push_back((child, target, depth + 1));
            }
        }
    }

    #[inline]
    fn child(&self, node: u32, byte: u8) -> Option<u32> {
        let range = self.nodes[node as usize].edges as usize..self.nodes[node as usize + 1].edges as usize;
        let edges = &self.edges[range];
        match edges {
            [] => None,
            [(b, next)] => (*b == byte).then_some(*next),
            _ => edges.binary_search_by_key(&byte, |e| e.0).ok().map(|i| edges[i].1),
        }
    }
}

//! All substrings of a growing text, with counted followers.

use crate::child_table::{ChildTable, NIL};
use crate::follow::Growing;
use crate::huge_pages;
use crate::ppm::{Context, Contexts, Follower};
use crate::prefetch::prefetch;
use draftwood_base::Token;

const ROOT: u32 = 0;

/// Contexts whose followers are counted per appended token, beyond those that see the token for the first time. In
/// ordinary text fewer than this are nested; a loop nests as many as it has turns, and then the shortest ones count
/// less than they have seen.
pub(crate) const NESTED: u32 = 16;

/// The suffix automaton of a text (Blumer et al. 1985), built online: every state is a set of substrings that end at
/// the same places, so they have the same followers. Edges count how often they were taken and are listed by their
/// latest use, the last one first, so a reader that stops after a few has seen the freshest.
///
/// Cost: amortised constant per token, about two edges of 24 bytes, one to two states of 12 bytes and the table.
#[derive(Debug, Clone)]
pub(crate) struct SuffixAutomaton {
    states: Vec<State>,
    edges: Vec<Edge>,
    /// Edges by state and token. Most states have one edge and are not in it.
    table: ChildTable,
    /// The state of the whole text.
    last: u32,
    nested: u32,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Tokens of its longest substring.
    length: u32,
    /// The state of the longest suffix that also ends elsewhere.
    link: u32,
    /// The edge that was taken last.
    freshest: u32,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    from: u32,
    to: u32,
    token: Token,
    count: u32,
    /// Neighbours among the edges of `from`.
    older: u32,
    fresher: u32,
}

impl SuffixAutomaton {
    /// An empty text; `nested` as [`NESTED`].
    pub(crate) fn new(nested: u32) -> Self {
        let root = State { length: 0, link: NIL, freshest: NIL };
        Self { states: vec![root], edges: Vec::new(), table: ChildTable::new(), last: ROOT, nested }
    }

    /// The longest suffix of the text that occurred before.
    pub(crate) fn tail(&self) -> Option<Context> {
        self.shorter(Context { node: self.last, length: 0 })
    }

    /// What is appended from now on is another text: no substring reaches across.
    pub(crate) fn restart(&mut self) {
        self.last = ROOT;
    }

    /// From the longest suffix of some text that occurs here to that of the text and one more token.
    pub(crate) fn advance(&self, context: Option<Context>, token: Token) -> Option<Context> {
        let start = context.map_or(Context { node: ROOT, length: 0 }, |context| self.settled(context));
        let Context { node: mut at, mut length } = start;
        loop {
            let edge = self.edge(at, token);
            if edge != NIL {
                return Some(Context { node: self.edges[edge as usize].to, length: length + 1 });
            }
            if at == ROOT {
                return None;
            }
            at = self.states[at as usize].link;
            length = self.states[at as usize].length;
        }
    }

    /// The context where it is now: what was appended since it was found may have made its substring a state of its own.
    pub(crate) fn settled(&self, Context { node: mut at, length }: Context) -> Context {
        loop {
            let link = self.states[at as usize].link;
            if link == NIL || self.states[link as usize].length < length {
                return Context { node: at, length };
            }
            at = link;
        }
    }

    /// Bytes allocated.
    pub(crate) fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<State>()
            + self.edges.capacity() * size_of::<Edge>()
            + self.table.bytes()
    }

    /// Appends one token to the text, which followed none of the `without` longest contexts yet, from the tail on.
    pub(crate) fn append(&mut self, token: Token, without: usize) {
        // Nothing has followed the whole text either; a text that begins again does so where everything follows.
        let mut unknown = if self.last == ROOT { 0 } else { 1 + without };
        let new = self.add_state(self.states[self.last as usize].length + 1, ROOT);
        let mut at = std::mem::replace(&mut self.last, new);
        let found = loop {
            let edge = if unknown > 0 { NIL } else { self.edge(at, token) };
            if edge != NIL {
                break edge;
            }
            unknown = unknown.saturating_sub(1);
            self.add_edge(at, token, new);
            if at == ROOT {
                return;
            }
            at = self.states[at as usize].link;
        };
        let known = self.edges[found as usize].to;
        let length = self.states[at as usize].length + 1;
        let target =
            if self.states[known as usize].length == length { known } else { self.split(known, length) };
        self.states[new as usize].link = target;
        self.retake(at, found, known, target);
    }

    /// The substrings of a state that are at most `length` long become a state of their own.
    fn split(&mut self, state: u32, length: u32) -> u32 {
        let State { link, freshest, .. } = self.states[state as usize];
        let short = self.add_state(length, link);
        self.states[state as usize].link = short;
        let (mut at, mut fresher, first) = (freshest, NIL, self.edges.len() as u32);
        while at != NIL {
            let edge = self.edges[at as usize];
            let copy = self.push_edge(Edge { from: short, older: NIL, fresher, ..edge });
            match fresher {
                NIL => self.states[short as usize].freshest = copy,
                _ => self.edges[fresher as usize].older = copy,
            }
            (at, fresher) = (edge.older, copy);
        }
        let copies = first..self.edges.len() as u32;
        if copies.len() > 1 {
            self.enter(copies);
        }
        short
    }

    /// An edge was taken from `at`, and by its token from all suffixes: those that led to `known` now lead to `target`.
    fn retake(&mut self, mut at: u32, mut edge: u32, known: u32, target: u32) {
        let token = self.edges[edge as usize].token;
        let (mut redirect, mut counted) = (known != target, 0);
        loop {
            redirect &= self.edges[edge as usize].to == known;
            if redirect {
                self.edges[edge as usize].to = target;
            }
            if counted < self.nested {
                self.edges[edge as usize].count += 1;
                self.put_first(edge);
                counted += 1;
            } else if !redirect {
                return;
            }
            if at == ROOT {
                return;
            }
            at = self.states[at as usize].link;
            edge = self.edge(at, token);
        }
    }

    fn put_first(&mut self, edge: u32) {
        let Edge { from, older, fresher, .. } = self.edges[edge as usize];
        if fresher == NIL {
            return;
        }
        self.edges[fresher as usize].older = older;
        if older != NIL {
            self.edges[older as usize].fresher = fresher;
        }
        self.push_front(from, edge);
    }

    fn push_front(&mut self, state: u32, edge: u32) {
        let second = std::mem::replace(&mut self.states[state as usize].freshest, edge);
        if second != NIL {
            self.edges[second as usize].fresher = edge;
        }
        let this = &mut self.edges[edge as usize];
        (this.older, this.fresher) = (second, NIL);
    }

    fn add_state(&mut self, length: u32, link: u32) -> u32 {
        make_room(&mut self.states);
        self.states.push(State { length, link, freshest: NIL });
        self.states.len() as u32 - 1
    }

    fn add_edge(&mut self, from: u32, token: Token, to: u32) {
        let second = self.states[from as usize].freshest;
        let edge = self.push_edge(Edge { from, to, token, count: 1, older: NIL, fresher: NIL });
        self.push_front(from, edge);
        match self.edges.get(second as usize) {
            None => {}
            Some(alone) if alone.older == NIL => self.enter([second, edge].into_iter()),
            Some(_) => self.enter([edge].into_iter()),
        }
    }

    fn push_edge(&mut self, edge: Edge) -> u32 {
        make_room(&mut self.edges);
        self.edges.push(edge);
        self.edges.len() as u32 - 1
    }

    /// Makes edges known to the table that are in the list of their state.
    #[inline]
    fn enter(&mut self, edges: impl ExactSizeIterator<Item = u32>) {
        if !self.table.has_room(edges.len()) {
            return self.enter_again();
        }
        for number in edges {
            let Edge { from, token, .. } = self.edges[number as usize];
            self.table.enter(from, token, number);
        }
    }

    /// Makes a larger table of all edges that have neighbours.
    #[cold]
    fn enter_again(&mut self) {
        let has_neighbours = |edge: &Edge| edge.older != NIL || edge.fresher != NIL;
        self.table.clear_for(self.edges.iter().filter(|edge| has_neighbours(edge)).count());
        for (number, edge) in self.edges.iter().enumerate().filter(|(_, edge)| has_neighbours(edge)) {
            self.table.enter(edge.from, edge.token, number as u32);
        }
    }

    /// The edge of `state` by `token`, or [`NIL`].
    #[inline]
    fn edge(&self, state: u32, token: Token) -> u32 {
        let first = self.states[state as usize].freshest;
        match self.edges.get(first as usize) {
            None => return NIL,
            Some(edge) if edge.token == token => return first,
            Some(edge) if edge.older == NIL => return NIL,
            Some(_) => {}
        }
        self.table.find(state, token, |edge| {
            let Edge { from, token, .. } = self.edges[edge as usize];
            (from, token)
        })
    }
}

impl Growing for SuffixAutomaton {
    fn tail(&self) -> Option<Context> {
        SuffixAutomaton::tail(self)
    }

    fn append(&mut self, token: Token, without: usize) {
        SuffixAutomaton::append(self, token, without);
    }
}

impl Contexts for SuffixAutomaton {
    #[inline]
    fn followers(&self, node: u32) -> impl Iterator<Item = Follower> {
        let mut at = self.states[node as usize].freshest;
        std::iter::from_fn(move || {
            let edge = self.edges.get(at as usize)?;
            at = edge.older;
            Some(Follower { token: edge.token, count: edge.count, node: edge.to })
        })
    }

    #[inline]
    fn shorter(&self, context: Context) -> Option<Context> {
        match self.states[context.node as usize].link {
            NIL | ROOT => None,
            link => Some(Context { node: link, length: self.states[link as usize].length }),
        }
    }

    #[inline]
    fn expect(&self, node: u32) {
        prefetch(&self.edges, self.states[node as usize].freshest as usize);
    }
}

/// Grows by a quarter instead of doubling: half the memory for 1.5 copies more per element.
#[inline]
fn make_room<T: Copy>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        huge_pages::grow(items, items.len() + items.len() / 4 + 16);
    }
}

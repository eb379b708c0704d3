//! Texts of one search, said and drafted, as a tree below the last token of the prompt.

use draftwood_base::Token;

pub(crate) const NIL: u32 = u32::MAX;

/// What is known of what follows a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    Unknown,
    /// Row of the present forward.
    Fresh(u32),
    /// Row that was kept from an earlier one.
    Kept(u32),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub parent: u32,
    pub token: Token,
    /// Generated tokens, this one included.
    pub depth: u32,
    pub row: Row,
    /// What the draft beam thinks of it, in f32 sums like the search's.
    pub score: f32,
    first_child: u32,
    sibling: u32,
    /// The last draft that it was part of.
    pub mark: u32,
}

/// Node 0 is the prompt's last token. 36 bytes per node that was ever said or guessed; nodes are not taken back.
#[derive(Debug)]
pub(crate) struct Nodes {
    prompt: Vec<Token>,
    nodes: Vec<Node>,
}

impl Nodes {
    /// # Panics
    /// If there is no prompt.
    pub fn new(prompt: &[Token]) -> Self {
        let token = prompt[prompt.len() - 1];
        let root = Node {
            parent: NIL,
            token,
            depth: 0,
            row: Row::Unknown,
            score: 0.0,
            first_child: NIL,
            sibling: NIL,
            mark: 0,
        };
        Self { prompt: prompt.to_vec(), nodes: vec![root] }
    }

    pub fn get(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    pub fn get_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    pub fn is_known(&self, node: u32) -> bool {
        self.get(node).row != Row::Unknown
    }

    /// Cached rows of a text up to and with this node.
    pub fn rows(&self, node: u32) -> u32 {
        self.prompt.len() as u32 + self.get(node).depth
    }

    pub fn children(&self, node: u32) -> impl Iterator<Item = u32> {
        let mut next = self.get(node).first_child;
        std::iter::from_fn(move || {
            let child = (next != NIL).then_some(next)?;
            next = self.get(child).sibling;
            Some(child)
        })
    }

    /// The child with this token, made if there is none.
    pub fn child(&mut self, node: u32, token: Token) -> u32 {
        if let Some(child) = self.children(node).find(|&child| self.get(child).token == token) {
            return child;
        }
        let Node { depth, first_child, .. } = *self.get(node);
        let new = self.nodes.len() as u32;
        self.nodes.push(Node {
            parent: node,
            token,
            depth: depth + 1,
            row: Row::Unknown,
            score: 0.0,
            first_child: NIL,
            sibling: first_child,
            mark: 0,
        });
        self.get_mut(node).first_child = new;
        new
    }

    /// Whether `node` is `above` or lies below it.
    pub fn is_below(&self, node: u32, above: u32) -> bool {
        let depth = self.get(above).depth;
        let mut at = node;
        while at != NIL && self.get(at).depth > depth {
            at = self.get(at).parent;
        }
        at == above
    }

    /// The last tokens of the text that ends with `node`, the last one first.
    pub fn context<const N: usize>(&self, node: u32, out: &mut [Token; N]) -> usize {
        let (mut count, mut at) = (0, node);
        while count < N && at != NIL && self.get(at).parent != NIL {
            out[count] = self.get(at).token;
            count += 1;
            at = self.get(at).parent;
        }
        for &token in self.prompt.iter().rev().take(N - count) {
            out[count] = token;
            count += 1;
        }
        count
    }
}

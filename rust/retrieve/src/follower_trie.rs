//! Which tokens followed each n-gram of a text, how often, and which of them last.

use crate::child_table::{ChildTable, NIL};
use crate::follow::Growing;
use crate::ppm::{Context, Contexts, Follower};
use crate::prefetch::prefetch;
use draftwood_base::Token;

/// The empty n-gram.
const ROOT: u32 = 0;

/// A trie of all n-grams of up to `order + 1` tokens of one growing text.
///
/// The node of the n-gram `w·t` is a child of the node of `w`: it counts how often `t` followed `w`. Children are
/// listed by their latest occurrence, the last one first, so a reader that stops after a few has seen the freshest,
/// however long and repetitive the text is. Each node links to the n-gram without its first token, so the shorter
/// contexts of a context are pointer steps and the text itself need not be kept.
///
/// The end of the text has no follower yet: an n-gram never finds itself.
///
/// Cost: at most `order + 1` nodes per appended token (28 bytes each and 6 to 12 in the table); an append touches one
/// node per order.
#[derive(Debug)]
pub(crate) struct FollowerTrie {
    order: usize,
    nodes: Vec<Node>,
    table: ChildTable,
    /// The longest context at the end of the text, at most `order` tokens.
    tail: u32,
    tail_order: usize,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    token: Token,
    count: u32,
    parent: u32,
    /// The node of the same n-gram without its first token.
    suffix: u32,
    /// The child that occurred last.
    first_child: u32,
    /// Neighbours among the children of `parent`: older and fresher.
    older: u32,
    fresher: u32,
}

impl FollowerTrie {
    /// An empty text whose contexts have up to `order` tokens.
    pub(crate) fn new(order: usize) -> Self {
        let root =
            Node { token: 0, count: 0, parent: NIL, suffix: NIL, first_child: NIL, older: NIL, fresher: NIL };
        Self { order, nodes: vec![root], table: ChildTable::new(), tail: ROOT, tail_order: 0 }
    }

    /// The longest context at the end of the text.
    pub(crate) fn tail(&self) -> Option<Context> {
        (self.tail != ROOT).then_some(Context { node: self.tail, length: self.tail_order as u32 })
    }

    /// The context without its first token.
    #[inline]
    fn suffix(&self, node: u32) -> u32 {
        self.nodes[node as usize].suffix
    }

    /// Appends one token to the text, which followed none of the `without` longest contexts yet.
    pub(crate) fn append(&mut self, token: Token, mut without: usize) {
        let (mut context, mut longest, mut waiting) = (self.tail, NIL, NIL);
        while context != NIL {
            let found = if without > 0 { NIL } else { self.child(context, token) };
            without = without.saturating_sub(1);
            let node = if found == NIL { self.insert(context, token) } else { found };
            if longest == NIL {
                longest = node;
            }
            if waiting != NIL {
                self.nodes[waiting as usize].suffix = node;
            }
            if found != NIL {
                // All shorter n-grams that end here are known too, one suffix link apart.
                self.count_occurrence(found);
                break;
            }
            waiting = node;
            context = self.nodes[context as usize].suffix;
        }
        (self.tail, self.tail_order) = if self.tail_order < self.order {
            (longest, self.tail_order + 1)
        } else {
            (self.suffix(longest), self.order)
        };
    }

    /// Counts the n-gram of `node` and all its suffixes of two tokens or more. Single tokens follow nothing.
    fn count_occurrence(&mut self, mut node: u32) {
        loop {
            let Node { parent, suffix, older, fresher, .. } = self.nodes[node as usize];
            if parent == ROOT {
                return;
            }
            self.nodes[node as usize].count += 1;
            if fresher != NIL {
                self.nodes[fresher as usize].older = older;
                if older != NIL {
                    self.nodes[older as usize].fresher = fresher;
                }
                self.put_first(parent, node);
            }
            node = suffix;
        }
    }

    fn put_first(&mut self, parent: u32, node: u32) {
        let second = std::mem::replace(&mut self.nodes[parent as usize].first_child, node);
        if second != NIL {
            self.nodes[second as usize].fresher = node;
        }
        let this = &mut self.nodes[node as usize];
        (this.older, this.fresher) = (second, NIL);
    }

    fn insert(&mut self, parent: u32, token: Token) -> u32 {
        let node = self.nodes.len() as u32;
        self.nodes.push(Node {
            token,
            count: 1,
            parent,
            suffix: ROOT,
            first_child: NIL,
            older: NIL,
            fresher: NIL,
        });
        if parent != ROOT {
            self.put_first(parent, node);
        }
        if !self.table.has_room(1) {
            self.table.clear_for(self.nodes.len());
            for (number, old) in self.nodes[..node as usize].iter().enumerate().skip(1) {
                self.table.enter(old.parent, old.token, number as u32);
            }
        }
        self.table.enter(parent, token, node);
        node
    }

    /// The child of `parent` that holds `token`, or [`NIL`].
    #[inline]
    fn child(&self, parent: u32, token: Token) -> u32 {
        if parent != ROOT {
            let first = self.nodes[parent as usize].first_child;
            match self.nodes.get(first as usize) {
                None => return NIL,
                Some(node) if node.token == token => return first,
                Some(_) => {}
            }
        }
        self.table.find(parent, token, |node| {
            let Node { parent, token, .. } = self.nodes[node as usize];
            (parent, token)
        })
    }
}

impl Growing for FollowerTrie {
    fn tail(&self) -> Option<Context> {
        FollowerTrie::tail(self)
    }

    fn append(&mut self, token: Token, without: usize) {
        FollowerTrie::append(self, token, without);
    }
}

impl Contexts for FollowerTrie {
    #[inline]
    fn followers(&self, node: u32) -> impl Iterator<Item = Follower> {
        let mut at = self.nodes[node as usize].first_child;
        std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            let follower = Follower { token: node.token, count: node.count, node: at };
            at = node.older;
            Some(follower)
        })
    }

    #[inline]
    fn shorter(&self, context: Context) -> Option<Context> {
        match self.suffix(context.node) {
            ROOT => None,
            node => Some(Context { node, length: context.length - 1 }),
        }
    }

    #[inline]
    fn expect(&self, node: u32) {
        prefetch(&self.nodes, self.nodes[node as usize].first_child as usize);
    }
}

//! Children by parent and token, for tries and automata whose nodes are numbered.

use crate::huge_pages;
use draftwood_base::Token;

/// No child.
pub(crate) const NIL: u32 = u32::MAX;

/// Open addressing over (parent, token) → number of the child, which knows its own key; a power of two slots, at most two
/// thirds full.
#[derive(Debug, Clone)]
pub(crate) struct ChildTable {
    slots: Vec<u32>,
    entered: usize,
}

impl ChildTable {
    pub(crate) fn new() -> Self {
        Self { slots: vec![NIL; 16], entered: 0 }
    }

    /// Bytes allocated.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }

    /// Whether there is room for so many more.
    #[inline]
    pub(crate) fn has_room(&self, more: usize) -> bool {
        (self.entered + more) * 3 <= self.slots.len() * 2
    }

    /// Forgets all children and makes room for `count`, at least twice the slots.
    #[cold]
    pub(crate) fn clear_for(&mut self, count: usize) {
        let mut slots = self.slots.len() * 2;
        while count * 3 > slots * 2 {
            slots *= 2;
        }
        *self = Self { slots: huge_pages::filled(slots, NIL), entered: 0 };
    }

    /// Enters a child that is not in it yet, for which there is room.
    #[inline]
    pub(crate) fn enter(&mut self, parent: u32, token: Token, child: u32) {
        let mask = self.slots.len() - 1;
        let mut at = slot(parent, token) & mask;
        while self.slots[at] != NIL {
            at = (at + 1) & mask;
        }
        self.slots[at] = child;
        self.entered += 1;
    }

    /// The child of `parent` by `token`, or [`NIL`]; `key` gives that of a child.
    #[inline]
    pub(crate) fn find(&self, parent: u32, token: Token, key: impl Fn(u32) -> (u32, Token)) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = slot(parent, token) & mask;
        loop {
            let child = self.slots[at];
            if child == NIL || key(child) == (parent, token) {
                return child;
            }
            at = (at + 1) & mask;
        }
    }
}

#[inline]
fn slot(parent: u32, token: Token) -> usize {
    let key = (u64::from(parent) << 32 | u64::from(token)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (key >> 32 ^ key >> 17) as usize
}

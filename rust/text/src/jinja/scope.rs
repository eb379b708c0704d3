//! Names and what they mean where. Loops and captured blocks open a scope, `if` does not; a macro sees its own scopes
//! and the names of the whole template.

use super::ast::Symbol;
use super::value::Value;

/// A stack of values per name, so that a look-up costs the same however many names there are.
#[derive(Debug)]
pub(super) struct Scopes {
    /// Per symbol: the scope that set it, innermost last, and the value. Scope 0 is the template.
    stacks: Vec<Vec<(usize, Value)>>,
    /// Symbols that open scopes have set, to be undone when they close.
    trail: Vec<Symbol>,
    /// Length of the trail at the start of each open scope.
    marks: Vec<usize>,
    /// First scope of the running macro; the caller's scopes below are hidden.
    base: usize,
}

impl Scopes {
    pub(super) fn new(symbols: usize) -> Self {
        Self { stacks: vec![Vec::new(); symbols], trail: Vec::new(), marks: Vec::new(), base: 0 }
    }

    pub(super) fn enter(&mut self) {
        self.marks.push(self.trail.len());
    }

    pub(super) fn leave(&mut self) {
        let mark = self.marks.pop().unwrap_or(0);
        for symbol in self.trail.drain(mark..) {
            self.stacks[symbol].pop();
        }
    }

    /// Opens a scope that hides all but the template's; returns what `leave_macro` takes.
    pub(super) fn enter_macro(&mut self) -> usize {
        self.enter();
        std::mem::replace(&mut self.base, self.marks.len())
    }

    pub(super) fn leave_macro(&mut self, outside: usize) {
        self.base = outside;
        self.leave();
    }

    /// Sets a name in the innermost scope.
    pub(super) fn set(&mut self, symbol: Symbol, value: Value) {
        let scope = self.marks.len();
        match self.stacks[symbol].last_mut() {
            Some(top) if top.0 == scope => top.1 = value,
            _ => {
                self.stacks[symbol].push((scope, value));
                if scope > 0 {
                    self.trail.push(symbol);
                }
            }
        }
    }

    pub(super) fn get(&self, symbol: Symbol) -> Option<&Value> {
        let stack = &self.stacks[symbol];
        let visible = |entry: &&(usize, Value)| entry.0 == 0 || entry.0 >= self.base;
        stack.last().filter(visible).or_else(|| stack.first().filter(visible)).map(|(_, value)| value)
    }
}

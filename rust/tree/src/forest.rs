//! The drafts of all sequences of a step in four flat arrays.

use crate::TreeRef;
use draftwood_base::Token;

/// One tree per view, in the order of the views. Reused from step to step: `clear` keeps the memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    tokens: Vec<Token>,
    parents: Vec<i32>,
    prob: Vec<f32>,
    offsets: Vec<u32>,
}

impl Default for Forest {
    fn default() -> Self {
        Self { tokens: Vec::new(), parents: Vec::new(), prob: Vec::new(), offsets: vec![0] }
    }
}

impl Forest {
    /// Forgets all trees.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.parents.clear();
        self.prob.clear();
        self.offsets.truncate(1);
    }

    /// Opens the next tree with its root.
    pub fn open(&mut self, root: Token) {
        self.tokens.push(root);
        self.parents.push(crate::NO_PARENT);
        self.prob.push(1.0);
    }

    /// Adds a node to the open tree and returns its number there; `prob` as in [`TreeRef::prob`]. The caller keeps
    /// siblings distinct.
    pub fn push(&mut self, parent: u32, token: Token, prob: f32) -> u32 {
        let node = self.tokens.len() as u32 - self.offsets[self.offsets.len() - 1];
        debug_assert!(parent < node);
        self.tokens.push(token);
        self.parents.push(parent as i32);
        self.prob.push(prob);
        node
    }

    /// Closes the open tree.
    pub fn close(&mut self) {
        self.offsets.push(self.tokens.len() as u32);
    }

    /// Drops nodes of tree `i`, and those below them; the root stays. The others keep their order.
    ///
    /// # Panics
    /// If `i ≥ len()`.
    pub fn drop_nodes(&mut self, i: usize, nodes: &[u32]) {
        let (start, end) = (self.offsets[i] as usize, self.offsets[i + 1] as usize);
        let mut renumbered: Vec<Option<i32>> = vec![Some(0)];
        let mut to = start + 1;
        for from in start + 1..end {
            let parent = renumbered[self.parents[from] as usize];
            let stays = parent.filter(|_| !nodes.contains(&((from - start) as u32)));
            renumbered.push(stays.map(|parent| {
                (self.tokens[to], self.prob[to], self.parents[to]) =
                    (self.tokens[from], self.prob[from], parent);
                to += 1;
                (to - 1 - start) as i32
            }));
        }
        self.tokens.drain(to..end);
        self.parents.drain(to..end);
        self.prob.drain(to..end);
        self.offsets[i + 1..].iter_mut().for_each(|offset| *offset -= (end - to) as u32);
    }

    /// Number of closed trees.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether no tree is closed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tree `i`.
    ///
    /// # Panics
    /// If `i ≥ len()`.
    pub fn tree(&self, i: usize) -> TreeRef<'_> {
        let range = self.offsets[i] as usize..self.offsets[i + 1] as usize;
        TreeRef {
            tokens: &self.tokens[range.clone()],
            parents: &self.parents[range.clone()],
            prob: &self.prob[range],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_nodes_take_what_is_below_them() {
        let mut forest = Forest::default();
        let tree = |forest: &mut Forest, nodes: &[(u32, Token)]| {
            forest.open(9);
            nodes.iter().for_each(|&(parent, token)| _ = forest.push(parent, token, token as f32));
            forest.close();
        };
        let draft = [(0, 1), (1, 2), (0, 3), (2, 4), (3, 5), (3, 6)];
        tree(&mut forest, &[(0, 7)]);
        tree(&mut forest, &draft);
        tree(&mut forest, &draft);
        forest.drop_nodes(1, &[2, 5]);
        let mut expected = Forest::default();
        tree(&mut expected, &[(0, 7)]);
        tree(&mut expected, &[(0, 1), (0, 3), (2, 6)]);
        tree(&mut expected, &draft);
        assert_eq!(forest, expected);
        forest.drop_nodes(0, &[]);
        assert_eq!(forest, expected);
    }
}

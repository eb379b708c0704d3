//! Borrowed trees and the one place where foreign trees are checked.

use draftwood_base::{Error, Result, Token};

/// Parent of a root.
pub const NO_PARENT: i32 = -1;

/// One tree, borrowed from a [`crate::Forest`] or from a caller's arrays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TreeRef<'a> {
    /// Token of each node; node 0 repeats the last token of the text.
    pub tokens: &'a [Token],
    /// Parent of each node, smaller than the node; −1 for node 0.
    pub parents: &'a [i32],
    /// The drafter's probability of each node given its parent, 1 for node 0; NaN where the drafter tells none.
    pub prob: &'a [f32],
}

impl TreeRef<'_> {
    /// Number of nodes, the root included.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is not even a root.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The child of `node` that holds `token`. Cost: one pass over the later nodes.
    pub fn child(&self, node: usize, token: Token) -> Option<usize> {
        (node + 1..self.len()).find(|&i| self.parents[i] == node as i32 && self.tokens[i] == token)
    }

    /// Writes the distance of each node from the root.
    pub fn depths_into(&self, out: &mut Vec<u32>) {
        out.clear();
        for &parent in self.parents {
            out.push(if parent < 0 { 0 } else { out[parent as usize] + 1 });
        }
    }

    /// Writes the nodes from the root to `leaf`, both included.
    pub fn path_into(&self, leaf: usize, out: &mut Vec<u32>) {
        out.clear();
        let mut node = leaf as i32;
        while node >= 0 {
            out.push(node as u32);
            node = self.parents[node as usize];
        }
        out.reverse();
    }
}

/// Checks a tree that comes from outside: shapes, order, ids, distinct siblings, the root's token, the budget.
///
/// # Errors
/// [`Error::InvalidArgument`] naming the first node that is wrong.
pub fn validate(tokens: &[i64], parents: &[i64], vocab: u32, root: Token, budget: usize) -> Result<()> {
    let hint =
        "a draft tree lists its nodes parents first: tokens[0] is the view's last token, parents[0] is -1";
    let fail = |what: String, expected: String, got: String| Err(Error::invalid(what, expected, got, hint));
    if tokens.len() != parents.len() {
        return fail(
            "the lengths of tokens and parents".into(),
            "equal".into(),
            format!("{} and {}", tokens.len(), parents.len()),
        );
    }
    if tokens.is_empty() || tokens.len() > budget {
        return fail("the number of tree nodes".into(), format!("1 … {budget}"), tokens.len().to_string());
    }
    let mut siblings: Vec<(i64, i64)> = Vec::with_capacity(tokens.len());
    for (node, (&token, &parent)) in tokens.iter().zip(parents).enumerate() {
        if token < 0 || token >= i64::from(vocab) {
            return fail(
                format!("the token of tree node {node}"),
                format!("0 … {}", vocab - 1),
                token.to_string(),
            );
        }
        if node == 0 {
            if parent != -1 {
                return fail("the parent of tree node 0".into(), "-1".into(), parent.to_string());
            }
            if token != i64::from(root) {
                return fail(
                    "the token of tree node 0".into(),
                    format!("{root}, the last token of the view"),
                    token.to_string(),
                );
            }
        } else if parent < 0 || parent >= node as i64 {
            return fail(
                format!("the parent of tree node {node}"),
                format!("0 … {}", node - 1),
                parent.to_string(),
            );
        }
        siblings.push((parent, token));
    }
    siblings.sort_unstable();
    if let Some(pair) = siblings.windows(2).find(|pair| pair[0] == pair[1]) {
        return fail(
            format!("the children of tree node {}", pair[0].0),
            "distinct tokens".into(),
            format!("token {} twice", pair[0].1),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_trees_are_checked_node_by_node() {
        //  5 ─┬─ 1 ── 3
        //     └─ 2
        let ok = ([5, 1, 2, 3], [-1, 0, 0, 1]);
        assert!(validate(&ok.0, &ok.1, 8, 5, 4).is_ok());
        let cases: [(&[i64], &[i64], &str); 9] = [
            (&[5, 1], &[-1], "lengths"),
            (&[], &[], "number of tree nodes"),
            (&[5, 1, 2, 3, 4], &[-1, 0, 0, 1, 0], "number of tree nodes must be 1 … 4, got 5"),
            (&[5, 8], &[-1, 0], "token of tree node 1 must be 0 … 7, got 8"),
            (&[5, -1], &[-1, 0], "token of tree node 1"),
            (&[4, 1], &[-1, 0], "token of tree node 0 must be 5"),
            (&[5, 1], &[0, 0], "parent of tree node 0"),
            (&[5, 1, 2], &[-1, 2, 1], "parent of tree node 1 must be 0 … 0, got 2"),
            (&[5, 1, 1], &[-1, 0, 0], "children of tree node 0 must be distinct tokens, got token 1 twice"),
        ];
        for (tokens, parents, text) in cases {
            let error = validate(tokens, parents, 8, 5, 4).unwrap_err().to_string();
            assert!(error.contains(text), "{error} lacks {text}");
        }
    }

    #[test]
    fn depths_and_paths() {
        let tree = TreeRef { tokens: &[5, 1, 2, 3], parents: &[-1, 0, 0, 1], prob: &[1.0; 4] };
        let (mut depths, mut path) = (Vec::new(), Vec::new());
        tree.depths_into(&mut depths);
        tree.path_into(3, &mut path);
        assert_eq!((depths, path), (vec![0, 1, 1, 2], vec![0, 1, 3]));
        assert_eq!((tree.child(0, 2), tree.child(1, 2), tree.child(1, 3)), (Some(2), None, Some(3)));
    }
}

//! Verification of a draft tree: V1 (greedy) and V2 (sample and match) are one walk.

use draftwood_base::Token;
use draftwood_tree::TreeRef;

/// Where a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// The last accepted node; 0 accepts the root alone.
    pub leaf: u32,
    /// The token that the row of `leaf` chose; the root of the next tree.
    pub next_token: Token,
}

/// Follows the target's own choices down a draft tree and writes the accepted nodes, root first, to `path`.
///
/// `choose(node, depth)` is the token that the target takes after `node`: its argmax (V1) or its draw at position
/// (context length + depth + 1) (V2). It is asked once per visited node, from the root down, and the walk descends if
/// and only if a child holds that token, so the emitted text is the target's, whatever the tree; a token that `ends`
/// the text is never descended into. Visited rows only: the others need no logits at all.
///
/// A pad is −1 in the arrays of an executor and cannot occur here: [`Token`] is unsigned, and a tree holds real nodes
/// alone, so nothing is ever compared with a pad. Siblings hold distinct tokens, so at most one child matches.
///
/// Cost: one choice and one pass over the later nodes per visited node. Source: rules V1 and V2 of tree verification
/// (SpecInfer, arXiv 2305.09781, without its ratio test).
///
/// # Errors
/// The first error of `choose`; `path` then ends with the node that it was asked about.
pub fn walk<E>(
    tree: TreeRef<'_>,
    mut choose: impl FnMut(u32, u32) -> Result<Token, E>,
    ends: impl Fn(Token) -> bool,
    path: &mut Vec<u32>,
) -> Result<Walk, E> {
    path.clear();
    let mut leaf = 0;
    loop {
        path.push(leaf);
        let next_token = choose(leaf, path.len() as u32 - 1)?;
        match tree.child(leaf as usize, next_token) {
            Some(child) if !ends(next_token) => leaf = child as u32,
            _ => return Ok(Walk { leaf, next_token }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    //  5 ─┬─ 1 ─┬─ 3 ── 4
    //     │     └─ 2
    //     └─ 2 ── 3
    const TREE: TreeRef<'_> =
        TreeRef { tokens: &[5, 1, 2, 3, 2, 3, 4], parents: &[-1, 0, 0, 1, 1, 2, 3], prob: &[1.0; 7] };

    /// Walks with one fixed choice per node and tells which nodes were asked, at which depth.
    fn walked(choices: [Token; 7], end: Token) -> (Walk, Vec<u32>, Vec<(u32, u32)>) {
        let (mut path, mut asked) = (vec![9, 9], Vec::new());
        let choose = |node: u32, depth| {
            asked.push((node, depth));
            Ok::<_, Infallible>(choices[node as usize])
        };
        let walk = walk(TREE, choose, |token| token == end, &mut path).unwrap();
        (walk, path, asked)
    }

    #[test]
    fn the_walk_descends_where_a_child_holds_the_choice() {
        let (walk, path, asked) = walked([1, 3, 0, 4, 0, 0, 7], 99);
        assert_eq!(walk, Walk { leaf: 6, next_token: 7 });
        assert_eq!(path, [0, 1, 3, 6]);
        assert_eq!(asked, [(0, 0), (1, 1), (3, 2), (6, 3)]);
    }

    #[test]
    fn a_token_without_a_child_is_the_next_one() {
        assert_eq!(walked([4, 0, 0, 0, 0, 0, 0], 99).0, Walk { leaf: 0, next_token: 4 });
        let (walk, path, _) = walked([2, 0, 1, 0, 0, 0, 0], 99);
        assert_eq!((walk, path), (Walk { leaf: 2, next_token: 1 }, vec![0, 2]));
    }

    #[test]
    fn an_end_is_never_descended_into() {
        let (walk, path, asked) = walked([1, 3, 0, 4, 0, 0, 7], 3);
        assert_eq!((walk, path), (Walk { leaf: 1, next_token: 3 }, vec![0, 1]));
        assert_eq!(asked.len(), 2);
    }

    #[test]
    fn an_error_stops_at_its_node() {
        let mut path = Vec::new();
        let choose = |node, _| if node == 0 { Ok(2) } else { Err(node) };
        assert_eq!(walk(TREE, choose, |_| false, &mut path), Err(2));
        assert_eq!(path, [0, 2]);
    }
}

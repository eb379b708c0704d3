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

//! The walk under test, and five that are wrong in ways that shipped elsewhere.

use super::{END, Scene};
use draftwood_base::Token;
use draftwood_sample::Draw;
use draftwood_sample::verify::walk;
use draftwood_tree::TreeRef;
use std::convert::Infallible;

/// The walk with a choice function and a rule for ends; emits the accepted tokens and the next one.
fn walked(
    tree: TreeRef<'_>,
    emitted: &mut Vec<Token>,
    ends: impl Fn(Token) -> bool,
    mut choose: impl FnMut(u32, &[Token]) -> Token,
) {
    let (mut path, mut above) = (Vec::new(), Vec::new());
    let end = walk(
        tree,
        |node, depth| {
            tree.path_into(node as usize, &mut above);
            assert_eq!(above.len(), depth as usize + 1);
            let more: Vec<Token> = above[1..].iter().map(|&n| tree.tokens[n as usize]).collect();
            Ok::<_, Infallible>(choose(node, &more))
        },
        ends,
        &mut path,
    )
    .unwrap();
    assert_eq!(path.last(), Some(&end.leaf));
    emitted.extend(path[1..].iter().map(|&n| tree.tokens[n as usize]));
    emitted.push(end.next_token);
}

/// V2.
pub fn honest(scene: &mut Scene<'_>, tree: TreeRef<'_>, emitted: &mut Vec<Token>) {
    walked(
        tree,
        emitted,
        |token| token == END,
        |_, more| {
            let draw = scene.draw(more.len());
            scene.choose(more, &draw)
        },
    );
}

/// Each leaf has draws of its own along its path, and the first path that gets a token right wins.
pub fn one_draw_per_leaf(scene: &mut Scene<'_>, tree: TreeRef<'_>, emitted: &mut Vec<Token>) {
    let leaves = (0..tree.len()).filter(|&n| !tree.parents.contains(&(n as i32)));
    let mut path = Vec::new();
    for leaf in leaves {
        tree.path_into(leaf, &mut path);
        let start = emitted.len();
        for depth in 0..path.len() {
            let draw = Draw { slot: leaf as u32, ..scene.draw(depth) };
            let token = scene.choose(&emitted[start..], &draw);
            emitted.push(token);
            if token == END || path.get(depth + 1).is_none_or(|&n| tree.tokens[n as usize] != token) {
                break;
            }
        }
        if emitted.len() - start > 1 {
            emitted.drain(..start);
            return;
        }
    }
    emitted.truncate(1);
}

/// The position stands still along a path, so a node's draw repeats its parent's noise.
pub fn noise_reused_along_a_path(scene: &mut Scene<'_>, tree: TreeRef<'_>, emitted: &mut Vec<Token>) {
    walked(
        tree,
        emitted,
        |token| token == END,
        |_, more| {
            let draw = scene.draw(0);
            scene.choose(more, &draw)
        },
    );
}

/// After a mismatch the target is drawn from once more, in full.
pub fn second_draw_after_a_mismatch(scene: &mut Scene<'_>, tree: TreeRef<'_>, emitted: &mut Vec<Token>) {
    walked(
        tree,
        emitted,
        |token| token == END,
        |node, more| {
            let draw = scene.draw(more.len());
            let token = scene.choose(more, &draw);
            let children = tree.parents.contains(&(node as i32));
            if children && tree.child(node as usize, token).is_none() {
                scene.choose(more, &Draw { slot: 1, ..draw })
            } else {
                token
            }
        },
    );
}

/// Pads are children of the root with token 0, and their rows hold whatever the buffer held: here always token 5.
pub fn pads_compared(scene: &mut Scene<'_>, tree: TreeRef<'_>, emitted: &mut Vec<Token>) {
    let real = tree.len();
    let tokens = [tree.tokens, &[0; 3]].concat();
    let parents = [tree.parents, &[0; 3]].concat();
    let prob = [tree.prob, &[0.0; 3]].concat();
    let padded = TreeRef { tokens: &tokens, parents: &parents, prob: &prob };
    walked(
        padded,
        emitted,
        |token| token == END,
        |node, more| {
            let draw = scene.draw(more.len());
            if node as usize >= real { 5 } else { scene.choose(more, &draw) }
        },
    );
}

/// An accepted end token is walked through.
pub fn ends_expanded(scene: &mut Scene<'_>, tree: TreeRef<'_>, emitted: &mut Vec<Token>) {
    walked(
        tree,
        emitted,
        |_| false,
        |_, more| {
            let draw = scene.draw(more.len());
            scene.choose(more, &draw)
        },
    );
}

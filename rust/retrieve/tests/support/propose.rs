//! One draft of one text.

use draftwood_base::{SequenceId, Token};
use draftwood_tree::{Drafter, Forest, View};

/// What the drafter says behind `tokens`, as the only tree of a forest.
pub fn propose(
    drafter: &mut dyn Drafter,
    sequence: u32,
    tokens: &[Token],
    budget: u32,
    max_depth: u32,
) -> Forest {
    let mut forest = Forest::default();
    let view = View {
        sequence: SequenceId(sequence),
        tokens: tokens.into(),
        source: &[],
        budget,
        max_depth,
        salt: 0,
    };
    drafter.propose_batch(&[view], &mut forest).unwrap();
    assert_eq!(forest.len(), 1);
    forest
}

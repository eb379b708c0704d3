//! `Outputs` against scans of what other texts have said.

mod support;

use draftwood_base::{SequenceId, Token};
use draftwood_retrieve::{Outputs, OutputsConfig};
use draftwood_tree::{Drafter, Forest, View};
use proptest::prelude::*;
use support::{check_tree, texts};

fn propose(drafter: &mut Outputs, (sequence, salt): (u32, u64), tokens: &[Token], budget: u32) -> Forest {
    let mut forest = Forest::default();
    let view = View {
        sequence: SequenceId(sequence),
        tokens: tokens.into(),
        source: &[],
        budget,
        max_depth: 12,
        salt,
    };
    drafter.propose_batch(&[view], &mut forest).unwrap();
    assert_eq!(forest.len(), 1);
    forest
}

fn drafter(max_tokens: usize) -> Outputs {
    Outputs::new(OutputsConfig { min_prob: 0.001, max_tokens }).unwrap()
}

/// Length of the longest suffix of `text` that one of `past` holds.
fn longest(past: &[&[Token]], text: &[Token]) -> usize {
    let holds = |ids: &[Token]| past.iter().any(|one| one.windows(ids.len()).any(|window| window == ids));
    (1..=text.len()).rev().find(|&length| holds(&text[text.len() - length..])).unwrap_or(0)
}

fn has(past: &[&[Token]], ids: &[Token]) -> bool {
    past.iter().any(|one| one.windows(ids.len()).any(|window| window == ids))
}

proptest! {
    #[test]
    fn drafts_continue_suffixes_that_others_of_the_salt_have_said(
        past in prop::collection::vec((texts(), 0u64..2), 1..6), later in texts(), text in texts(), salt in 0u64..2,
    ) {
        let mut drafter = drafter(1 << 16);
        for (text, salt) in &past {
            drafter.share(*salt, text);
        }
        let mine = |past: &[(Vec<Token>, u64)]| -> Vec<Vec<Token>> {
            past.iter().filter(|one| one.1 == salt).map(|one| one.0.clone()).collect()
        };
        let mut known = mine(&past);
        for end in 1..=text.len() {
            if end == text.len() / 2 {
                // Others end while this text runs, of either salt.
                drafter.share(salt, &later);
                drafter.share(1 - salt, &text);
                known.push(later.clone());
            }
            let said: Vec<&[Token]> = known.iter().map(Vec::as_slice).collect();
            let seen = &text[..end];
            let forest = propose(&mut drafter, (7, salt), seen, 12);
            // A text catches up with 64 tokens where others have ended since its last step.
            let (got, all) = (drafter.match_length(SequenceId(7)), longest(&said, seen));
            prop_assert!(all.min(64) <= got && got <= all, "{got} of {all}");
            let tree = forest.tree(0);
            check_tree(tree, seen[end - 1], 12, 12, |pair| has(&said, pair))?;
            // A draft goes on from a suffix of the text: with its path it was said.
            for node in 1..tree.len() {
                let (mut path, mut at) = (Vec::new(), node);
                while at > 0 {
                    path.push(tree.tokens[at]);
                    at = tree.parents[at] as usize;
                }
                path.push(seen[end - 1]);
                path.reverse();
                // Paths may go on from a shorter suffix at every node, so only pairs and the first step are certain.
                prop_assert!(has(&said, &path[..2]));
            }
        }
    }

    #[test]
    fn the_past_is_bounded_and_the_newest_is_kept(outputs in prop::collection::vec((texts(), 0u64..40), 1..60)) {
        let mut drafter = drafter(640);
        for (text, salt) in &outputs {
            drafter.share(*salt, text);
            prop_assert!(drafter.tokens() <= 640);
            let tail = &text[text.len() - text.len().min(60)..];
            propose(&mut drafter, (1, *salt), tail, 4);
            // The last output is there, cut where a generation ended.
            prop_assert!(drafter.match_length(SequenceId(1)) >= tail.len().min(1));
        }
        prop_assert!(drafter.bytes() <= 640 * 200 + 64 * 1024);
    }
}

#[test]
fn a_text_is_shared_when_it_is_closed_with_the_end_of_its_prompt() {
    let mut drafter = drafter(1 << 10);
    let text: Vec<Token> = (0..60).collect();
    propose(&mut drafter, (1, 0), &text[..40], 8);
    propose(&mut drafter, (1, 0), &text, 8);
    assert_eq!((drafter.tokens(), drafter.match_length(SequenceId(1))), (0, 0));
    drafter.close(SequenceId(1));
    assert_eq!(drafter.tokens(), 16 + 20);
    let forest = propose(&mut drafter, (2, 0), &[99, 30, 31], 6);
    assert_eq!(forest.tree(0).tokens, [31, 32, 33, 34, 35, 36]);
    // Another salt sees nothing of it, whatever its number.
    assert_eq!(propose(&mut drafter, (2, 5), &[99, 30, 31], 6).tree(0).tokens, [31]);
    // A text under a number that was another's begins anew; what it replaced is not shared.
    propose(&mut drafter, (3, 0), &[1, 2, 3], 6);
    propose(&mut drafter, (3, 0), &[9, 9], 6);
    drafter.close(SequenceId(3));
    assert_eq!(drafter.tokens(), 16 + 20 + 2);
    drafter.close(SequenceId(4));
}

#[test]
fn settings_are_checked() {
    let error = |min_prob, max_tokens| {
        Outputs::new(OutputsConfig { min_prob, max_tokens }).err().unwrap().to_string()
    };
    assert!(error(2.0, 100).starts_with("min_prob must be a probability"));
    assert!(error(0.1, 3).starts_with("max_tokens must be 64 … 2^30, got 3"));
}

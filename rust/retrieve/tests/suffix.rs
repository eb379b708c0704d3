//! `Suffix` against scans of the text, and what every draft must be.

#[path = "support/propose.rs"]
mod propose;
#[path = "support/rates.rs"]
mod rates;
mod support;

use draftwood_base::{SequenceId, Token};
use draftwood_retrieve::{Suffix, SuffixConfig};
use draftwood_tree::{Continuations, Drafter, Forest, Grower, View};
use propose::propose;
use proptest::prelude::*;
use rates::Rates;
use std::collections::HashMap;
use support::{check_tree, texts};

const FOLLOWERS: usize = 8;
const CONTEXTS: usize = 16;
const NESTED: usize = 16;

fn fresh(min_prob: f32) -> Suffix {
    Suffix::new(SuffixConfig { min_prob }).unwrap()
}

/// For each length 0 … `text.len()`: how often the suffix of that length occurs in `corpus`.
fn suffix_counts(corpus: &[Token], text: &[Token]) -> Vec<usize> {
    let mut ends: Vec<usize> = (0..=corpus.len()).collect();
    let mut counts = vec![ends.len()];
    for length in 1..=text.len() {
        let token = text[text.len() - length];
        ends.retain(|&end| end >= length && corpus[end - length] == token);
        counts.push(ends.len());
    }
    counts
}

/// What was seen after each context: token, count, time of the latest use that was counted.
type Seen<'a> = HashMap<&'a [Token], Vec<(Token, u32, usize)>>;

/// The same definition by scanning: contexts that occur at the same places are one, the longest stands for all.
struct Scan<'a> {
    text: &'a [Token],
    min_prob: f32,
    seen: Seen<'a>,
    rates: Rates,
    /// Per node state: its path from the root, the length of its longest context, its path probability.
    states: Vec<(Vec<Token>, usize, f32)>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a [Token], min_prob: f32) -> Self {
        let mut scan =
            Self { text, min_prob, seen: HashMap::new(), rates: Rates::default(), states: Vec::new() };
        for (time, &token) in text.iter().enumerate() {
            scan.read(time, token);
        }
        let counts = suffix_counts(text, text);
        let longest = (1..=text.len()).rev().find(|&length| counts[length] > 1).unwrap_or(0);
        scan.states.push((Vec::new(), longest, 1.0));
        scan
    }

    fn read(&mut self, time: usize, token: Token) {
        let before = &self.text[..time];
        let counts = suffix_counts(before, before);
        let is_longest = |length: usize| length == time || counts[length] > counts[length + 1];
        // A context that occurs once, at the end, was never followed and is not asked.
        let asked =
            (1..=time).rev().filter(|&length| is_longest(length) && counts[length] > 1).take(CONTEXTS);
        let contexts: Vec<_> = asked
            .map(|length| {
                let mut followers = self.seen.get(&before[time - length..]).cloned().unwrap_or_default();
                followers.sort_by_key(|f| std::cmp::Reverse(f.2));
                (length, followers.iter().take(FOLLOWERS).map(|f| f.0).collect())
            })
            .collect();
        self.rates.learn(&contexts, token);
        let mut knew = 0;
        for length in (0..=time).rev() {
            let followers = self.seen.entry(&before[time - length..]).or_default();
            let known = followers.iter_mut().find(|follower| follower.0 == token);
            match known {
                None => followers.push((token, 1, time)),
                Some(follower) => {
                    knew += usize::from(is_longest(length));
                    if knew <= NESTED {
                        follower.1 += 1;
                        follower.2 = time;
                    }
                }
            }
        }
    }
}

impl Continuations for Scan<'_> {
    type State = usize;

    fn expand(&mut self, state: usize, _: f32, out: &mut Vec<(Token, f32, usize)>) {
        let (path, longest, path_prob) = self.states[state].clone();
        let whole: Vec<Token> = self.text.iter().chain(&path).copied().collect();
        let counts = suffix_counts(self.text, &whole);
        let (mut left, mut known, mut asked) = (1.0f32, Vec::new(), 0);
        for n in (1..=longest).rev() {
            if n < longest && counts[n] == counts[n + 1] {
                continue;
            }
            if asked == CONTEXTS || path_prob * left < self.min_prob {
                break;
            }
            asked += 1;
            let mut new = self.seen.get(&whole[whole.len() - n..]).cloned().unwrap_or_default();
            new.sort_by_key(|f| std::cmp::Reverse(f.2));
            new.truncate(FOLLOWERS);
            new.retain(|f| !known.contains(&f.0));
            if new.is_empty() {
                continue;
            }
            let hit = self.rates.hit(n, path.len());
            let share = left * hit / new.iter().map(|f| f.1).sum::<u32>() as f32;
            for (token, count, _) in new {
                known.push(token);
                let prob = count as f32 * share;
                if path_prob * prob >= self.min_prob {
                    let mut next = path.clone();
                    next.push(token);
                    self.states.push((next, n + 1, path_prob * prob));
                    out.push((token, prob, self.states.len() - 1));
                }
            }
            left *= 1.0 - hit;
        }
    }
}

fn by_scan(text: &[Token], min_prob: f32, budget: u32, max_depth: u32) -> Forest {
    let mut forest = Forest::default();
    let mut scan = Scan::new(text, min_prob);
    let root = *text.last().unwrap();
    Grower::default().grow(&mut forest, root, 0, budget as usize, max_depth, &mut scan);
    forest
}

proptest! {
    #[test]
    fn equals_a_scan_of_the_text(
        text in texts(), min_prob in prop::sample::select(vec![0.0f32, 0.001, 0.01, 0.2]),
        budget in 1u32..80, max_depth in 0u32..10,
    ) {
        let text = &text[..text.len().min(120)];
        let forest = propose(&mut fresh(min_prob), 0, text, budget, max_depth);
        prop_assert_eq!(forest, by_scan(text, min_prob, budget, max_depth));
    }

    #[test]
    fn growing_a_text_equals_reading_it_at_once(
        text in texts(), other in texts(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
    ) {
        let mut grown = fresh(0.001);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len()) + 1).collect();
        cuts.sort_unstable();
        for cut in cuts {
            let forest = propose(&mut grown, 7, &text[..cut], 32, 16);
            prop_assert_eq!(&forest, &propose(&mut fresh(0.001), 7, &text[..cut], 32, 16));
            // Another sequence in between changes nothing.
            propose(&mut grown, 8, &other, 32, 16);
        }
    }

    #[test]
    fn a_fork_goes_its_own_way(text in texts(), a in texts(), b in texts()) {
        let mut drafter = fresh(0.001);
        propose(&mut drafter, 0, &text, 1, 1);
        drafter.fork(SequenceId(0), SequenceId(1));
        for (sequence, more) in [(0, &a), (1, &b)] {
            let whole: Vec<Token> = text.iter().chain(more).copied().collect();
            let forest = propose(&mut drafter, sequence, &whole, 32, 16);
            prop_assert_eq!(forest, propose(&mut fresh(0.001), 5, &whole, 32, 16));
        }
    }

    #[test]
    fn another_text_under_the_same_id_is_noticed(
        text in texts(), at in any::<prop::sample::Index>(), token in 0u32..3, keep in any::<prop::sample::Index>(),
    ) {
        let mut drafter = fresh(0.001);
        propose(&mut drafter, 0, &text, 32, 16);
        let mut edited = text.clone();
        edited[at.index(text.len())] = token;
        edited.truncate(keep.index(text.len()) + 1);
        let forest = propose(&mut drafter, 0, &edited, 32, 16);
        prop_assert_eq!(forest, propose(&mut fresh(0.001), 0, &edited, 32, 16));
    }

    #[test]
    fn every_tree_is_valid_and_within_its_limits(text in texts(), budget in 1u32..80, max_depth in 0u32..10) {
        let forest = propose(&mut fresh(0.0), 0, &text, budget, max_depth);
        check_tree(forest.tree(0), *text.last().unwrap(), budget, max_depth, |step| {
            // Each step of a path has been taken somewhere before, never at the end of the text itself.
            text.windows(2).any(|pair| pair == step)
        })?;
    }
}

#[test]
fn a_longer_match_beats_a_more_frequent_one() {
    // Both "3 4" and "9 3 4" have been seen; the longer one wins although the shorter one is more frequent.
    let text = [9, 3, 4, 70, 71, 72, 73, 3, 4, 5, 3, 4, 5, 3, 4, 5, 9, 3, 4];
    let forest = propose(&mut fresh(0.0), 0, &text, 3, 1);
    assert_eq!((forest.tree(0).tokens, forest.tree(0).parents), (&[4, 70, 5][..], &[-1, 0, 0][..]));
    let forest = propose(&mut fresh(0.0), 0, &text, 16, 32);
    let followed = [70, 71, 72].iter().try_fold(0, |node, &token| forest.tree(0).child(node, token));
    assert!(followed.is_some(), "{:?}", forest.tree(0));
}

#[test]
fn a_text_that_repeats_nothing_has_no_draft() {
    let text: Vec<Token> = (0..100).collect();
    let mut drafter = fresh(0.0);
    assert_eq!(propose(&mut drafter, 0, &text, 64, 8).tree(0).tokens, [99]);
    // One token alone would match only itself.
    assert_eq!(propose(&mut drafter, 1, &[5], 64, 8).tree(0).tokens, [5]);
    assert_eq!(propose(&mut drafter, 1, &[5, 5], 3, 8).tree(0).tokens, [5, 5, 5]);
}

#[test]
fn loops_cost_no_more_and_memory_is_bounded() {
    for period in [1, 3, 1000] {
        let text: Vec<Token> = (0..200_000).map(|i| i % period).collect();
        let mut drafter = fresh(1e-4);
        let forest = propose(&mut drafter, 0, &text, 32, 100);
        let expected: Vec<Token> = (0..32).map(|i| (text[text.len() - 1] + i) % period).collect();
        assert_eq!(forest.tree(0).tokens, expected, "period {period}");
        let per_token = drafter.bytes(SequenceId(0)) as f64 / text.len() as f64;
        assert!(per_token < 140.0, "{per_token} bytes per token");
    }
    // Two symbols at random branch most.
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 60) as Token & 1
    };
    let text: Vec<Token> = (0..100_000).map(|_| next()).collect();
    let mut drafter = fresh(0.01);
    propose(&mut drafter, 0, &text, 32, 32);
    let per_token = drafter.bytes(SequenceId(0)) as f64 / text.len() as f64;
    assert!(per_token < 140.0, "{per_token} bytes per token");
    drafter.close(SequenceId(0));
    assert_eq!((drafter.open_sequences(), drafter.bytes(SequenceId(0))), (0, 0));
}

#[test]
fn bad_settings_and_empty_views_are_named() {
    let error = |min_prob| Suffix::new(SuffixConfig { min_prob }).err().unwrap().to_string();
    assert!(error(f32::NAN).starts_with("min_prob must be a probability, 0 … 1, got NaN; "));
    assert!(error(1.5).contains("got 1.5"));
    let view =
        View { sequence: SequenceId(4), tokens: (&[]).into(), source: &[], budget: 4, max_depth: 4, salt: 0 };
    let error = fresh(0.1).propose_batch(&[view], &mut Forest::default()).unwrap_err().to_string();
    assert!(error.starts_with("the number of tokens of sequence 4 must be 1 … "), "{error}");
}

proptest! {
    #[test]
    fn a_source_comes_before_the_text(source in texts(), text in texts(), cut in 0usize..99) {
        let (whole, mut drafter) = ([&source[..], &text].concat(), fresh(0.0));
        // The text grows, so that the source is read once and kept.
        for tokens in [&text[..=cut % text.len()], &text] {
            let mut found = Forest::default();
            let view = View { sequence: SequenceId(1), tokens: tokens.into(), source: &source, budget: 24, max_depth: 6, salt: 0 };
            drafter.propose_batch(&[view], &mut found).unwrap();
            let expected = propose(&mut fresh(0.0), 1, &whole[..source.len() + tokens.len()], 24, 6);
            prop_assert_eq!(found, expected);
        }
        // Another source under the same number is another text.
        let view = View { sequence: SequenceId(1), tokens: (&text).into(), source: &[], budget: 24, max_depth: 6, salt: 0 };
        let mut found = Forest::default();
        drafter.propose_batch(&[view], &mut found).unwrap();
        prop_assert_eq!(found, propose(&mut fresh(0.0), 1, &text, 24, 6));
    }
}

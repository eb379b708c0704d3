//! `Suffix` against scans of the text, and what every draft must be.

#[path = "support/propose.rs"]
mod propose;
#[path = "support/rates.rs"]
mod rates;
mod support;

use draftwood_base::{SequenceId, Token};
use draftwood_retrieve::{Suffix, SuffixConfig};
use draftwood_tree::{Continuations, Drafter, Forest, Grower, GrowingText, View};
use propose::propose;
use proptest::prelude::*;
use rates::Rates;
use std::collections::HashMap;
use support::{check_tree, texts};

const FOLLOWERS: usize = 8;
const CONTEXTS: usize = 16;
const NESTED: usize = 16;

fn fresh(min_prob: f32) -> Suffix {
    Suffix::new(SuffixConfig { min_prob, ..SuffixConfig::default() }).unwrap()
}

fn bounded(max_tokens: usize) -> Suffix {
    Suffix::new(SuffixConfig { min_prob: 0.001, max_tokens }).unwrap()
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
    max_tokens: usize,
    min_prob: f32,
    seen: Seen<'a>,
    rates: Rates,
    /// Per node state: its path from the root, the length of its longest context, its path probability.
    states: Vec<(Vec<Token>, usize, f32)>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a [Token], max_tokens: usize, min_prob: f32) -> Self {
        let (seen, rates, states) = (HashMap::new(), Rates::default(), Vec::new());
        let mut scan = Self { text, max_tokens, min_prob, seen, rates, states };
        let mut start = 0;
        for (time, &token) in text.iter().enumerate() {
            scan.learn(&text[start..time], token);
            scan.count(&text[start..time], time, token);
            if scan.start(time + 1) > start {
                // The generation that is searched from now on has read as much of the text.
                start = scan.start(time + 1);
                scan.seen.clear();
                (start..=time).for_each(|i| scan.count(&text[start..i], i, text[i]));
            }
        }
        scan.text = &text[start..];
        let counts = suffix_counts(scan.text, scan.text);
        let longest = (1..=scan.text.len()).rev().find(|&length| counts[length] > 1).unwrap_or(0);
        scan.states.push((Vec::new(), longest, 1.0));
        scan
    }

    /// Where the searched part of the first `time` tokens starts.
    fn start(&self, time: usize) -> usize {
        let half = self.max_tokens / 2;
        if time < 2 * half { 0 } else { (time / half - 1) * half }
    }

    fn learn(&mut self, before: &[Token], token: Token) {
        let time = before.len();
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
    }

    /// `token` follows `before` at a time.
    fn count(&mut self, before: &'a [Token], time: usize, token: Token) {
        let counts = suffix_counts(before, before);
        let is_longest = |length: usize| length == before.len() || counts[length] > counts[length + 1];
        let mut knew = 0;
        for length in (0..=before.len()).rev() {
            let followers = self.seen.entry(&before[before.len() - length..]).or_default();
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

fn by_scan(text: &[Token], max_tokens: usize, min_prob: f32, budget: u32, max_depth: u32) -> Forest {
    let mut forest = Forest::default();
    let mut scan = Scan::new(text, max_tokens, min_prob);
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
        prop_assert_eq!(forest, by_scan(text, 1 << 22, min_prob, budget, max_depth));
    }

    #[test]
    fn a_long_text_is_searched_in_its_last_tokens(
        text in texts(), max_tokens in 16usize..60, budget in 1u32..60, max_depth in 1u32..10,
    ) {
        let text = &text[..text.len().min(200)];
        let forest = propose(&mut bounded(max_tokens), 0, text, budget, max_depth);
        prop_assert_eq!(forest, by_scan(text, max_tokens, 0.001, budget, max_depth));
    }

    #[test]
    fn a_bounded_text_that_grows_forks_or_begins_again_is_that_read_at_once(
        text in texts(), other in texts(), max_tokens in 16usize..60, cut in any::<prop::sample::Index>(),
        edit in any::<prop::sample::Index>(),
    ) {
        let once = |text: &[Token]| propose(&mut bounded(max_tokens), 7, text, 32, 16);
        let (mut grown, cut) = (bounded(max_tokens), cut.index(text.len()) + 1);
        for end in (1..=cut).step_by(3) {
            prop_assert_eq!(propose(&mut grown, 0, &text[..end], 32, 16), once(&text[..end]));
        }
        propose(&mut grown, 0, &text[..cut], 1, 1);
        grown.fork(SequenceId(0), SequenceId(1));
        for (sequence, more) in [(0, &text), (1, &other)] {
            let whole = [&text[..cut], more].concat();
            prop_assert_eq!(propose(&mut grown, sequence, &whole, 32, 16), once(&whole));
        }
        // A change far back, where the tokens themselves are not kept any more.
        let mut edited = [&text[..cut], &text].concat();
        edited[edit.index(text.len())] ^= 1;
        prop_assert_eq!(propose(&mut grown, 0, &edited, 32, 16), once(&edited));
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

/// Two symbols at random branch most.
fn bits(seed: u64) -> impl Iterator<Item = Token> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 60) as Token & 1
    })
}

/// As language is: few frequent words and many rare ones, and phrases that come again.
fn language(tokens: usize) -> Vec<Token> {
    let mut state = 7u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    let mut text: Vec<Token> = Vec::with_capacity(tokens);
    while text.len() < tokens {
        if next(4) == 0 && text.len() > 100 {
            let (from, length) = (next(text.len()), 2 + next(12));
            (from..from + length).for_each(|i| text.push(text[i]));
        } else {
            // Zipf's law: as many words of each size class.
            let class = next(16);
            text.push((next(1 << class) + (1 << class)) as Token);
        }
    }
    text.truncate(tokens);
    text
}

#[test]
fn loops_are_drafted_and_no_text_takes_more_than_140_bytes_per_token() {
    let per_token = |text: &[Token], min_prob| {
        let mut drafter = fresh(min_prob);
        let forest = propose(&mut drafter, 0, text, 32, 100);
        let bytes = drafter.bytes(SequenceId(0)) as f64 / text.len() as f64;
        assert!(bytes < 140.0, "{bytes} bytes per token");
        drafter.close(SequenceId(0));
        assert_eq!((drafter.open_sequences(), drafter.bytes(SequenceId(0))), (0, 0));
        forest
    };
    for period in [1, 3, 1000] {
        let text: Vec<Token> = (0..200_000).map(|i| i % period).collect();
        let expected: Vec<Token> = (0..32).map(|i| (text[text.len() - 1] + i) % period).collect();
        assert_eq!(per_token(&text, 1e-4).tree(0).tokens, expected, "period {period}");
    }
    per_token(&bits(1).take(100_000).collect::<Vec<_>>(), 0.01);
    // `make test-long` raises the number of cases, and this with it: two million tokens.
    let long = ProptestConfig::default().cases > 2000;
    per_token(&language(if long { 2_000_000 } else { 200_000 }), 0.01);
}

#[test]
fn memory_is_bounded_however_long_the_text() {
    const MOST: usize = 10_000;
    let (mut text, mut drafter) = (GrowingText::new(Vec::new()), bounded(MOST));
    for (i, token) in language(50_000).into_iter().chain(bits(3).take(50_000)).enumerate() {
        text.push(token);
        if i % 997 == 0 {
            let view = View {
                sequence: SequenceId(0),
                tokens: text.as_ref(),
                source: &[],
                budget: 16,
                max_depth: 16,
                salt: 0,
            };
            drafter.propose_batch(&[view], &mut Forest::default()).unwrap();
            let bytes = drafter.bytes(SequenceId(0));
            assert!(2 * bytes <= 3 * 140 * MOST, "{bytes} after {i} tokens");
        }
    }
    // Read at once, and in no more memory.
    propose(&mut drafter, 1, &text, 16, 16);
    let bytes = drafter.bytes(SequenceId(1));
    assert!(2 * bytes <= 3 * 140 * MOST, "{bytes}");
}

#[test]
fn a_text_of_less_than_half_pays_nothing() {
    let text = language(4999);
    let bytes = |max_tokens| {
        let mut drafter = bounded(max_tokens);
        propose(&mut drafter, 0, &text, 16, 16);
        drafter.bytes(SequenceId(0))
    };
    assert_eq!(bytes(10_000), bytes(1 << 30));
    assert!(bytes(9_998) > bytes(10_000));
}

#[test]
fn bad_settings_and_empty_views_are_named() {
    let error = |min_prob| {
        let config = SuffixConfig { min_prob, ..SuffixConfig::default() };
        Suffix::new(config).err().unwrap().to_string()
    };
    for max_tokens in [0, 15, (1 << 30) + 1] {
        let error = Suffix::new(SuffixConfig { max_tokens, ..SuffixConfig::default() }).err().unwrap();
        assert!(error.to_string().starts_with("max_tokens must be 16 … 2^30, got "), "{error}");
    }
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

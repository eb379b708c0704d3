//! `Retrieval` against scans of the documents, over one index and over several.

#[path = "support/cases.rs"]
mod cases;
#[path = "support/propose.rs"]
mod propose;
mod support;

use cases::at_least;
use draftwood_base::{SequenceId, Token};
use draftwood_retrieve::index::{Corpus, Group, Index, Rows, Tier};
use draftwood_retrieve::{Retrieval, RetrievalConfig, RetrievalStyle};
use draftwood_tree::{Continuations, Drafter, Forest, Grower};
use propose::propose;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{check_tree, texts};

const HIT: [f32; 9] = [0.0, 0.25, 0.45, 0.6, 0.68, 0.74, 0.78, 0.82, 0.88];
const FOLLOWERS: usize = 8;
const CONTEXTS: usize = 4;

type Documents = Vec<Vec<Token>>;

/// The documents as indexes of at most `each` documents.
fn group(documents: &Documents, each: usize) -> Arc<Group> {
    let index = |part: &[Vec<Token>]| {
        let mut corpus = Corpus::default();
        part.iter().for_each(|document| corpus.push(document).unwrap());
        Index::build_in_memory(&corpus, Tier::Standard).unwrap()
    };
    Arc::new(Group::new(documents.chunks(each).map(index).collect()).unwrap())
}

/// The same by scanning the documents for every suffix.
struct Scan<'a> {
    documents: &'a Documents,
    /// Asked only for the order of an n-gram's occurrences, where there are more than may be read.
    index: &'a Group,
    text: &'a [Token],
    config: RetrievalConfig,
    /// Per node state: its path from the root, its path probability.
    states: Vec<(Vec<Token>, f32)>,
}

impl Scan<'_> {
    /// How often a suffix occurs, and what follows it, in 256ths.
    fn seen(&self, suffix: &[Token]) -> (usize, BTreeMap<Token, u64>) {
        let (mut count, mut followers, mut first) = (0, BTreeMap::new(), 0);
        for part in self.index.parts() {
            let documents = &self.documents[first..first + part.documents() as usize];
            first += documents.len();
            let mut nexts = Vec::new();
            for document in documents {
                for at in 0..(document.len() + 1).saturating_sub(suffix.len()) {
                    if document[at..].starts_with(suffix) {
                        nexts.push(document.get(at + suffix.len()).copied());
                    }
                }
            }
            count += nexts.len();
            let all = nexts.len();
            let most = self.config.max_rows as usize;
            if all > most {
                let rows = part.find(suffix, false).unwrap();
                nexts = (0..most)
                    .map(|i| {
                        let row = rows.start + ((2 * i + 1) * all / (2 * most)) as u32;
                        let mut place = Vec::new();
                        part.locate(Rows::new(row, row + 1), suffix.len() as u32, 1, &mut place).unwrap();
                        let (document, offset) = place[0];
                        documents[document as usize].get(offset as usize + suffix.len()).copied()
                    })
                    .collect();
            }
            let each = (all as u64 * 256).checked_div(nexts.len() as u64).unwrap_or(0);
            nexts.into_iter().flatten().for_each(|next| *followers.entry(next).or_default() += each);
        }
        (count, followers)
    }
}

impl Continuations for Scan<'_> {
    type State = usize;

    fn expand(&mut self, state: usize, _: f32, out: &mut Vec<(Token, f32, usize)>) {
        let (path, path_prob) = self.states[state].clone();
        let recent = &self.text[self.text.len().saturating_sub(self.config.max_match)..];
        let whole: Vec<Token> = recent.iter().chain(&path).copied().collect();
        let (mut left, mut before, mut asked, mut known) = (1.0f32, 0, 0, Vec::new());
        for length in (self.config.min_match..=whole.len()).rev() {
            let (count, followers) = self.seen(&whole[whole.len() - length..]);
            if count == before {
                continue;
            }
            before = count;
            if asked == CONTEXTS || path_prob * left < self.config.min_prob {
                break;
            }
            asked += 1;
            let mut new: Vec<_> = followers.into_iter().filter(|f| !known.contains(&f.0)).collect();
            new.sort_by_key(|f| std::cmp::Reverse(f.1));
            new.truncate(FOLLOWERS);
            if new.is_empty() {
                continue;
            }
            let total: u64 = new.iter().map(|f| f.1).sum();
            let hit = HIT[length.min(8)];
            for (token, count) in new {
                let prob = (count as f64 / total as f64) as f32 * left * hit;
                if path_prob * prob >= self.config.min_prob {
                    let mut next = path.clone();
                    next.push(token);
                    self.states.push((next, path_prob * prob));
                    known.push(token);
                    out.push((token, prob, self.states.len() - 1));
                }
            }
            left *= 1.0 - hit;
        }
    }
}

fn by_scan(
    documents: &Documents,
    index: &Group,
    text: &[Token],
    config: RetrievalConfig,
    budget: u32,
    max_depth: u32,
) -> Forest {
    let mut forest = Forest::default();
    let mut scan = Scan { documents, index, text, config, states: vec![(Vec::new(), 1.0)] };
    let root = text[text.len() - 1];
    Grower::default().grow(&mut forest, root, 0, budget as usize, max_depth, &mut scan);
    forest
}

/// Documents, and a text of pieces of them. At most 240 tokens: of more than 256 rows a sample is read.
fn cases() -> impl Strategy<Value = (Documents, Vec<Token>)> {
    let pieces = prop::collection::vec((any::<usize>(), any::<usize>(), 1usize..12), 1..6);
    (prop::collection::vec(texts(), 1..5), pieces).prop_map(|(mut documents, pieces)| {
        documents.iter_mut().for_each(|document| document.truncate(60));
        let mut text = Vec::new();
        for (d, at, length) in pieces {
            let document = &documents[d % documents.len()];
            text.extend(document.iter().skip(at % document.len()).take(length));
        }
        (documents, text)
    })
}

fn configs() -> impl Strategy<Value = RetrievalConfig> {
    // With few rows most nodes are drafted from a sample.
    let max_rows = prop::sample::select(vec![1u32, 2, 5, 12, 256]);
    (1usize..20, 0usize..20, prop::sample::select(vec![0.0f32, 0.01, 0.1]), max_rows, 1u32..12).prop_map(
        |(max_match, min, min_prob, max_rows, max_depth)| {
            let min_match = min % max_match + 1;
            RetrievalConfig { max_match, min_match, min_prob, max_rows, max_depth, ..RetrievalConfig::ESCAPE }
        },
    )
}

proptest! {
    #![proptest_config(at_least(1000))]

    #[test]
    fn equals_a_scan_of_the_documents(
        (documents, text) in cases(), config in configs(), each in 1usize..5, budget in 1u32..40, max_depth in 0u32..8,
    ) {
        let index = group(&documents, each);
        let mut drafter = Retrieval::new(config, Arc::clone(&index)).unwrap();
        let forest = propose(&mut drafter, 0, &text, budget, max_depth);
        let deepest = max_depth.min(config.max_depth);
        prop_assert_eq!(&forest, &by_scan(&documents, &index, &text, config, budget, deepest));
        check_tree(forest.tree(0), text[text.len() - 1], budget, max_depth, |step| {
            documents.iter().any(|document| document.windows(2).any(|pair| pair == step))
                || config.min_match == 1
        })?;
    }

    #[test]
    fn growing_a_text_equals_reading_it_at_once(
        (documents, text) in cases(), config in configs(), cuts in prop::collection::vec(any::<usize>(), 1..8),
        edit in any::<(usize, bool)>(),
    ) {
        let index = group(&documents, 2);
        let mut grown = Retrieval::new(config, Arc::clone(&index)).unwrap();
        let fresh = |text: &[Token]| {
            propose(&mut Retrieval::new(config, Arc::clone(&index)).unwrap(), 0, text, 20, 8)
        };
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % text.len() + 1).collect();
        cuts.sort_unstable();
        for cut in cuts {
            prop_assert_eq!(propose(&mut grown, 7, &text[..cut], 20, 8), fresh(&text[..cut]));
        }
        // Another text under the same id.
        let mut edited = text.clone();
        edited[edit.0 % text.len()] ^= 1;
        if edit.1 { edited.truncate(edit.0 % text.len() + 1) }
        prop_assert_eq!(propose(&mut grown, 7, &edited, 20, 8), fresh(&edited));
    }
}

#[test]
fn of_more_occurrences_than_are_read_an_even_sample_speaks() {
    // 3,000 times "1 2", after which one follower in ten is another one, seen with other tokens before.
    let document: Vec<Token> =
        (0..3000).flat_map(|i| [50 + i % 7, 1, 2, if i % 10 == 3 { 8 } else { 9 }]).collect();
    let documents = vec![document];
    let index = group(&documents, 1);
    for max_rows in [256, 100, 3000] {
        let config = RetrievalConfig { max_rows, ..RetrievalConfig::ESCAPE };
        let mut drafter = Retrieval::new(config, Arc::clone(&index)).unwrap();
        let forest = propose(&mut drafter, 0, &[1, 2], 24, 3);
        assert_eq!(forest, by_scan(&documents, &index, &[1, 2], config, 24, 3), "{max_rows}");
        let tree = forest.tree(0);
        let share = |token| tree.child(0, token).map_or(0.0, |node| tree.prob[node]);
        assert!(
            (share(8) / (share(8) + share(9)) - 0.1).abs() < 0.05,
            "{max_rows}: {} {}",
            share(8),
            share(9)
        );
    }
}

#[test]
fn closing_frees_and_bad_settings_are_named() {
    let index = group(&vec![vec![1, 2, 3]], 1);
    let mut drafter = Retrieval::new(RetrievalConfig::default(), Arc::clone(&index)).unwrap();
    assert_eq!(propose(&mut drafter, 0, &[9, 1, 2], 4, 4).tree(0).tokens, [2, 3]);
    assert_eq!(drafter.open_sequences(), 1);
    drafter.close(SequenceId(0));
    assert_eq!(drafter.open_sequences(), 0);
    let refused = |config| Retrieval::new(config, Arc::clone(&index)).err().unwrap().to_string();
    let error = |max_match, min_match, min_prob| {
        refused(RetrievalConfig { max_match, min_match, min_prob, ..RetrievalConfig::ESCAPE })
    };
    let rest = RetrievalConfig::REST;
    assert!(refused(RetrievalConfig { max_rows: 0, ..rest }).starts_with("max_rows must be 1 … 2^20, got 0"));
    assert!(
        refused(RetrievalConfig { max_depth: 0, ..rest }).starts_with("max_depth must be at least 1, got 0")
    );
    for (factor, offset, named) in [(-1.0, 0.0, "factor must be 0"), (1.0, f32::NAN, "offset must be −10^6")]
    {
        let style = RetrievalStyle::SuffixDecoding { factor, offset, path: false };
        assert!(refused(RetrievalConfig { style, ..RetrievalConfig::SUFFIX_DECODING }).starts_with(named));
    }
    assert!(error(65, 1, 0.1).starts_with("max_match must be 1 … 64, got 65"));
    assert!(error(4, 5, 0.1).starts_with("min_match must be 1 … 4, max_match, got 5"));
    assert!(error(4, 4, 2.0).starts_with("min_prob must be"));
    let mut corpus = Corpus::default();
    corpus.push(&[1]).unwrap();
    let tiny = Group::new(vec![Index::build_in_memory(&corpus, Tier::Tiny).unwrap()]).unwrap();
    let error = Retrieval::new(RetrievalConfig::default(), Arc::new(tiny)).err().unwrap().to_string();
    assert!(error.contains("must be compact, standard or fast for drafting, got tiny"), "{error}");
}

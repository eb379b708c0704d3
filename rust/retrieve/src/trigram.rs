//! Drafts by a tree search over trigram weights that follow the text (ADED).

use crate::follow::Seen;
use crate::suffix::no_text;
use crate::trigram_search::Search;
use draftwood_base::{Error, Result, SequenceId, Token};
use draftwood_tree::{Drafter, Forest, TextRef, View};
use rustc_hash::FxHashMap;

/// Followers kept per pair of tokens of the corpus.
const TOP: usize = 12;
/// Tokens at the end of the text whose trigrams gain weight with every token.
const WINDOW: usize = 16;
/// What a trigram in the window gains per token.
const GAIN: f32 = 0.04;
/// No weight grows beyond this.
const MOST: f32 = 3.0;

/// Settings of [`Trigram`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrigramConfig {
    /// Rounds of the tree search per draft, 1 … 10,000.
    pub iterations: u32,
    /// Tokens that a round looks ahead, 1 … 16.
    pub depth: u32,
}

impl Default for TrigramConfig {
    fn default() -> Self {
        Self { iterations: 150, depth: 4 }
    }
}

/// How often one token followed two others in a corpus, as shares; the 12 largest per pair.
#[derive(Debug, Clone, Default)]
pub struct TrigramTable {
    pairs: FxHashMap<u64, (u32, u32)>,
    followers: Vec<(Token, f32)>,
}

impl TrigramTable {
    /// Counts the trigrams of documents; none crosses a border.
    ///
    /// Cost: about 24 bytes per distinct trigram while counting.
    pub fn new<'a>(documents: impl IntoIterator<Item = &'a [Token]>) -> Self {
        let mut counts: FxHashMap<(u64, Token), u32> = FxHashMap::default();
        for document in documents {
            for three in document.windows(3) {
                *counts.entry((pair(three[0], three[1]), three[2])).or_default() += 1;
            }
        }
        let mut sorted: Vec<((u64, Token), u32)> = counts.into_iter().collect();
        // Per pair the most frequent first, of equals the lower id.
        sorted.sort_unstable_by_key(|&((pair, token), count)| (pair, std::cmp::Reverse(count), token));
        let mut table = Self::default();
        for group in sorted.chunk_by(|a, b| a.0.0 == b.0.0) {
            let total: u32 = group.iter().map(|entry| entry.1).sum();
            let start = table.followers.len();
            let share = |&((_, token), count): &((u64, Token), u32)| (token, count as f32 / total as f32);
            table.followers.extend(group.iter().take(TOP).map(share));
            table.followers[start..].sort_unstable_by_key(|follower| follower.0);
            table.pairs.insert(group[0].0.0, (start as u32, table.followers.len() as u32));
        }
        table
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether the table holds nothing.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn get(&self, pair: u64) -> &[(Token, f32)] {
        self.pairs.get(&pair).map_or(&[], |&(start, end)| &self.followers[start as usize..end as usize])
    }
}

/// Drafts along trigrams whose weights follow the text: adaptive draft-verification (ADED, arXiv 2407.12021).
///
/// The weights begin as the corpus' shares. With every token of the text all trigrams of its last 16 tokens gain 0.04,
/// up to 3. A Monte Carlo tree search with PUCT (150 rounds, 4 tokens deep) finds the paths worth drafting: the 24
/// most visited ones, each longer by its heaviest follower.
///
/// Where this departs from the published code: its gain is per step, here per token, as if every token had been a
/// step, and it is kept per sequence; rollouts take the heaviest follower instead of a random one. So a proposal is a
/// function of the text and the corpus alone.
///
/// Cost: one table access per appended token, 14 for the last one; tens of microseconds per proposal.
pub struct Trigram {
    config: TrigramConfig,
    table: TrigramTable,
    texts: FxHashMap<SequenceId, Text>,
    search: Search,
}

impl Trigram {
    /// A drafter that begins with the shares of a corpus, or with nothing.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for settings outside their range.
    pub fn new(config: TrigramConfig, table: TrigramTable) -> Result<Self> {
        let check = |what: &str, value: u32, most: u32| match value {
            v if (1..=most).contains(&v) => Ok(()),
            v => Err(Error::invalid(what, format!("1 … {most}"), v, "")),
        };
        check("iterations", config.iterations, 10_000)?;
        check("depth", config.depth, 16)?;
        Ok(Self { config, table, texts: FxHashMap::default(), search: Search::default() })
    }

    /// The settings.
    pub fn config(&self) -> TrigramConfig {
        self.config
    }

    /// Number of sequences that state is kept for.
    pub fn open_sequences(&self) -> usize {
        self.texts.len()
    }
}

impl Drafter for Trigram {
    fn propose_batch(&mut self, views: &[View<'_>], forest: &mut Forest) -> Result<()> {
        for view in views {
            let Some(&root) = view.tokens.last() else { return Err(no_text(view, u32::MAX as usize)) };
            let text = self.texts.entry(view.sequence).or_default();
            text.follow(view.tokens);
            let weights = Weights { table: &self.table, gained: &text.gained };
            match view.tokens.tokens() {
                [.., before, _] if view.budget > 1 && view.max_depth > 0 => {
                    self.search.run((*before, root), self.config, view.max_depth, &weights);
                    self.search.draft(view.budget as usize, view.max_depth, &weights, forest);
                }
                _ => {
                    forest.open(root);
                    forest.close();
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, sequence: SequenceId) {
        self.texts.remove(&sequence);
    }
}

/// What the trigrams of a text have gained, in units of [`GAIN`], followers by ascending id.
type Gained = FxHashMap<u64, Vec<(Token, u32)>>;

#[derive(Default)]
struct Text {
    seen: Seen,
    gained: Gained,
}

impl Text {
    fn follow(&mut self, tokens: TextRef<'_>) {
        if !self.seen.begins(tokens) {
            *self = Text::default();
        }
        let (before, now) = (self.seen.len(), tokens.len());
        // A trigram gains with the token that completes it and with each one after, until it leaves the window.
        let most = WINDOW - 2;
        for end in (before + 1).saturating_sub(most).max(3)..=now {
            let gained = |length: usize| (length + 1).saturating_sub(end).min(most);
            let units = (gained(now) - gained(before)) as u32;
            if units > 0 {
                let followers = self.gained.entry(pair(tokens[end - 3], tokens[end - 2])).or_default();
                match followers.binary_search_by_key(&tokens[end - 1], |follower| follower.0) {
                    Ok(at) => followers[at].1 = followers[at].1.saturating_add(units),
                    Err(at) => followers.insert(at, (tokens[end - 1], units)),
                }
            }
        }
        self.seen.read(tokens);
    }
}

/// The weights of one text.
pub(crate) struct Weights<'a> {
    table: &'a TrigramTable,
    gained: &'a Gained,
}

impl Weights<'_> {
    /// Appends the followers of two tokens with their weights, the heaviest first, of equals the lower id.
    pub(crate) fn followers(&self, (a, b): (Token, Token), out: &mut Vec<(Token, f32)>) {
        let start = out.len();
        let (mut known, gained) = (self.table.get(pair(a, b)), self.gained.get(&pair(a, b)));
        for &(token, units) in gained.map_or(&[][..], Vec::as_slice) {
            while let Some((&first, rest)) = known.split_first().filter(|(first, _)| first.0 < token) {
                out.push(first);
                known = rest;
            }
            let mut weight = GAIN * units as f32;
            if let Some((first, rest)) = known.split_first().filter(|(first, _)| first.0 == token) {
                weight += first.1;
                known = rest;
            }
            out.push((token, weight.min(MOST)));
        }
        out.extend_from_slice(known);
        out[start..].sort_by(|a, b| b.1.total_cmp(&a.1));
    }
}

fn pair(a: Token, b: Token) -> u64 {
    u64::from(a) << 32 | u64::from(b)
}

//! Drafts from a corpus.

use crate::index::{Followers, Group, Rows};
use crate::ppm::{FOLLOWERS, check_min_prob, hit_rate};
use crate::suffix::no_text;
use draftwood_base::{Error, Result, SequenceId, Token};
use draftwood_tree::{Continuations, Drafter, Forest, Grower, View};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Longest match that may be asked for.
pub const MAX_MATCH: usize = 64;
/// Contexts asked per node, the longest ones.
const CONTEXTS: usize = 4;
/// Rows read per context and index; of more an even sample.
const SAMPLED_ROWS: u32 = 256;

/// Settings of [`Retrieval`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrievalConfig {
    /// Longest suffix of the text that is looked up, 1 … [`MAX_MATCH`].
    pub max_match: usize,
    /// Shortest suffix that drafts, 1 … `max_match`: a single token is followed by nearly anything.
    pub min_match: usize,
    /// Nodes whose path is less probable than this are not proposed, 0 … 1.
    pub min_prob: f32,
}

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self { max_match: 16, min_match: 2, min_prob: 0.02 }
    }
}

/// Drafts what follows the longest suffixes of the text in a corpus (REST, arXiv 2311.08252), as a tree: followers
/// weighted by their counts, longer matches first; what they leave goes to the shorter ones, as escapes do in PPM.
///
/// A proposal is a function of the text's last tokens and the corpus. Per sequence only the rows of the suffixes that
/// occur are kept and extended by each appended token; of a new text its last `max_match` tokens are read.
///
/// Cost: one index step per appended token, suffix and index; about 1 µs per node and context, at most 256 rows read.
pub struct Retrieval {
    config: RetrievalConfig,
    index: Arc<Group>,
    texts: FxHashMap<SequenceId, Suffixes>,
    grower: Grower<State>,
    memory: Memory,
}

impl Retrieval {
    /// A drafter over one or more indexes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for settings outside their range, or an index of the tiny tier.
    pub fn new(config: RetrievalConfig, index: Arc<Group>) -> Result<Self> {
        let RetrievalConfig { max_match, min_match, min_prob } = config;
        if !(1..=MAX_MATCH).contains(&max_match) {
            return Err(Error::invalid("max_match", format!("1 … {MAX_MATCH}"), max_match, ""));
        }
        if !(1..=max_match).contains(&min_match) {
            return Err(Error::invalid("min_match", format!("1 … {max_match}, max_match"), min_match, ""));
        }
        check_min_prob(min_prob)?;
        index.needs_places("drafting")?;
        Ok(Self {
            config,
            index,
            texts: FxHashMap::default(),
            grower: Grower::default(),
            memory: Memory::default(),
        })
    }

    /// The settings.
    pub fn config(&self) -> RetrievalConfig {
        self.config
    }

    /// Number of sequences that state is kept for.
    pub fn open_sequences(&self) -> usize {
        self.texts.len()
    }
}

impl Drafter for Retrieval {
    fn propose_batch(&mut self, views: &[View<'_>], forest: &mut Forest) -> Result<()> {
        for view in views {
            let Some(&root) = view.tokens.last() else { return Err(no_text(view, u32::MAX as usize)) };
            let text = self.texts.entry(view.sequence).or_default();
            text.follow(&self.index, &view.tokens, self.config.max_match)?;
            self.memory.nodes.clear();
            self.memory.nodes.push(text.matches(self.config.max_match));
            let mut source =
                Source { index: &self.index, config: self.config, memory: &mut self.memory, error: None };
            let state = State { from: 0, by: None, path_prob: 1.0 };
            self.grower.grow(forest, root, state, view.budget as usize, view.max_depth, &mut source);
            if let Some(error) = source.error {
                return Err(error);
            }
        }
        Ok(())
    }

    fn close(&mut self, sequence: SequenceId) {
        self.texts.remove(&sequence);
    }
}

/// A suffix that occurs: its number of tokens and its rows in each part of the index.
#[derive(Debug, Clone)]
struct Match {
    length: usize,
    rows: Vec<Rows>,
}

impl Match {
    fn count(&self) -> u64 {
        self.rows.iter().map(|rows| u64::from(rows.count())).sum()
    }
}

/// From the suffixes of a text that occur, longest first, to those of the text and one more token. Of suffixes that
/// occur equally often the longest stands for all: whatever follows, they share their occurrences.
fn extend(index: &Group, matches: &mut Vec<Match>, id: Token) -> Result<()> {
    matches.push(Match { length: 0, rows: index.parts().iter().map(|part| part.start()).collect() });
    let (mut rows, ids) = (Vec::with_capacity(matches.len()), vec![id; matches.len()]);
    for (p, part) in index.parts().iter().enumerate() {
        rows.clear();
        rows.extend(matches.iter().map(|found| found.rows[p]));
        part.extend_all(&mut rows, &ids)?;
        for (found, rows) in matches.iter_mut().zip(&rows) {
            found.rows[p] = *rows;
        }
    }
    let mut before = 0;
    matches.retain_mut(|found| {
        found.length += 1;
        let keep = found.count() > before;
        before = before.max(found.count());
        keep
    });
    Ok(())
}

/// The suffixes of one text.
#[derive(Default)]
struct Suffixes {
    /// Tokens read, and the last ones of them.
    read: usize,
    recent: Vec<Token>,
    /// Longest first.
    matches: Vec<Match>,
}

impl Suffixes {
    fn follow(&mut self, index: &Group, tokens: &[Token], longest: usize) -> Result<()> {
        // What lies further back cannot be told apart by matches of that length.
        if !tokens.get(..self.read).is_some_and(|read| read.ends_with(&self.recent)) {
            *self = Self::default();
        }
        let start = self.read.max(tokens.len().saturating_sub(longest));
        if start > self.read {
            self.matches.clear();
        }
        for &token in &tokens[start..] {
            self.matches
                .push(Match { length: 0, rows: index.parts().iter().map(|part| part.start()).collect() });
            if let Err(error) = extend(index, &mut self.matches, token) {
                *self = Self::default();
                return Err(error);
            }
            // A match that stands for no suffix of at most `longest` tokens is of no use any more.
            let useful = self.matches.iter().rposition(|found| found.length >= longest).unwrap_or(0);
            self.matches.drain(..useful);
        }
        self.read = tokens.len();
        self.recent.clear();
        self.recent.extend_from_slice(&tokens[tokens.len().saturating_sub(longest)..]);
        Ok(())
    }

    fn matches(&self, longest: usize) -> Vec<Match> {
        let capped = |found: &Match| Match { length: found.length.min(longest), rows: found.rows.clone() };
        self.matches.iter().map(capped).collect()
    }
}

/// The node that this one was found at, the token that leads here, and how probable the path is.
#[derive(Debug, Clone, Copy)]
struct State {
    from: u32,
    by: Option<Token>,
    path_prob: f32,
}

#[derive(Default)]
struct Memory {
    /// Matches of the nodes that were expanded.
    nodes: Vec<Vec<Match>>,
    followers: Followers,
    counted: Vec<(Token, u64)>,
}

struct Source<'a> {
    index: &'a Group,
    config: RetrievalConfig,
    memory: &'a mut Memory,
    /// The first one; growing then stops.
    error: Option<Error>,
}

impl Source<'_> {
    fn try_expand(&mut self, state: State, floor: f32, out: &mut Vec<(Token, f32, State)>) -> Result<()> {
        let Memory { nodes, followers, counted } = &mut *self.memory;
        let node = match state.by {
            None => state.from,
            Some(token) => {
                let mut matches = nodes[state.from as usize].clone();
                extend(self.index, &mut matches, token)?;
                nodes.push(matches);
                nodes.len() as u32 - 1
            }
        };
        let (first, mut left) = (out.len(), 1.0f32);
        let long_enough = |found: &&Match| found.length >= self.config.min_match;
        for found in nodes[node as usize].iter().filter(long_enough).take(CONTEXTS) {
            if state.path_prob * left < self.config.min_prob || left < floor {
                break;
            }
            counted.clear();
            for (part, &rows) in self.index.parts().iter().zip(&found.rows) {
                part.next_sampled(rows, SAMPLED_ROWS, followers)?;
                // A part from which a sample was drawn speaks for all its rows.
                let heard: u64 = followers.counts().iter().map(|&count| u64::from(count)).sum::<u64>()
                    + u64::from(followers.document_ends());
                let each = (u64::from(rows.count()) << 8).checked_div(heard).unwrap_or(0);
                counted.extend(
                    followers.ids().iter().zip(followers.counts()).map(|(&id, &c)| (id, u64::from(c) * each)),
                );
            }
            counted.sort_unstable_by_key(|&(id, _)| id);
            counted.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                if same {
                    kept.1 += next.1;
                }
                same
            });
            counted.retain(|&(id, _)| out[first..].iter().all(|known| known.0 != id));
            counted.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
            counted.truncate(FOLLOWERS);
            let total: u64 = counted.iter().map(|&(_, count)| count).sum();
            if total == 0 {
                continue;
            }
            let hit = hit_rate(found.length as u32);
            for &(id, count) in counted.iter() {
                let prob = (count as f64 / total as f64) as f32 * left * hit;
                let path_prob = state.path_prob * prob;
                if path_prob >= self.config.min_prob {
                    out.push((id, prob, State { from: node, by: Some(id), path_prob }));
                }
            }
            left *= 1.0 - hit;
        }
        Ok(())
    }
}

impl Continuations for Source<'_> {
    type State = State;

    fn expand(&mut self, state: State, floor: f32, out: &mut Vec<(Token, f32, State)>) {
        if self.error.is_none() {
            self.error = self.try_expand(state, floor, out).err();
        }
    }
}

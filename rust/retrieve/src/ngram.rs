//! Prompt lookup: drafts from the text's own n-grams.

use crate::follower_trie::{FollowerTrie, ROOT};
use draftwood_base::{Error, Result, SequenceId, Token};
use draftwood_tree::{Continuations, Drafter, Forest, Grower, View};
use rustc_hash::FxHashMap;

/// Longest n-gram that may be asked for.
pub const MAX_NGRAM: usize = 16;

/// Followers looked at per context, the freshest ones: bounds the work per node however repetitive the text is.
const FOLLOWERS: usize = 8;

/// How often one of an n-gram's earlier followers is the next token, by the n-gram's length; measured on recorded
/// texts. The rest of the probability goes to the next shorter n-gram, as escapes do in PPM.
const HIT: [f32; MAX_NGRAM + 2] = [
    0.0, 0.25, 0.45, 0.6, 0.68, 0.74, 0.78, 0.82, 0.88, 0.88, 0.88, 0.88, 0.88, 0.88, 0.88, 0.88, 0.88, 0.88,
];

/// Settings of [`NGram`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NGramConfig {
    /// Longest n-gram that is looked up, 1 … [`MAX_NGRAM`].
    pub max_ngram: usize,
    /// Nodes whose path is less probable than this are not proposed, 0 … 1. A row costs more than a hundredth of a
    /// forward pass on every machine measured, so less can never pay.
    pub min_prob: f32,
}

impl Default for NGramConfig {
    fn default() -> Self {
        Self { max_ngram: 3, min_prob: 0.01 }
    }
}

/// Drafts what followed earlier occurrences of the last tokens, prompt and output alike.
///
/// Prompt lookup (Saxena 2023) as a tree: all earlier followers of the last `max_ngram` … 1 tokens, weighted by their
/// counts, longer n-grams first; what they leave goes to the shorter ones. Of equal followers the fresher one comes
/// first. A child found under n tokens is continued with contexts of n + 1 tokens at most.
///
/// A proposal is a function of the text alone. State is kept per sequence and updated by the appended tokens; a
/// sequence whose text is no continuation of what it was is read again from its start.
///
/// Cost: about 0.1 µs per appended token, one comparison of the text with its copy, and about 0.1 µs per node.
pub struct NGram {
    config: NGramConfig,
    texts: FxHashMap<SequenceId, Text>,
    grower: Grower<State>,
}

struct Text {
    seen: Vec<Token>,
    trie: FollowerTrie,
}

impl NGram {
    /// A drafter without any text.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a length outside 1 … [`MAX_NGRAM`] or a probability outside 0 … 1.
    pub fn new(config: NGramConfig) -> Result<Self> {
        if !(1..=MAX_NGRAM).contains(&config.max_ngram) {
            return Err(Error::invalid(
                "max_ngram",
                format!("1 … {MAX_NGRAM}"),
                config.max_ngram,
                "longer n-grams draft no better: a context of 8 tokens is nearly always unique",
            ));
        }
        if !(0.0..=1.0).contains(&config.min_prob) {
            return Err(Error::invalid(
                "min_prob",
                "a probability, 0 … 1",
                config.min_prob,
                "it is the least probability of a drafted path",
            ));
        }
        Ok(Self { config, texts: FxHashMap::default(), grower: Grower::default() })
    }

    /// The settings.
    pub fn config(&self) -> NGramConfig {
        self.config
    }

    /// Number of sequences that state is kept for.
    pub fn open_sequences(&self) -> usize {
        self.texts.len()
    }
}

impl Text {
    fn new(order: usize) -> Self {
        Self { seen: Vec::new(), trie: FollowerTrie::new(order) }
    }

    fn follow(&mut self, tokens: &[Token], order: usize) {
        if !tokens.starts_with(&self.seen) {
            *self = Text::new(order);
        }
        for &token in &tokens[self.seen.len()..] {
            self.trie.append(token);
        }
        self.seen.extend_from_slice(&tokens[self.seen.len()..]);
    }
}

impl Drafter for NGram {
    fn propose_batch(&mut self, views: &[View<'_>], forest: &mut Forest) -> Result<()> {
        let NGramConfig { max_ngram, min_prob } = self.config;
        // Node numbers are u32, and an appended token may need max_ngram + 1 of them.
        let most = u32::MAX as usize / (max_ngram + 1) - 1;
        for view in views {
            let root = match view.tokens.last() {
                Some(&root) if view.tokens.len() <= most => root,
                _ => {
                    return Err(Error::invalid(
                        format!("the number of tokens of sequence {}", view.sequence),
                        format!("1 … {most}"),
                        view.tokens.len(),
                        "a draft continues the last token of a text",
                    ));
                }
            };
            let text = self.texts.entry(view.sequence).or_insert_with(|| Text::new(max_ngram));
            text.follow(view.tokens, max_ngram);
            let (context, order) = text.trie.tail();
            let state = State { context, order: order as u32, path_prob: 1.0 };
            let mut source = Source { trie: &text.trie, min_prob };
            self.grower.grow(forest, root, state, view.budget as usize, view.max_depth, &mut source);
        }
        Ok(())
    }

    fn close(&mut self, sequence: SequenceId) {
        self.texts.remove(&sequence);
    }
}

/// The longest context of a node, and how probable the path to it is.
#[derive(Debug, Clone, Copy)]
struct State {
    context: u32,
    order: u32,
    path_prob: f32,
}

struct Source<'a> {
    trie: &'a FollowerTrie,
    min_prob: f32,
}

impl Continuations for Source<'_> {
    type State = State;

    fn expand(&mut self, state: State, out: &mut Vec<(Token, f32, State)>) {
        let State { mut context, mut order, path_prob } = state;
        let mut left = 1.0f32;
        // One bit per hashed token found so far: most tokens are new, and then no search is needed.
        let mut found = 0u64;
        while context != ROOT && path_prob * left >= self.min_prob {
            let start = out.len();
            let mut total = 0;
            for follower in self.trie.followers(context).take(FOLLOWERS) {
                let bit = 1 << (follower.token.wrapping_mul(0x9E37_79B9) >> 26);
                if found & bit != 0 && out[..start].iter().any(|known| known.0 == follower.token) {
                    continue;
                }
                found |= bit;
                total += follower.count;
                let next = State { context: follower.node, order: order + 1, path_prob };
                out.push((follower.token, follower.count as f32, next));
            }
            if total > 0 {
                let hit = HIT[order as usize];
                let share = left * hit / total as f32;
                for (_, prob, next) in &mut out[start..] {
                    *prob *= share;
                    next.path_prob *= *prob;
                }
                left *= 1.0 - hit;
            }
            context = self.trie.suffix(context);
            order -= 1;
        }
        out.retain(|(_, _, next)| next.path_prob >= self.min_prob);
    }
}

//! Drafts from what other requests have said before.

use crate::follow::Seen;
use crate::ppm::{Context, Rates, Source, State, check_min_prob};
use crate::suffix::no_text;
use crate::suffix_automaton::{NESTED, SuffixAutomaton};
use draftwood_base::{Error, Result, SequenceId, Token};
use draftwood_tree::{Drafter, Forest, Grower, TextRef, View};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Generations that the kept tokens are cut into: the oldest one goes as a whole.
const GENERATIONS: usize = 8;
/// Tokens of the prompt that are kept before an output, so that its beginning can be drafted too.
const PROMPT: usize = 16;
/// Tokens of a text that are read again against a generation that it has not met.
const CAUGHT_UP: usize = 64;

/// Settings of [`Outputs`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutputsConfig {
    /// Nodes whose path is less probable than this are not proposed, 0 … 1.
    pub min_prob: f32,
    /// Most tokens of past outputs, those of all salts together; about 120 bytes each.
    pub max_tokens: usize,
}

impl Default for OutputsConfig {
    fn default() -> Self {
        Self { min_prob: 0.01, max_tokens: 1 << 20 }
    }
}

/// Drafts what followed the longest suffix of the text in outputs that have ended, of any request with the same salt.
///
/// The shared part of SuffixDecoding (arXiv 2411.04975) on suffix automata that are never pruned: past tokens fill
/// generations, and where they become too many the oldest generation goes. A text drafts from the generation that it
/// matches longest, of equals from the newest, at hit rates learned from the text. What a text says is shared when it
/// is closed, its last step excepted; texts that fail or are replaced share nothing.
///
/// A proposal depends on the past, the text that comes out never does.
///
/// Cost: about 0.1 µs per appended token and generation with the text's salt, 0.1 µs per node.
pub struct Outputs {
    config: OutputsConfig,
    /// The one that was written to last comes last.
    generations: VecDeque<Generation>,
    next_number: u64,
    texts: FxHashMap<SequenceId, Text>,
    grower: Grower<State>,
}

struct Generation {
    number: u64,
    salt: u64,
    /// Also tells whether it has grown.
    tokens: usize,
    automaton: SuffixAutomaton,
}

struct Text {
    salt: u64,
    seen: Seen,
    /// Where the part that is shared begins.
    start: usize,
    /// Per generation, in their order.
    matches: Vec<Match>,
    rates: Rates,
}

/// The longest suffix of a text that occurs in a generation, which had so many tokens when it was looked for.
#[derive(Clone, Copy)]
struct Match {
    generation: u64,
    tokens: usize,
    context: Option<Context>,
}

impl Outputs {
    /// A drafter without a past.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a probability outside 0 … 1 or fewer than 64 tokens.
    pub fn new(config: OutputsConfig) -> Result<Self> {
        check_min_prob(config.min_prob)?;
        if !(64..=1 << 30).contains(&config.max_tokens) {
            return Err(Error::invalid("max_tokens", "64 … 2^30", config.max_tokens, ""));
        }
        Ok(Self {
            config,
            generations: VecDeque::new(),
            next_number: 0,
            texts: FxHashMap::default(),
            grower: Grower::default(),
        })
    }

    /// The settings.
    pub fn config(&self) -> OutputsConfig {
        self.config
    }

    /// Tokens of past outputs that are kept.
    pub fn tokens(&self) -> usize {
        self.generations.iter().map(|generation| generation.tokens).sum()
    }

    /// Bytes that the past takes.
    pub fn bytes(&self) -> usize {
        self.generations.iter().map(|generation| generation.automaton.bytes()).sum()
    }

    /// Tokens of the longest suffix of a text that a past output of its salt holds.
    pub fn match_length(&self, sequence: SequenceId) -> usize {
        let text = self.texts.get(&sequence);
        text.and_then(Text::best).map_or(0, |(_, context)| context.length as usize)
    }

    /// Adds an output to the past of a salt.
    pub fn share(&mut self, salt: u64, mut tokens: &[Token]) {
        let room = self.config.max_tokens / GENERATIONS;
        while !tokens.is_empty() {
            // The generation that is written to is the newest one from now on.
            let open = self.generations.iter().rposition(|one| one.salt == salt && one.tokens < room);
            let mut generation = open.and_then(|at| self.generations.remove(at)).unwrap_or_else(|| {
                self.next_number += 1;
                let automaton = SuffixAutomaton::new(NESTED);
                Generation { number: self.next_number, salt, tokens: 0, automaton }
            });
            let (now, later) = tokens.split_at(tokens.len().min(room - generation.tokens));
            generation.automaton.restart();
            now.iter().for_each(|&token| generation.automaton.append(token, 0));
            generation.tokens += now.len();
            self.generations.push_back(generation);
            tokens = later;
            while self.tokens() > self.config.max_tokens || self.generations.len() > 8 * GENERATIONS {
                self.generations.pop_front();
            }
        }
    }
}

impl Text {
    fn new(salt: u64, tokens: &[Token]) -> Self {
        let start = tokens.len().saturating_sub(PROMPT);
        Self { salt, seen: Seen::default(), start, matches: Vec::new(), rates: Rates::default() }
    }

    /// The longest match, of equals that of the newest generation.
    fn best(&self) -> Option<(u64, Context)> {
        let found = self.matches.iter().filter_map(|one| Some((one.generation, one.context?)));
        found.max_by_key(|&(generation, context)| (context.length, generation))
    }

    fn follow(&mut self, tokens: TextRef<'_>, generations: &VecDeque<Generation>) {
        let mine = || generations.iter().filter(|generation| generation.salt == self.salt);
        let seen = self.seen.len();
        let met = std::mem::take(&mut self.matches);
        for generation in mine() {
            let known = met.iter().find(|one| one.generation == generation.number);
            let mut context = known.and_then(|one| one.context);
            if known.is_none_or(|one| one.tokens != generation.tokens) {
                // What is new there may match longer than what was there before.
                let tail = &tokens[seen.saturating_sub(CAUGHT_UP)..seen];
                let new =
                    tail.iter().fold(None, |context, &token| generation.automaton.advance(context, token));
                if new.map_or(0, |new| new.length) > context.map_or(0, |old| old.length) {
                    context = new;
                }
            }
            self.matches.push(Match { generation: generation.number, tokens: generation.tokens, context });
        }
        for &token in &tokens[seen..] {
            if let Some((number, context)) = self.best()
                && let Some(generation) = mine().find(|generation| generation.number == number)
            {
                let context = generation.automaton.settled(context);
                self.rates.learn(&generation.automaton, Some(context), token);
            }
            for (one, generation) in self.matches.iter_mut().zip(mine()) {
                one.context = generation.automaton.advance(one.context, token);
            }
        }
        self.seen.read(tokens);
    }
}

impl Drafter for Outputs {
    fn propose_batch(&mut self, views: &[View<'_>], forest: &mut Forest) -> Result<()> {
        for view in views {
            let Some(&root) = view.tokens.last() else { return Err(no_text(view, u32::MAX as usize)) };
            let fresh = || Text::new(view.salt, &view.tokens);
            let text = self.texts.entry(view.sequence).or_insert_with(fresh);
            if text.salt != view.salt || !text.seen.begins(view.tokens) {
                *text = fresh();
            }
            text.follow(view.tokens, &self.generations);
            let best = text.best().and_then(|(number, context)| {
                let generation = self.generations.iter().find(|generation| generation.number == number)?;
                Some((&generation.automaton, generation.automaton.settled(context)))
            });
            let Some((contexts, context)) = best else {
                forest.open(root);
                forest.close();
                continue;
            };
            let mut source = Source { contexts, rates: &text.rates, min_prob: self.config.min_prob };
            let state = State::root(Some(context));
            self.grower.grow(forest, root, state, view.budget as usize, view.max_depth, &mut source);
        }
        Ok(())
    }

    fn close(&mut self, sequence: SequenceId) {
        if let Some(text) = self.texts.remove(&sequence) {
            self.share(text.salt, &text.seen.tokens()[text.start.min(text.seen.len())..]);
        }
    }
}

//! Beams that may take tokens back: a candidate is an action, and two actions may lead to one text.

use crate::group::{Group, Live, Shared, Survivor};
use crate::paths::{Fate, Paths, ROOT};
use crate::pool::{Ended, FinishReason, penalised};
use draftwood_base::Token;
use draftwood_logits::States;
use draftwood_text::TextStream;
use std::collections::HashMap;

/// A text of n tokens may be written in 4 · n actions.
pub(crate) const ACTIONS_PER_TOKEN: u32 = 4;

/// One node per text, and what rules and stop strings remember of the texts that beams have been.
pub(crate) struct Texts {
    backspace: Token,
    children: HashMap<(u32, Token), u32>,
    kept: HashMap<u32, (States, Option<TextStream>)>,
    /// Texts that the step has taken.
    taken: Vec<u32>,
}

impl Texts {
    /// The prompt alone.
    pub fn new(backspace: Token, prompt: &Live) -> Self {
        let kept = HashMap::from([(ROOT, (prompt.states.clone(), prompt.text.clone()))]);
        Self { backspace, children: HashMap::new(), kept, taken: Vec::new() }
    }
}

impl Group {
    /// [`Group::select`] for searches with backspace: of candidates that lead to one text the best stays, and each text has
    /// a length of its own. `spent`: no action is left after this one.
    ///
    /// Source: SequenceMatch, arXiv 2306.05426, for its actions; that beams add up their log-probabilities is ours.
    pub fn select_back(
        &mut self,
        shared: &Shared<'_>,
        spent: bool,
        texts: &mut Texts,
        paths: &mut Paths,
        survivors: &mut Vec<Survivor>,
    ) {
        let config = shared.config;
        let width = config.width();
        let from = survivors.len();
        let prefix = self.live.iter().max_by(|a, b| a.sum.total_cmp(&b.sum).then(b.node.cmp(&a.node)));
        let mut next: Vec<Live> = Vec::with_capacity(width);
        texts.taken.clear();
        for candidate in &self.found {
            let rank = texts.taken.len();
            if rank >= width && next.len() == width {
                break;
            }
            let parent = &self.live[candidate.row as usize];
            let goes_back = candidate.token == texts.backspace;
            let (node, length) = match goes_back {
                true => (paths.parent(parent.node), parent.length - 1),
                false => {
                    let add = || paths.push(self.node(parent.node, candidate));
                    (
                        *texts.children.entry((parent.node, candidate.token)).or_insert_with(add),
                        parent.length + 1,
                    )
                }
            };
            if texts.taken.contains(&node) {
                continue;
            }
            texts.taken.push(node);
            let last = spent || (!goes_back && length == config.max_new_tokens);
            if candidate.ends || last {
                if rank < width {
                    paths.set_fate(node, Fate::Ended);
                    let score = penalised(candidate.score, length, config.length_penalty);
                    let finish = if candidate.ends { FinishReason::Stop } else { FinishReason::Length };
                    self.pool.add_text(Ended { node, score, raw: score, finish, stop: candidate.stop });
                }
            } else if next.len() < width {
                let (states, text) = texts.kept.entry(node).or_insert_with(|| {
                    let held = length < config.min_new_tokens;
                    let text = parent.text.as_ref().zip(config.stops.as_ref());
                    let text = text.map(|(text, stops)| stops.follow(text, candidate.token, held).0);
                    (parent.states.child(shared.rules, candidate.token), text)
                });
                let (states, text) = (states.clone(), text.clone());
                let sum = candidate.score;
                next.push(Live { node, length, sum, raw: sum, key: 0, states, text });
                survivors.push(Survivor { row: candidate.row, token: candidate.token, score: sum });
            }
        }
        if let (true, Some(live)) = (next.is_empty() && self.pool.best().is_empty(), prefix) {
            let score = penalised(live.sum, live.length, config.length_penalty);
            let finish = FinishReason::Constraint;
            self.pool.add(Ended { node: live.node, score, raw: score, finish, stop: None });
        }
        self.live = next;
        self.done = self.live.iter().all(|live| {
            let most = config.max_new_tokens;
            self.pool.closes(config.early_stopping, live.sum, live.length, most, config.length_penalty)
        });
        if self.done {
            self.live.clear();
            survivors.truncate(from);
        }
    }
}

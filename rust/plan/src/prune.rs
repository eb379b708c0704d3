//! What of the drafts may be accepted at all: the rest would be verified in vain.

use crate::begin::Scheduled;
use crate::request::RequestId;
use crate::sequence::Sequence;
use crate::session::Session;
use draftwood_base::Token;
use draftwood_logits::{AnyProcessor, States};
use draftwood_tree::{Forest, TreeRef};

/// The draft of a text with processors outside of this crate: what own rules have left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drafted {
    /// The tree in the forest.
    pub tree: usize,
    /// Whose it is; the first of several samples, whose states are still the same.
    pub request: RequestId,
    /// The sample.
    pub sample: u32,
    /// (node, parent, token), parents first.
    pub nodes: Vec<(u32, u32, Token)>,
}

impl Session {
    /// Keeps of each draft what may be accepted: nodes within budget and depth, none at or below an end token or a
    /// backspace (the token is chosen by its parent's row, so its own row is never needed), a token that the model does
    /// not have (a corpus may know more) or one that a rule forbids. Forced tokens are a chain of their own.
    pub(crate) fn prune(&mut self, forest: Option<&Forest>) {
        self.proposals.clear();
        let mut views = 0;
        for s in &self.scheduled {
            let sequence = &self.running[s.at];
            let root = sequence.tokens[self.store.len(sequence.id) as usize + s.chunk as usize - 1];
            self.proposals.open(root);
            if s.is_forced && s.is_read() {
                let mut parent = 0;
                for &token in &sequence.forced()[..s.budget as usize - 1] {
                    parent = self.proposals.push(parent, token, 1.0);
                }
                views += 1;
            } else if let (true, Some(forest)) = (s.is_read(), forest) {
                let draft = forest.tree(views);
                views += 1;
                draft.depths_into(&mut self.scratch.depths);
                let renumbered = &mut self.scratch.renumbered;
                renumbered.clear();
                renumbered.push(Some(0));
                let mut along = Along::of(sequence, &mut self.scratch.states);
                let (ends, mut kept) = (ends_of(sequence, &self.config.end_tokens), 1);
                for node in 1..draft.len() {
                    let parent = draft.parents[node] as usize;
                    let place = renumbered[parent].filter(|_| {
                        kept < s.budget
                            && self.scratch.depths[node] <= s.max_depth
                            && may_follow(sequence, draft.tokens[node], ends, self.config.vocab)
                            && along.allows(draft, parent, draft.tokens[node])
                    });
                    renumbered.push(place.map(|parent| {
                        kept += 1;
                        self.proposals.push(parent, draft.tokens[node], draft.prob[node])
                    }));
                }
            }
            self.proposals.close();
        }
    }

    /// The drafts of texts whose rows will wait for processors outside of this crate, for these to say what they forbid.
    pub fn foreign_drafts(&mut self, forest: &Forest) -> Vec<Drafted> {
        let read = self.scheduled.iter().filter(|s| s.is_read());
        let mut found = Vec::new();
        for (tree, &Scheduled { at, is_forced, .. }) in read.enumerate().take(forest.len()) {
            let (sequence, draft) = (&self.running[at], forest.tree(tree));
            if !sequence.spec.foreign || is_forced || draft.len() == 1 {
                continue;
            }
            let mut along = Along::of(sequence, &mut self.scratch.states);
            let (ends, mut stays) = (ends_of(sequence, &self.config.end_tokens), vec![true; draft.len()]);
            for node in 1..draft.len() {
                let (parent, token) = (draft.parents[node] as usize, draft.tokens[node]);
                stays[node] = stays[parent]
                    && may_follow(sequence, token, ends, self.config.vocab)
                    && along.allows(draft, parent, token);
            }
            let nodes = (1..draft.len()).filter(|&node| stays[node]);
            let nodes = nodes.map(|node| (node as u32, draft.parents[node] as u32, draft.tokens[node]));
            let (request, sample) = (sequence.request, sequence.spec.samples[0]);
            found.push(Drafted { tree, request, sample, nodes: nodes.collect() });
        }
        found
    }
}

fn ends_of<'a>(sequence: &Sequence, ends: &'a [Token]) -> &'a [Token] {
    if sequence.spec.ignore_end { &[] } else { ends }
}

fn may_follow(sequence: &Sequence, token: Token, ends: &[Token], vocab: u32) -> bool {
    token < vocab && !ends.contains(&token) && sequence.spec.backspace != Some(token)
}

/// The states of a text's rules along its draft, made where a child asks for them.
struct Along<'a> {
    rules: &'a [AnyProcessor],
    /// Of each node that was asked about; empty if no rule tests tokens.
    states: &'a mut Vec<Option<States>>,
}

impl<'a> Along<'a> {
    fn of(sequence: &'a Sequence, states: &'a mut Vec<Option<States>>) -> Self {
        let rules = &sequence.spec.rules[..];
        states.clear();
        if sequence.states.test(rules) {
            states.push(Some(sequence.states.clone()));
        }
        Self { rules, states }
    }

    /// Whether `token` may follow node `parent`, which itself is allowed. Parents are asked about before their children.
    fn allows(&mut self, draft: TreeRef<'_>, parent: usize, token: Token) -> bool {
        if self.states.is_empty() {
            return true;
        }
        if self.states.len() <= parent {
            self.states.resize(parent + 1, None);
        }
        if self.states[parent].is_none() {
            // Whoever allowed the parent has made the states of what is above it.
            let above = usize::try_from(draft.parents[parent]).unwrap_or(0);
            let child = self.states[above].as_ref().map(|s| s.child(self.rules, draft.tokens[parent]));
            self.states[parent] = child;
        }
        self.states[parent].as_ref().is_none_or(|states| states.allow(self.rules, token, false))
    }
}

//! Verification of texts that may take tokens back: the walk goes up as well as down.

use crate::SessionConfig;
use crate::sequence::Sequence;
use crate::session::Session;
use crate::verify::{Halt, Verdict};
use draftwood_base::Token;
use draftwood_logits::{RowResult, States, logprobs, mask};
use draftwood_sample::Draw;
use draftwood_text::TextStream;
use draftwood_tree::TreeRef;

/// A walk that stands at a node of the step's tree, or above its root. Nothing of it is in the text before the commit.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    sample: u32,
    /// Tokens of the text that are taken back; 0 while the walk is in the tree.
    popped: u32,
    /// Nodes from the root on.
    path: Vec<u32>,
    /// Rules' states and text at each node of the path.
    trail: Vec<(States, TextStream)>,
    actions: Vec<Token>,
    /// Generated tokens at each of the actions.
    drawn: Vec<u32>,
}

/// What a walk moves over.
struct Ground<'a> {
    config: &'a SessionConfig,
    sequence: &'a Sequence,
    tree: TreeRef<'a>,
    rows: &'a RowResult<'a>,
    first_row: usize,
    /// Columns with a token, and those below without.
    usable: usize,
    holes: &'a [Token],
}

impl Walk {
    pub fn new(sequence: &Sequence, sample: u32) -> Self {
        let trail = vec![(sequence.states.clone(), sequence.text.clone())];
        Self { sample, popped: 0, path: vec![0], trail, actions: Vec::new(), drawn: Vec::new() }
    }

    /// Levels below the root.
    fn depth(&self) -> usize {
        self.path.len() - 1
    }

    fn node(&self) -> usize {
        self.path[self.depth()] as usize
    }
}

impl<'a> Ground<'a> {
    /// Generated tokens where the walk stands.
    fn generated(&self, walk: &Walk) -> u32 {
        self.sequence.stats.new_tokens - walk.popped + walk.depth() as u32
    }

    /// The logits of the state at `depth` of the path, or of the one above the tree.
    fn raw(&self, walk: &Walk, depth: usize) -> &'a [f32] {
        match (walk.popped, &self.sequence.past) {
            (popped @ 1.., Some(past)) => past.row(self.sequence.stats.new_tokens - popped, self.usable),
            _ => &self.rows.row(self.first_row + walk.path[depth] as usize)[..self.usable],
        }
    }

    fn ends(&self) -> &'a [Token] {
        if self.sequence.spec.ignore_end { &[] } else { &self.config.end_tokens }
    }

    /// The row of the present state after masks and rules.
    fn write(&self, walk: &Walk, row: &mut [f32]) {
        let (sequence, generated) = (self.sequence, self.generated(walk));
        row.copy_from_slice(self.raw(walk, walk.depth()));
        mask(row, self.holes);
        if generated == 0 {
            mask(row, sequence.spec.backspace.as_slice());
        }
        if generated < sequence.spec.min_new_tokens {
            mask(row, self.ends());
        }
        match walk.popped {
            0 => walk.trail[walk.depth()].0.apply(&sequence.spec.rules, row, self.ends()),
            popped => {
                let end = sequence.tokens.len() - popped as usize;
                sequence.states_at(end).apply(&sequence.spec.rules, row, self.ends());
            }
        }
    }

    /// Names the noise of the present draw.
    fn draw(&self, walk: &Walk) -> Draw {
        let (sequence, generated) = (self.sequence, self.generated(walk));
        let before = sequence.past.as_ref().map_or(0, |past| past.draws(generated));
        let slot = before + walk.drawn.iter().filter(|&&length| length == generated).count() as u32;
        let position = sequence.prompt_len() as u32 + generated;
        Draw { seed: sequence.spec.seed, sample: walk.sample, position, slot }
    }

    /// Goes where `token` leads; tells the end of the walk, if it is one: a token that leaves the tree or ends the text.
    ///
    /// A greedy text that takes back has been where it comes to, and would go on in a circle: it ends.
    fn take(&self, walk: &mut Walk, token: Token) -> Option<Result<Token, Halt>> {
        let (spec, generated) = (&self.sequence.spec, self.generated(walk));
        walk.actions.push(token);
        walk.drawn.push(generated);
        if spec.backspace == Some(token) {
            if walk.depth() > 0 {
                walk.path.pop();
                walk.trail.pop();
            } else {
                walk.popped += 1;
            }
            return if spec.params.is_greedy() { Some(Err(Halt::Loop)) } else { self.spent(walk) };
        }
        let child = self.tree.child(walk.node(), token);
        let Some(child) = child.filter(|_| walk.popped == 0 && !self.ends().contains(&token)) else {
            return Some(Ok(token));
        };
        let (mut states, mut text) = walk.trail[walk.depth()].clone();
        states.advance(&spec.rules, token);
        if let Some(bytes) = self.config.token_bytes.as_ref().filter(|_| !spec.stops.is_empty()) {
            text.suspend_stops(generated + 1 < spec.min_new_tokens);
            if text.push(bytes.get(token), &mut String::new()).is_some() {
                return Some(Ok(token));
            }
        }
        walk.trail.push((states, text));
        walk.path.push(child as u32);
        self.spent(walk)
    }

    fn spent(&self, walk: &Walk) -> Option<Result<Token, Halt>> {
        let past = self.sequence.past.as_ref()?;
        (past.actions + walk.actions.len() as u32 >= past.limit).then_some(Err(Halt::Spent))
    }
}

impl Session {
    /// [`Session::walk_one`] for a text with backspace: taking back goes to the parent, above the root to states whose
    /// rows are kept, until a token leaves the tree or ends the text.
    pub(crate) fn walk_back(&mut self, i: usize, sample: u32, first_row: usize, rows: &RowResult<'_>) {
        let mut walk = Walk::new(&self.running[self.scheduled[i].at], sample);
        let mut row = std::mem::take(&mut self.scratch.row);
        row.resize(self.usable, 0.0);
        let outcome = loop {
            let ground = self.ground(i, first_row, rows);
            ground.write(&walk, &mut row);
            let (draw, params) = (ground.draw(&walk), ground.sequence.spec.params);
            let token = match self.sampler.choose(&row, &params, &draw) {
                Ok(choice) => choice.token,
                Err(fault) => break Err(Halt::Fault(fault)),
            };
            if let Some(end) = self.ground(i, first_row, rows).take(&mut walk, token) {
                break end;
            }
        };
        self.scratch.row = row;
        self.end_walk(i, first_row, rows, &walk, outcome);
    }

    /// Writes the row [usable] where a walk stands, for processors outside of this crate.
    pub(crate) fn write_walk(
        &self,
        i: usize,
        first_row: usize,
        rows: &RowResult<'_>,
        walk: &Walk,
        out: &mut [f32],
    ) {
        self.ground(i, first_row, rows).write(walk, out);
    }

    /// One choice from `row` [usable], what the processors have made of it: the token, and the end of the walk if it is one.
    pub(crate) fn step_walk(
        &mut self,
        i: usize,
        first_row: usize,
        rows: &RowResult<'_>,
        walk: &mut Walk,
        row: &[f32],
    ) -> (Option<Token>, Option<Result<Token, Halt>>) {
        let ground = self.ground(i, first_row, rows);
        let (draw, params) = (ground.draw(walk), ground.sequence.spec.params);
        match self.sampler.choose(row, &params, &draw) {
            Ok(choice) => (Some(choice.token), self.ground(i, first_row, rows).take(walk, choice.token)),
            Err(fault) => (None, Some(Err(Halt::Fault(fault)))),
        }
    }

    /// The verdict of a walk: its path and the rows along it, its actions, and the log-probabilities of what survives.
    pub(crate) fn end_walk(
        &mut self,
        i: usize,
        first_row: usize,
        rows: &RowResult<'_>,
        walk: &Walk,
        outcome: Result<Token, Halt>,
    ) {
        let Self { running, scheduled, trees, scratch, record, holes, config, usable, .. } = self;
        let (sequence, tree) = (&running[scheduled[i].at], trees.tree(i));
        let ground = Ground { config, sequence, tree, rows, first_row, usable: *usable, holes };
        let (first_action, first_kept) = (record.actions.len(), record.rows.len());
        record.actions.extend_from_slice(&walk.actions);
        if walk.popped == 0 {
            (0..walk.path.len()).for_each(|depth| record.rows.extend_from_slice(ground.raw(walk, depth)));
        }
        if let Some(k) = sequence.spec.logprobs {
            let down = walk.path[1..].iter().map(|&node| tree.tokens[node as usize]);
            for (depth, token) in down.chain(outcome.as_ref().ok().copied()).enumerate() {
                let row = ground.raw(walk, depth);
                record.chosen.push(logprobs(row, token, k as usize, &mut scratch.best));
                scratch.best.iter().for_each(|&pair| record.top.push(pair));
            }
        }
        record.chosen.end_row();
        record.top.end_row();
        record.paths.extend_row(walk.path.iter().copied());
        record.verdicts.push(Verdict {
            popped: walk.popped,
            actions: first_action..record.actions.len(),
            rows: first_kept..record.rows.len(),
            ..Verdict::new(i, walk.sample, outcome).refused_by(&sequence.spec.rules)
        });
    }

    fn ground<'a>(&'a self, i: usize, first_row: usize, rows: &'a RowResult<'a>) -> Ground<'a> {
        Ground {
            config: &self.config,
            sequence: &self.running[self.scheduled[i].at],
            tree: self.trees.tree(i),
            rows,
            first_row,
            usable: self.usable,
            holes: &self.holes,
        }
    }
}

impl Sequence {
    fn prompt_len(&self) -> usize {
        self.tokens.len() - self.stats.new_tokens as usize
    }

    /// What the rules remember of the first `end` tokens.
    fn states_at(&self, end: usize) -> States {
        let rules = &self.spec.rules;
        if rules.is_empty() {
            return States::default();
        }
        let mut states = States::init(rules, &self.tokens[..self.prompt_len()]);
        self.tokens[self.prompt_len()..end].iter().for_each(|&token| states.advance(rules, token));
        states
    }

    /// Takes the last `rows` tokens back, which were told before; returns the characters that went with them.
    pub(crate) fn retract(&mut self, rows: u32, columns: usize) -> u32 {
        let left = self.tokens.len() - rows as usize;
        self.states = self.states_at(left);
        self.tokens.truncate(left);
        self.stats.new_tokens -= rows;
        let Some(past) = self.past.as_deref_mut() else { return 0 };
        let (text, characters) = past.fall_back(self.stats.new_tokens, columns);
        self.text = text;
        characters
    }
}

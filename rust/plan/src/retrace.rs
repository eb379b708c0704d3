//! Verification of texts that may take tokens back: the walk goes up as well as down.

use crate::sequence::Sequence;
use crate::session::Session;
use crate::verify::{Halt, Verdict};
use draftwood_base::Token;
use draftwood_logits::{RowResult, States, logprobs, mask};
use draftwood_sample::Draw;
use draftwood_text::TextStream;

/// Where a walk stands: at a node of the step's tree, or above its root.
struct Place {
    /// Tokens of the text that are taken back; 0 while the walk is in the tree.
    popped: u32,
    /// Rules' states and text after each node of the path.
    trail: Vec<(States, TextStream)>,
}

impl Session {
    /// [`Session::walk_one`] for a text with backspace. It ends with a token that leaves the tree, or that ends the text;
    /// taking back goes to the parent, above the root to states whose rows are kept. Nothing of it stays in the
    /// text until the commit.
    ///
    /// A greedy text that takes back has been where it comes to, and would go on in a circle: it ends.
    pub(crate) fn walk_back(&mut self, i: usize, sample: u32, first_row: usize, rows: &RowResult<'_>) {
        let usable = self.usable;
        let Self { running, scheduled, trees, scratch, record, sampler, holes, config, .. } = self;
        let tree = trees.tree(i);
        let Sequence { spec, tokens, states, stats, text, past, .. } = &running[scheduled[i].at];
        let Some(past) = past.as_deref() else { return };
        let ends: &[Token] = if spec.ignore_end { &[] } else { &config.end_tokens };
        let bytes = config.token_bytes.as_ref().filter(|_| !spec.stops.is_empty());
        let generated = stats.new_tokens;
        let prompt = tokens.len() - generated as usize;
        let first_action = record.actions.len();
        scratch.drawn.clear();
        scratch.path.clear();
        scratch.path.push(0);
        let mut place = Place { popped: 0, trail: vec![(states.clone(), text.clone())] };
        let outcome = loop {
            if past.actions + (record.actions.len() - first_action) as u32 >= past.limit {
                break Err(Halt::Spent);
            }
            let (node, depth) = (scratch.path[scratch.path.len() - 1], scratch.path.len() as u32 - 1);
            let now = generated - place.popped + depth;
            scratch.row.clear();
            scratch.row.extend_from_slice(match place.popped {
                0 => &rows.row(first_row + node as usize)[..usable],
                popped => past.row(generated - popped, usable),
            });
            mask(&mut scratch.row, holes);
            if now == 0 {
                mask(&mut scratch.row, &[past.token]);
            }
            if now < spec.min_new_tokens {
                mask(&mut scratch.row, ends);
            }
            let above;
            let states = match place.popped {
                0 => &place.trail[depth as usize].0,
                popped => {
                    above = states_at(spec, tokens, prompt, tokens.len() - popped as usize);
                    &above
                }
            };
            states.apply(&spec.rules, &mut scratch.row, ends);
            let position = prompt as u32 + now;
            let slot = past.draws(now) + scratch.drawn.iter().filter(|&&length| length == now).count() as u32;
            let draw = Draw { seed: spec.seed, sample, position, slot };
            let token = match sampler.choose(&scratch.row, &spec.params, &draw) {
                Ok(choice) => choice.token,
                Err(fault) => break Err(Halt::Fault(fault)),
            };
            record.actions.push(token);
            scratch.drawn.push(now);
            if token == past.token {
                if depth > 0 {
                    scratch.path.pop();
                    place.trail.pop();
                } else {
                    place.popped += 1;
                }
                if spec.params.is_greedy() {
                    break Err(Halt::Loop);
                }
                continue;
            }
            let child =
                tree.child(node as usize, token).filter(|_| place.popped == 0 && !ends.contains(&token));
            let Some(child) = child else { break Ok(token) };
            let (mut states, mut text) = place.trail[depth as usize].clone();
            states.advance(&spec.rules, token);
            if let Some(bytes) = bytes {
                text.suspend_stops(now + 1 < spec.min_new_tokens);
                scratch.shown.clear();
                if text.push(bytes.get(token), &mut scratch.shown).is_some() {
                    break Ok(token);
                }
            }
            place.trail.push((states, text));
            scratch.path.push(child as u32);
        };
        let path = &scratch.path;
        let first_kept = record.rows.len();
        if place.popped == 0 {
            for &node in path {
                record.rows.extend_from_slice(&rows.row(first_row + node as usize)[..usable]);
            }
        }
        if let Some(k) = spec.logprobs {
            let down = path[1..].iter().map(|&node| tree.tokens[node as usize]);
            for (depth, token) in down.chain(outcome.as_ref().ok().copied()).enumerate() {
                let row = match place.popped {
                    0 => &rows.row(first_row + path[depth] as usize)[..usable],
                    popped => past.row(generated - popped, usable),
                };
                record.chosen.push(logprobs(row, token, k as usize, &mut scratch.best));
                scratch.best.iter().for_each(|&pair| record.top.push(pair));
            }
        }
        record.chosen.end_row();
        record.top.end_row();
        record.paths.extend_row(path.iter().copied());
        record.verdicts.push(Verdict {
            popped: place.popped,
            actions: first_action..record.actions.len(),
            rows: first_kept..record.rows.len(),
            ..Verdict::new(i, sample, outcome)
        });
    }
}

/// What the rules remember of the first `end` tokens.
fn states_at(spec: &crate::Request, tokens: &[Token], prompt: usize, end: usize) -> States {
    if spec.rules.is_empty() {
        return States::default();
    }
    let mut states = States::init(&spec.rules, &tokens[..prompt]);
    tokens[prompt..end].iter().for_each(|&token| states.advance(&spec.rules, token));
    states
}

impl Sequence {
    /// Takes the last `rows` tokens back, which were told before; returns the characters that went with them.
    pub(crate) fn retract(&mut self, rows: u32, columns: usize) -> u32 {
        let generated = self.stats.new_tokens - rows;
        let prompt = self.tokens.len() - self.stats.new_tokens as usize;
        self.stats.new_tokens = generated;
        self.tokens.truncate(prompt + generated as usize);
        self.states = states_at(&self.spec, &self.tokens, prompt, self.tokens.len());
        let Some(past) = self.past.as_deref_mut() else { return 0 };
        let (text, characters) = past.fall_back(generated, columns);
        self.text = text;
        characters
    }
}

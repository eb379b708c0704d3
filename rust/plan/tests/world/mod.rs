//! A model of hashes with a cache of its own, and texts with backspace the slow way: everything computed anew.

use draftwood_base::Token;
use draftwood_logits::{RowResult, States, mask};
use draftwood_plan::{FinishReason, Request, Session, StopReason};
use draftwood_sample::{Draw, Sampler};
use draftwood_text::{TextStream, TokenBytes};
use draftwood_tree::Forest;
use std::collections::HashMap;

pub const VOCAB: usize = 14;
/// The last column has no token.
pub const TOKENS: usize = 13;
pub const BACKSPACE: Token = 11;
pub const END: Token = 12;

const BYTES: [&[u8]; 11] =
    [b"a", b"b", b"ab", "é".as_bytes(), b"\xc3", b"\xa9", "漢".as_bytes(), b"\xe6\xbc", b"c", b" ", b"ba"];

pub fn token_bytes() -> TokenBytes {
    let tokens = BYTES.iter().map(|&bytes| Some(bytes)).chain([Some(&b"<"[..]), Some(&b">"[..]), None]);
    TokenBytes::from_bytes(tokens, &[BACKSPACE, END]).unwrap()
}

pub struct Rng(pub u64);

fn mix(value: u64) -> u64 {
    let z = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    pub fn below(&mut self, below: u32) -> u32 {
        (self.next() % u64::from(below)) as u32
    }

    pub fn once_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

/// Identity of a text, which is what its last cache row holds.
fn after(prefix: u64, token: Token) -> u64 {
    mix(prefix ^ mix(u64::from(token) + 1))
}

fn identity(text: &[Token]) -> u64 {
    text.iter().fold(0, |prefix, &token| after(prefix, token))
}

/// What the model says after a text: flat enough to draw anything, backspace often.
fn logits(prefix: u64, out: &mut Vec<f32>) {
    let mut rng = Rng(prefix);
    let value = |id: usize, word: u64| {
        let noise = (word >> 40) as f32 / (1u64 << 24) as f32;
        4.0 * noise
            + if id == BACKSPACE as usize {
                0.5
            } else if id == END as usize {
                -1.0
            } else {
                0.0
            }
    };
    out.extend((0..VOCAB).map(|id| value(id, rng.next())));
}

/// The executor: cells by slot, and a check that a text's cache is what a fresh prefill would leave.
#[derive(Default)]
pub struct World {
    pub cells: HashMap<u32, u64>,
    pub rows: usize,
    pub forwards: usize,
}

impl World {
    fn copy(&mut self, from: &[u32], to: &[u32]) {
        let cells: Vec<u64> = from.iter().map(|slot| self.cells[slot]).collect();
        self.cells.extend(to.iter().copied().zip(cells));
    }

    pub fn forward(&mut self, session: &Session, page_size: u32, out: &mut Vec<f32>) {
        let (plan, copies) = (session.step_plan().rows(), session.step_plan().copies());
        let slots = |slots: &[i32]| slots.iter().map(|&slot| slot as u32).collect::<Vec<_>>();
        self.copy(&slots(copies.0), &slots(copies.1));
        self.check(session, page_size);
        let mut seen = vec![0u64; plan.tokens.len()];
        for s in 0..plan.chain.len() {
            let pages = &plan.pages[plan.page_offsets[s] as usize..plan.page_offsets[s + 1] as usize];
            let slot_of = |row: u32| pages[(row / page_size) as usize] as u32 * page_size + row % page_size;
            let (first, last) = (plan.row_offsets[s] as usize, plan.row_offsets[s + 1] as usize);
            let context = plan.context[s] as u32;
            for row in first..last {
                let before = match plan.parents[row] {
                    -1 if context == 0 => 0,
                    -1 => self.cells[&slot_of(context - 1)],
                    parent => seen[parent as usize],
                };
                seen[row] = after(before, plan.tokens[row] as Token);
                self.cells.insert(plan.slots[row] as u32, seen[row]);
            }
        }
        self.rows += plan.tokens.len();
        self.forwards += 1;
        out.clear();
        plan.head_rows.iter().for_each(|&row| logits(seen[row as usize], out));
    }

    /// Every cached row of the texts of a step is that of its tokens.
    fn check(&self, session: &Session, page_size: u32) {
        let plan = session.step_plan().rows();
        let mut views = session.views();
        for s in 0..plan.chain.len() {
            if !plan
                .head_rows
                .iter()
                .any(|&row| (plan.row_offsets[s]..plan.row_offsets[s + 1]).contains(&row))
            {
                continue; // a chunk of a prompt
            }
            let view = views.next().unwrap();
            let pages = &plan.pages[plan.page_offsets[s] as usize..plan.page_offsets[s + 1] as usize];
            for row in 0..plan.context[s] as u32 {
                let slot = pages[(row / page_size) as usize] as u32 * page_size + row % page_size;
                assert_eq!(self.cells[&slot], identity(&view.tokens[..=row as usize]), "row {row}");
            }
        }
    }

    pub fn apply_moves(&mut self, session: &Session) {
        let (from, to) = session.moves();
        let slots = |slots: &[draftwood_base::SlotId]| slots.iter().map(|slot| slot.0).collect::<Vec<_>>();
        self.copy(&slots(from), &slots(to));
    }

    /// One step with drafts that often come true. A step may be given up, and moves may fail.
    pub fn step(&mut self, session: &mut Session, forest: &mut Forest, rng: &mut Rng, page_size: u32) {
        session.begin().unwrap();
        forest.clear();
        for view in session.views() {
            forest.open(view.tokens[view.tokens.len() - 1]);
            let mut drawn = vec![(0u32, Token::MAX)];
            for _ in 0..rng.below(view.budget) {
                let (parent, token) = (rng.below(drawn.len() as u32), rng.below(VOCAB as u32));
                if !drawn.contains(&(parent, token)) {
                    forest.push(parent, token, 0.5);
                    drawn.push((parent, token));
                }
            }
            forest.close();
        }
        session.plan(Some(forest)).unwrap();
        let mut values = Vec::new();
        self.forward(session, page_size, &mut values);
        if rng.once_in(10) {
            return;
        }
        let heads = session.step_plan().rows().head_rows.len();
        let result = RowResult::full(&values, heads, VOCAB).unwrap();
        session.verify(&result).unwrap();
        let mut row = vec![0.0; VOCAB];
        while session.waiting().is_some() {
            session.write_waiting(&result, &mut row).unwrap();
            session.settle(&result, &row).unwrap();
        }
        if rng.once_in(10) {
            return session.rollback();
        }
        session.commit().unwrap();
        if rng.once_in(6) {
            session.moves_failed();
        } else {
            self.apply_moves(session);
        }
    }
}

/// What a text came to.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub tokens: Vec<Token>,
    pub text: String,
    pub reason: FinishReason,
    pub stop: Option<StopReason>,
    pub logprobs: Vec<f32>,
    pub most_draws: u32,
    pub actions: u32,
}

/// One sample of a request, drawn action by action, every state computed from its text.
pub fn slowly(request: &Request, sample: u32, max_context: usize, bytes: &TokenBytes) -> Outcome {
    let (mut sampler, mut draws) = (Sampler::default(), HashMap::<usize, u32>::new());
    let (mut new, mut actions) = (Vec::<Token>::new(), 0);
    let (reason, stop) = loop {
        let text: Vec<Token> = request.prompt.iter().chain(&new).copied().collect();
        let mut row = Vec::new();
        logits(identity(&text), &mut row);
        row.truncate(TOKENS);
        if new.is_empty() {
            mask(&mut row, &[BACKSPACE]);
        }
        if (new.len() as u32) < request.min_new_tokens {
            mask(&mut row, &[END]);
        }
        let mut states = States::init(&request.rules, &request.prompt);
        new.iter().for_each(|&token| states.advance(&request.rules, token));
        states.apply(&request.rules, &mut row, &[END]);
        let slot = draws.entry(text.len()).or_default();
        let draw = Draw { seed: request.seed, sample, position: text.len() as u32, slot: *slot };
        *slot += 1;
        let Ok(choice) = sampler.choose(&row, &request.params, &draw) else {
            break (FinishReason::Constraint, None);
        };
        actions += 1;
        if choice.token == BACKSPACE {
            new.pop();
            if request.params.is_greedy() {
                break (FinishReason::Stop, Some(StopReason::Loop));
            }
        } else {
            new.push(choice.token);
            if choice.token == END {
                break (FinishReason::Stop, Some(StopReason::Token(END)));
            }
            if let Some(stop) = read(request, &new, bytes).1 {
                break (FinishReason::Stop, Some(StopReason::String(stop)));
            }
        }
        let full =
            new.len() as u32 >= request.max_new_tokens || request.prompt.len() + new.len() >= max_context;
        if full && choice.token != BACKSPACE || actions >= 4 * request.max_new_tokens {
            break (FinishReason::Length, None);
        }
    };
    let text = read(request, &new, bytes).0;
    let most_draws = draws.values().copied().max().unwrap_or(0);
    let logprobs = (0..new.len())
        .map(|at| {
            let mut row = Vec::new();
            logits(identity(&[&request.prompt[..], &new[..at]].concat()), &mut row);
            draftwood_logits::logprobs(&row[..TOKENS], new[at], 0, &mut Vec::new())
        })
        .collect();
    Outcome { tokens: new, text, reason, stop, logprobs, most_draws, actions }
}

/// The text of some tokens, and the stop string that its last one completes.
fn read(request: &Request, tokens: &[Token], bytes: &TokenBytes) -> (String, Option<u32>) {
    let (mut stream, mut text, mut stop) = (TextStream::new(&request.stops), String::new(), None);
    for (at, &token) in tokens.iter().enumerate() {
        if token != END {
            stream.suspend_stops((at as u32 + 1) < request.min_new_tokens);
            stop = stream.push(bytes.get(token), &mut text).map(|stop| stop as u32);
        }
    }
    stream.finish(&mut text);
    (text, stop)
}

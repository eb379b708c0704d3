//! Sessions whose model says scripted texts and whose steps take scripted times: no weights, no clock.

use draftwood_base::{Locked, SequenceId, Token};
use draftwood_logits::RowResult;
use draftwood_plan::{DraftCounts, DraftPolicy, Request, Session, SessionConfig};
use draftwood_retrieve::{Mix, NGram, NGramConfig, Suffix, SuffixConfig};
use draftwood_sample::Params;
use draftwood_text::StopStrings;
use draftwood_tree::{Drafter, Forest, View};
use std::sync::Arc;

pub const VOCAB: usize = 1024;

/// What the model will say.
#[derive(Clone)]
pub struct Text {
    pub prompt: Vec<Token>,
    pub output: Vec<Token>,
}

/// A step of `rows` rows takes `true_time(rows)`; the session is told `told_time(rows, step)`.
pub struct Machine<'a> {
    pub time: &'a dyn Fn(u32) -> f64,
    pub told: &'a dyn Fn(f64, usize) -> f64,
    /// What a proposal takes.
    pub proposing: f64,
}

impl<'a> Machine<'a> {
    pub fn exact(time: &'a dyn Fn(u32) -> f64) -> Self {
        Self { time, told: &|time, _| time, proposing: 0.0 }
    }
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Run {
    pub tokens: usize,
    pub seconds: f64,
    pub steps: usize,
    pub rows: usize,
    /// Tokens and seconds of the steps in which all texts ran.
    pub full: (usize, f64),
    pub counts: DraftCounts,
}

impl Run {
    pub fn rate(&self) -> f64 {
        self.tokens as f64 / self.seconds
    }
}

pub fn config(policy: DraftPolicy, nodes: u32) -> SessionConfig {
    SessionConfig {
        vocab: VOCAB as u32,
        max_context: 8192,
        page_size: 16,
        pages: 8192,
        max_step_rows: 2048,
        tree_budget: nodes,
        draft_policy: policy,
        end_tokens: vec![],
        token_bytes: None,
    }
}

pub fn ngram() -> Box<dyn Drafter> {
    Box::new(NGram::new(NGramConfig::default()).unwrap())
}

pub fn mix() -> Box<dyn Drafter> {
    let sources: Vec<Arc<Locked<dyn Drafter>>> = vec![
        Arc::new(Locked::new(NGram::new(NGramConfig::default()).unwrap())),
        Arc::new(Locked::new(Suffix::new(SuffixConfig::default()).unwrap())),
    ];
    Box::new(Mix::new(sources).unwrap())
}

/// Hides what a drafter says of its nodes.
pub struct Bare(pub Box<dyn Drafter>);

impl Drafter for Bare {
    fn propose_batch(&mut self, views: &[View<'_>], forest: &mut Forest) -> draftwood_base::Result<()> {
        let mut inner = Forest::default();
        self.0.propose_batch(views, &mut inner)?;
        for i in 0..inner.len() {
            let tree = inner.tree(i);
            forest.open(tree.tokens[0]);
            for node in 1..tree.len() {
                forest.push(tree.parents[node] as u32, tree.tokens[node], f32::NAN);
            }
            forest.close();
        }
        Ok(())
    }
}

fn request(text: &Text) -> Request {
    Request {
        prompt: text.prompt.clone(),
        source: Default::default(),
        params: Params { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 },
        seed: 0,
        samples: vec![0],
        backspace: None,
        width: 1,
        max_new_tokens: text.output.len() as u32,
        min_new_tokens: 0,
        stops: StopStrings::new::<&str>(&[]).unwrap(),
        ignore_end: true,
        logprobs: None,
        rules: Vec::new(),
        foreign: false,
        forced: vec![],
        salt: 0,
    }
}

/// Generates `texts` side by side in one session. Counts tokens and seconds after the prompts were read; checks that the
/// texts are those of the script.
pub fn generate(
    session: &mut Session,
    drafter: &mut dyn Drafter,
    texts: &[Text],
    machine: &Machine<'_>,
) -> Run {
    for text in texts {
        session.submit(request(text)).unwrap();
    }
    let (mut run, before) = (Run::default(), session.draft_counts());
    let (mut forest, mut logits, mut ids) = (Forest::default(), Vec::new(), Vec::<SequenceId>::new());
    let mut said: Vec<Vec<Token>> = vec![Vec::new(); texts.len()];
    while session.begin().unwrap() > 0 {
        let views: Vec<View<'_>> = session.views().collect();
        let order: Vec<usize> = views
            .iter()
            .map(|view| {
                ids.iter().position(|&id| id == view.sequence).unwrap_or_else(|| {
                    ids.push(view.sequence);
                    ids.len() - 1
                })
            })
            .collect();
        let budgets: Vec<u32> = views.iter().map(|view| view.budget).collect();
        let mut proposing = 0.0;
        let asked = session.wants_drafts();
        if asked {
            forest.clear();
            drafter.propose_batch(&views, &mut forest).unwrap();
            proposing = machine.proposing;
        }
        drop(views);
        session.plan(asked.then_some(&forest)).unwrap();
        let rows = session.step_plan().rows();
        logits.clear();
        logits.resize(rows.head_rows.len() * VOCAB, 0.0f32);
        let mut view = 0;
        for s in 0..rows.chain.len() {
            let (first, last) = (rows.row_offsets[s], rows.row_offsets[s + 1]);
            let heads = rows.head_rows.iter().enumerate().filter(|(_, row)| (first..last).contains(*row));
            let mut count = 0;
            for (head, &row) in heads {
                let text = &texts[order[view]];
                let next = rows.positions[row as usize] as usize + 1 - text.prompt.len();
                if let Some(&token) = text.output.get(next) {
                    logits[head * VOCAB + token as usize] = 1.0;
                }
                count += 1;
            }
            if count > 0 {
                assert!(count <= budgets[view], "{count} rows of a budget of {}", budgets[view]);
                view += 1;
            }
        }
        let (count, reading) = (rows.tokens.len(), rows.chain.iter().any(|&chain| chain > 1));
        let heads = rows.head_rows.len();
        let seconds = (machine.time)(count as u32);
        session.took(proposing as f32, (machine.told)(seconds, run.steps) as f32);
        session.verify(&RowResult::full(&logits, heads, VOCAB).unwrap()).unwrap();
        session.commit().unwrap();
        let mut tokens = 0;
        for event in session.events().items() {
            let i = ids.iter().position(|id| Some(*id) == event.sequence).unwrap();
            said[i].extend(session.events().tokens(event));
            tokens += session.events().tokens(event).len();
            if event.end.is_some() {
                drafter.close(ids[i]);
            }
        }
        session.clear_events();
        if !reading {
            run.tokens += tokens;
            run.seconds += seconds + proposing;
            run.steps += 1;
            run.rows += count;
            if budgets.len() == texts.len() {
                run.full.0 += tokens;
                run.full.1 += seconds;
            }
        }
    }
    assert!(said.iter().zip(texts).all(|(said, text)| *said == text.output), "a draft changed a text");
    let after = session.draft_counts();
    run.counts = DraftCounts {
        steps: after.steps - before.steps,
        drafted_steps: after.drafted_steps - before.drafted_steps,
        texts: after.texts - before.texts,
        proposed: after.proposed - before.proposed,
        drafted: after.drafted - before.drafted,
        accepted: after.accepted - before.accepted,
    };
    run
}

/// One text after the other in one session.
pub fn one_by_one(
    policy: DraftPolicy,
    nodes: u32,
    mut drafter: Box<dyn Drafter>,
    texts: &[Text],
    machine: &Machine<'_>,
) -> Vec<Run> {
    let mut session = Session::new(config(policy, nodes)).unwrap();
    texts
        .iter()
        .map(|text| generate(&mut session, &mut *drafter, std::slice::from_ref(text), machine))
        .collect()
}

pub fn total(runs: &[Run]) -> Run {
    let mut all = Run::default();
    for run in runs {
        all.tokens += run.tokens;
        all.seconds += run.seconds;
        all.steps += run.steps;
        all.rows += run.rows;
    }
    all
}

/// A deterministic stream of numbers.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// Straight lines between the points of a table of (rows, milliseconds), going on behind the last one.
pub fn table(points: &'static [(f64, f64)]) -> impl Fn(u32) -> f64 {
    move |rows| {
        let rows = f64::from(rows);
        let at = points.iter().rposition(|p| p.0 <= rows).unwrap().min(points.len() - 2);
        let ((x0, y0), (x1, y1)) = (points[at], points[at + 1]);
        (y0 + (y1 - y0) * (rows - x0) / (x1 - x0)) * 1e-3
    }
}

/// SmolLM2-135M on AVX-512 with VNNI.
pub const Q4_1: &[(f64, f64)] = &[(1.0, 2.1), (2.0, 2.2), (4.0, 2.4), (8.0, 3.2), (16.0, 5.2), (32.0, 10.4)];
pub const F32: &[(f64, f64)] =
    &[(1.0, 10.8), (2.0, 11.9), (4.0, 12.5), (8.0, 13.2), (16.0, 14.6), (32.0, 22.9)];

//! Texts that take tokens back: a thousand random requests, each text equal to drawing it slowly, each step's cache equal
//! to a fresh prefill, whatever is drafted, given up or fails on the way.

mod world;

use draftwood_base::Token;
use draftwood_logits::{AnyProcessor, NoRepeatNgrams, RepetitionPenalty};
use draftwood_plan::{DraftPolicy, Event, Request, RequestId, Session, SessionConfig};
use draftwood_sample::Params;
use draftwood_text::StopStrings;
use draftwood_tree::Forest;
use std::collections::HashMap;
use std::sync::Arc;
use world::{BACKSPACE, END, Outcome, Rng, TOKENS, VOCAB, World, slowly, token_bytes};

const CONTEXT: usize = 60;

fn config(page_size: u32) -> SessionConfig {
    SessionConfig {
        vocab: VOCAB as u32,
        max_context: CONTEXT as u32,
        page_size,
        pages: 2000 / page_size,
        max_step_rows: 48,
        tree_budget: 8,
        draft_policy: DraftPolicy::Always,
        end_tokens: vec![END],
        token_bytes: Some(Arc::new(token_bytes())),
    }
}

fn request(rng: &mut Rng) -> Request {
    let max_new_tokens = 1 + rng.below(20);
    let stops: &[&str] = if rng.once_in(2) { &["aba", "éa", "漢"] } else { &[] };
    let mut rules = Vec::new();
    if rng.once_in(3) {
        rules.push(AnyProcessor::new(NoRepeatNgrams::new(1 + rng.below(2)).unwrap()));
    }
    if rng.once_in(3) {
        rules.push(AnyProcessor::new(RepetitionPenalty::new(1.3).unwrap()));
    }
    Request {
        prompt: (0..1 + rng.below(50)).map(|_| rng.below(TOKENS as u32)).collect(),
        params: Params {
            temperature: if rng.once_in(8) { 0.0 } else { 0.5 + rng.below(3) as f32 * 0.4 },
            top_k: if rng.once_in(2) { 0 } else { 4 },
            top_p: if rng.once_in(2) { 1.0 } else { 0.8 },
            min_p: 0.0,
        },
        seed: rng.next(),
        samples: (0..1 + rng.below(3)).collect(),
        source: Default::default(),
        salt: 0,
        backspace: Some(BACKSPACE),
        width: 1,
        max_new_tokens,
        min_new_tokens: rng.below(max_new_tokens.min(4) + 1),
        stops: StopStrings::new(stops).unwrap(),
        ignore_end: false,
        logprobs: Some(0),
        rules,
        foreign: rng.once_in(4),
        forced: vec![],
    }
}

/// What a listener makes of the events of one sample.
#[derive(Default)]
struct Heard {
    tokens: Vec<Token>,
    text: String,
    logprobs: Vec<f32>,
    retractions: u32,
    end: Option<Event>,
}

fn listen(session: &mut Session, heard: &mut HashMap<(RequestId, u32), Heard>) {
    let events = session.events();
    for event in events.items() {
        let heard = heard.entry((event.request, event.sample)).or_default();
        assert!(heard.end.is_none());
        let left = heard.tokens.len() - event.retracted as usize;
        heard.tokens.truncate(left);
        heard.logprobs.truncate(left);
        heard.retractions += event.retracted;
        let characters = heard.text.chars().count() - event.retracted_text as usize;
        heard.text = heard.text.chars().take(characters).collect();
        heard.tokens.extend(events.tokens(event));
        heard.logprobs.extend(events.logprobs(event).chosen);
        heard.text.push_str(events.text(event));
        assert_eq!(event.stats.new_tokens as usize, heard.tokens.len());
        if event.end.is_some() {
            heard.end = Some(event.clone());
        }
    }
    session.clear_events();
}

#[test]
fn a_thousand_random_requests_equal_drawing_slowly_and_leave_the_cache_of_a_fresh_prefill() {
    let bytes = token_bytes();
    let (mut retractions, mut deep, mut accepted, mut ends) = (0, 0, 0, HashMap::<String, u32>::new());
    for script in 0..500u64 {
        let rng = &mut Rng(script);
        let page_size = [1, 2, 4, 16][rng.below(4) as usize];
        let (mut session, mut world) = (Session::new(config(page_size)).unwrap(), World::default());
        let (mut forest, mut heard) = (Forest::default(), HashMap::new());
        let asked: Vec<(RequestId, Request)> = (0..2)
            .map(|_| request(rng))
            .map(|request| (session.submit(request.clone()).unwrap(), request))
            .collect();
        while !session.is_idle() {
            world.step(&mut session, &mut forest, rng, page_size);
            listen(&mut session, &mut heard);
        }
        let counts = session.counts();
        assert_eq!(counts.store.free, counts.store.total);
        for (id, request) in &asked {
            for &sample in &request.samples {
                let (heard, slow) = (&heard[&(*id, sample)], slowly(request, sample, CONTEXT, &bytes));
                let told = heard.end.as_ref().unwrap();
                let end = told.end.as_ref().unwrap();
                let fast = Outcome {
                    tokens: heard.tokens.clone(),
                    text: heard.text.clone(),
                    reason: end.reason,
                    stop: end.stop,
                    logprobs: heard.logprobs.clone(),
                    ..slow
                };
                assert_eq!(fast, slow, "script {script}, {request:?}, sample {sample}");
                retractions += heard.retractions;
                accepted += told.stats.accepted;
                deep += u32::from(slow.most_draws > 2);
                *ends.entry(format!("{:?} {:?}", end.reason, end.stop)).or_default() += 1;
            }
        }
    }
    // The scripts are worth something only if they come through every door.
    assert!(retractions > 500 && deep > 100 && accepted > 500, "{retractions} {deep} {accepted}");
    for end in
        ["Stop Some(Loop)", "Stop Some(Token(12))", "Stop Some(String(0))", "Length None", "Constraint None"]
    {
        assert!(ends.get(end).is_some_and(|&count| count > 5), "{end} in {ends:?}");
    }
}

#[test]
fn taking_back_adds_no_row_to_the_plan() {
    let bytes = token_bytes();
    for seed in 0..50 {
        let mut request = request(&mut Rng(seed));
        request.samples = vec![0];
        request.foreign = false;
        request.prompt.truncate(8);
        request.params.temperature = 1.0;
        let slow = slowly(&request, 0, CONTEXT, &bytes);
        let (mut session, mut world) = (Session::new(config(4)).unwrap(), World::default());
        let prompt = request.prompt.len();
        session.submit(request).unwrap();
        let mut values = Vec::new();
        while !session.is_idle() {
            session.begin().unwrap();
            session.plan(None).unwrap();
            world.forward(&session, 4, &mut values);
            session.verify(&draftwood_logits::RowResult::full(&values, 1, VOCAB).unwrap()).unwrap();
            session.commit().unwrap();
        }
        let pushes = pushes(&slow);
        // The last token is not forwarded, unless it was taken back at the end.
        assert!((pushes - 1..=pushes).contains(&(world.rows - prompt)), "{} rows, {slow:?}", world.rows);
        assert_eq!(world.forwards, world.rows - prompt + 1);
    }
}

/// Tokens chosen that were no backspace.
fn pushes(outcome: &Outcome) -> usize {
    let pops = (outcome.actions as usize - outcome.tokens.len()) / 2;
    outcome.tokens.len() + pops
}

#[test]
fn impossible_backspaces_are_refused() {
    let mut session = Session::new(config(4)).unwrap();
    let ok = request(&mut Rng(1));
    let cases = [
        (Request { backspace: Some(END), ..ok.clone() }, "backspace_token_id must be no end token, got 12"),
        (
            Request { backspace: Some(13), ..ok.clone() },
            "backspace_token_id must be a token of the model, below 13, got 13",
        ),
        (
            Request { backspace: Some(14), ..ok.clone() },
            "backspace_token_id must be a token of the model, below 13, got 14",
        ),
        (
            Request { forced: vec![1], ..ok.clone() },
            "backspace_token_id with forced tokens must be None, got 11",
        ),
    ];
    for (request, words) in cases {
        let error = session.submit(request).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    session.submit(ok).unwrap();
}

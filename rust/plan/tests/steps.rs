//! A session driven from Rust: steps do not allocate once warm, and calls out of order are refused.

#[path = "../../store/tests/counting/mod.rs"]
mod counting;

use counting::allocations;
use draftwood_base::{Error, Token};
use draftwood_logits::RowResult;
use draftwood_plan::{Change, DraftPolicy, FinishReason, Request, Session, SessionConfig};
use draftwood_sample::Params;
use draftwood_text::StopStrings;
use draftwood_tree::{Forest, Survivor};

const VOCAB: usize = 32;

fn config() -> SessionConfig {
    SessionConfig {
        vocab: VOCAB as u32,
        max_context: 4096,
        page_size: 16,
        pages: 2000,
        max_step_rows: 256,
        tree_budget: 8,
        draft_policy: DraftPolicy::Auto,
        end_tokens: vec![],
        token_bytes: None,
    }
}

fn request(prompt: Vec<Token>, temperature: f32) -> Request {
    Request {
        prompt,
        source: Default::default(),
        params: Params { temperature, top_k: 5, top_p: 0.9, min_p: 0.0 },
        seed: 7,
        samples: vec![0],
        backspace: None,
        width: 1,
        max_new_tokens: 1000,
        min_new_tokens: 0,
        stops: StopStrings::new::<&str>(&[]).unwrap(),
        ignore_end: false,
        logprobs: None,
        rules: vec![],
        foreign: false,
        forced: vec![],
        salt: 0,
    }
}

/// The next token is a function of the last one, so that drafts of `last + 1` are right about half the time.
fn logits(plan: &draftwood_plan::StepPlan, out: &mut Vec<f32>) {
    let rows = plan.rows();
    out.clear();
    for &row in rows.head_rows {
        let token = rows.tokens[row as usize] as usize;
        let next = if token.is_multiple_of(3) { (token * 5 + 1) % VOCAB } else { (token + 1) % VOCAB };
        out.extend((0..VOCAB).map(|id| if id == next { 9.0 } else { (id * 7 % 5) as f32 * 0.1 }));
    }
}

fn step(session: &mut Session, forest: &mut Forest, rows: &mut Vec<f32>) {
    session.begin().unwrap();
    forest.clear();
    for view in session.views() {
        let root = view.tokens[view.tokens.len() - 1];
        forest.open(root);
        for node in 0..view.budget.min(view.max_depth + 1).saturating_sub(1) {
            forest.push(node, (root + node + 1) % VOCAB as u32, 0.5);
        }
        forest.close();
    }
    session.plan(Some(forest)).unwrap();
    session.took(1e-6, 1e-3 + 1e-4 * session.step_plan().rows().tokens.len() as f32);
    logits(session.step_plan(), rows);
    let heads = session.step_plan().rows().head_rows.len();
    session.verify(&RowResult::full(rows, heads, VOCAB).unwrap()).unwrap();
    session.commit().unwrap();
    session.clear_events();
}

#[test]
fn warm_steps_do_not_allocate() {
    let mut session = Session::new(config()).unwrap();
    for i in 0..8 {
        let prompt = (0..20 + i).map(|t| t % VOCAB as u32).collect();
        session.submit(request(prompt, if i % 2 == 0 { 0.0 } else { 0.8 })).unwrap();
    }
    let (mut forest, mut rows) = (Forest::default(), Vec::new());
    for _ in 0..40 {
        step(&mut session, &mut forest, &mut rows);
    }
    let before = allocations();
    for _ in 0..60 {
        step(&mut session, &mut forest, &mut rows);
    }
    assert_eq!(allocations() - before, 0);
    let counts = session.draft_counts();
    assert!(0 < counts.drafted && counts.drafted < counts.proposed, "the policy must have had to choose");
    assert_eq!(session.counts().running, 8, "the texts must still be running for the count to mean anything");
    assert!(session.counts().store.free < session.counts().store.total);
}

#[test]
fn warm_steps_of_samples_do_not_allocate() {
    let mut session = Session::new(config()).unwrap();
    for i in 0..3 {
        let prompt = (0..40 + i).map(|t| t % VOCAB as u32).collect();
        session.submit(Request { samples: vec![0, 1, 2], ..request(prompt, 0.8) }).unwrap();
    }
    let (mut forest, mut rows) = (Forest::default(), Vec::new());
    for _ in 0..40 {
        step(&mut session, &mut forest, &mut rows);
    }
    let before = allocations();
    for _ in 0..60 {
        step(&mut session, &mut forest, &mut rows);
    }
    assert_eq!(allocations() - before, 0);
    assert_eq!(session.counts().running, 9);
}

#[test]
fn calls_out_of_order_are_refused_and_leave_the_session_whole() {
    let mut session = Session::new(config()).unwrap();
    session.submit(request(vec![1, 2, 3], 0.0)).unwrap();
    let row = [0.0f32; VOCAB];
    let rows = RowResult::full(&row, 1, VOCAB).unwrap();
    for early in [session.plan(None), session.verify(&rows), session.commit()] {
        assert!(matches!(early, Err(Error::Internal(_))));
    }
    session.begin().unwrap();
    assert!(session.verify(&rows).is_err());
    session.begin().unwrap();
    let mut forest = Forest::default();
    assert!(session.plan(Some(&forest)).unwrap_err().to_string().contains("one per view"));
    session.begin().unwrap();
    session.plan(None).unwrap();
    assert!(session.plan(None).is_err(), "a second plan rolls the first one back");
    let mut buffer = Vec::new();
    step(&mut session, &mut forest, &mut buffer);
    assert_eq!(session.counts().running, 1);
}

#[test]
fn a_step_that_is_given_up_frees_its_rows_and_its_cancelled_texts() {
    let mut session = Session::new(config()).unwrap();
    let id = session.submit(request((0..100).map(|t| t % 7).collect(), 0.0)).unwrap();
    session.begin().unwrap();
    session.plan(None).unwrap();
    let total = session.counts().store.total;
    assert!(session.counts().store.free < total);
    session.cancel(id);
    assert!(session.events().items().is_empty(), "the forward may still be writing to its rows");
    session.rollback();
    assert_eq!(session.counts().store.free, total);
    let end = session.events().items()[0].end.as_ref().unwrap();
    assert_eq!(end.reason, FinishReason::Cancelled);
    assert!(session.is_idle());
}

/// What searches do with rows that they keep: a text waits without a next token, forks at an earlier row, is cut, and one
/// that was no part of the step ends with a commit.
#[test]
fn texts_are_rearranged_between_steps() {
    let mut session = Session::new(config()).unwrap();
    session.submit(Request { width: 3, ..request((0..20).collect(), 0.0) }).unwrap();
    session.begin().unwrap();
    let source = session.views().next().unwrap().sequence;
    session.plan(None).unwrap();
    let goes_on = |source, next_token| Survivor { source, leaf: 0, next_token, score: 0.0 };
    let survivors = [goes_on(source, 7), goes_on(source, 8)];
    let ids = session.commit_paths(&survivors, &[], &[]).unwrap();
    let change = |source, fork, rows, next| Change { source, fork, rows, next };
    assert!(session.rearrange(&[change(source, true, 21, None)]).is_err(), "only 20 rows are cached");
    let made =
        session.rearrange(&[change(ids[0], true, 5, Some(9)), change(ids[1], false, 20, None)]).unwrap();
    assert_eq!(session.tokens(made[0]).unwrap(), [0, 1, 2, 3, 4, 9]);
    assert_eq!((session.cached_rows(made[0]), made[1]), (Some(5), ids[1]));
    session.begin().unwrap();
    assert!(session.rearrange(&[]).is_err(), "not within a step");
    let running: Vec<_> = session.views().map(|view| view.sequence).collect();
    assert_eq!(running, [ids[0], made[0]], "a text without a next token waits");
    // Both drafts are forwarded, whatever pays.
    let mut forest = Forest::default();
    for root in [7, 9] {
        forest.open(root);
        forest.push(0, 3, 0.001);
        forest.close();
    }
    session.plan_all(&forest).unwrap();
    assert_eq!(session.step_plan().rows().tokens, [7, 3, 9, 3]);
    session.commit_paths(&[goes_on(made[0], 1)], &[], &[ids[1]]).unwrap();
    assert_eq!(session.counts().running, 1);
    assert_eq!(session.tokens(made[0]).unwrap(), [0, 1, 2, 3, 4, 9, 1]);
    let ended = session.rearrange(&[change(ids[1], false, 1, None)]).unwrap();
    assert_eq!(ended, [ids[1]], "a text that has ended is left alone");
}

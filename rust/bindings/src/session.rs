//! The session: the calls of a step.

use crate::buffer::{F32Out, I32Block, I32In, LogitRows};
use crate::enter::{enter, lock, unpoisoned};
use crate::errors;
use crate::events::{self, Event, News, bytes_of};
use crate::forest::Forest;
use crate::paths;
use crate::plan_block;
use crate::rules::Rule;
use crate::text::TokenBytes;
use crate::views::{Item, Views};
use draftwood_base::{Error, Locked, Ragged, Result, SequenceId, SlotId, Token};
use draftwood_logits::RowResult;
use draftwood_plan::{self as plan, Change, DraftPolicy, Request, RequestId, SessionConfig};
use draftwood_sample::Params;
use draftwood_text::StopStrings;
use draftwood_tree::{Finished, Survivor};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyDict};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// What Python raised, by request and sample.
pub type Failures = Arc<Mutex<HashMap<(u32, u32), Py<PyAny>>>>;

/// All texts of one executor; every call locks it for its own duration only.
#[pyclass(frozen, module = "draftwood._core")]
pub struct Session {
    inner: Arc<Locked<plan::Session>>,
    failures: Failures,
    config: SessionConfig,
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (*, vocab, max_context, page_size, pages, max_step_rows, tree_budget, end_tokens, token_bytes=None, draft_policy="auto"))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        vocab: u32,
        max_context: u32,
        page_size: u32,
        pages: u32,
        max_step_rows: u32,
        tree_budget: u32,
        end_tokens: Vec<Token>,
        token_bytes: Option<&TokenBytes>,
        draft_policy: &str,
    ) -> PyResult<Self> {
        let draft_policy = match draft_policy {
            "auto" => DraftPolicy::Auto,
            "always" => DraftPolicy::Always,
            other => {
                let error =
                    Error::invalid("draft_policy", "\"auto\" or \"always\"", format!("{other:?}"), "");
                return Err(errors::raise(py, error));
            }
        };
        let config = SessionConfig {
            vocab,
            max_context,
            page_size,
            pages,
            max_step_rows,
            tree_budget,
            draft_policy,
            end_tokens,
            token_bytes: token_bytes.map(|bytes| Arc::clone(&bytes.inner)),
        };
        let inner = enter(py, || plan::Session::new(config.clone()))?;
        Ok(Self { inner: Arc::new(Locked::new(inner)), failures: Failures::default(), config })
    }

    #[getter]
    fn page_size(&self) -> u32 {
        self.config.page_size
    }

    /// Ids that end a text, unless a request ignores them.
    #[getter]
    fn end_tokens(&self) -> Vec<Token> {
        self.config.end_tokens.clone()
    }

    /// Whether tokens have bytes, so that there is text and stop strings can be found.
    #[getter]
    fn has_text(&self) -> bool {
        self.config.token_bytes.is_some()
    }

    /// int32 values that the block of `plan` must hold.
    #[getter]
    fn plan_capacity(&self) -> usize {
        self.config.plan_capacity()
    }

    #[pyo3(signature = (prompt, *, temperature, top_k, top_p, min_p, seed, max_new_tokens, min_new_tokens, stop, ignore_eos, logprobs=None, width=1, samples=1, rules=vec![], foreign=false, forced=None, source=None, backspace=None, salt=0))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn submit(
        &self,
        py: Python<'_>,
        prompt: PyBuffer<i32>,
        temperature: f32,
        top_k: u32,
        top_p: f32,
        min_p: f32,
        seed: u64,
        max_new_tokens: u32,
        min_new_tokens: u32,
        stop: Vec<String>,
        ignore_eos: bool,
        logprobs: Option<u32>,
        width: u32,
        samples: u32,
        rules: Vec<Bound<'_, Rule>>,
        foreign: bool,
        forced: Option<PyBuffer<i32>>,
        source: Option<PyBuffer<i32>>,
        backspace: Option<Token>,
        salt: u64,
    ) -> PyResult<u32> {
        let rules = rules.iter().map(|rule| rule.get().0.clone()).collect();
        let tokens =
            |ids: PyBuffer<i32>| Ok::<_, PyErr>(ids.to_vec(py)?.into_iter().map(|id| id as Token).collect());
        let (prompt, forced) = (tokens(prompt)?, forced.map(tokens).transpose()?.unwrap_or_default());
        let source: Vec<Token> = source.map(tokens).transpose()?.unwrap_or_default();
        enter(py, || {
            let request = Request {
                prompt,
                source: source.into(),
                params: Params { temperature, top_k, top_p, min_p },
                seed,
                samples: (0..samples).collect(),
                width,
                max_new_tokens,
                min_new_tokens,
                stops: StopStrings::new(&stop)?,
                ignore_end: ignore_eos,
                logprobs,
                rules,
                foreign,
                forced,
                backspace,
                salt,
            };
            Ok(lock(&self.inner).submit(request)?.0)
        })
    }

    /// Ends a request, or one of its samples.
    #[pyo3(signature = (request, sample=None))]
    fn cancel(&self, py: Python<'_>, request: u32, sample: Option<u32>) -> PyResult<()> {
        self.ask(py, |session| match sample {
            None => session.cancel(RequestId(request)),
            Some(sample) => session.cancel_sample(RequestId(request), sample),
        })
    }

    fn pause(&self, py: Python<'_>, request: u32, paused: bool) -> PyResult<()> {
        self.ask(py, |session| session.pause(RequestId(request), paused))
    }

    fn begin(&self, py: Python<'_>) -> PyResult<Views> {
        let (rows, wants_drafts, wants_best, items) = enter(py, || {
            let mut session = lock(&self.inner);
            let rows = session.begin()?;
            let items = session.views().map(|view| Item {
                sequence: view.sequence.0,
                root: view.tokens[view.tokens.len() - 1],
                budget: view.budget,
                max_depth: view.max_depth,
            });
            let items = items.collect();
            Ok((rows, session.wants_drafts(), session.wants_best(), items))
        })?;
        let (session, failures) = (Arc::clone(&self.inner), Arc::clone(&self.failures));
        Ok(Views {
            session,
            failures,
            items,
            idle: rows == 0,
            wants_drafts,
            wants_best,
            vocab: self.config.vocab,
        })
    }

    /// (tree, request, sample, [(node, parent, token)]) of each draft of a text with processors in Python: the nodes that
    /// the rules in Rust allow.
    #[expect(clippy::type_complexity, reason = "drafts are lists of triples")]
    fn foreign_drafts(
        &self,
        py: Python<'_>,
        forest: &Forest,
    ) -> PyResult<Vec<(usize, u32, u32, Vec<(u32, u32, Token)>)>> {
        enter(py, || {
            let forest = lock(&forest.0);
            let drafts = lock(&self.inner).foreign_drafts(&forest);
            Ok(drafts.into_iter().map(|d| (d.tree, d.request.0, d.sample, d.nodes)).collect())
        })
    }

    /// Writes the rows of the step into `block`; returns the borders of its arrays and the mask words per row. `all`: the
    /// policy does not choose among the nodes of the forest.
    #[pyo3(signature = (forest, block, all=false))]
    fn plan(
        &self,
        py: Python<'_>,
        forest: Option<&Forest>,
        block: &Bound<'_, PyAny>,
        all: bool,
    ) -> PyResult<([usize; 14], usize)> {
        let block = I32Block::borrow(block)?;
        enter(py, || {
            let forest = forest.map(|forest| lock(&forest.0));
            let mut session = lock(&self.inner);
            match forest.as_deref() {
                Some(forest) if all => session.plan_all(forest),
                forest => session.plan(forest),
            }
        })?;
        // Copying out happens under the lock, but makes no Python object.
        let session = lock(&self.inner);
        plan_block::write(py, session.step_plan(), &block)
    }

    fn verify(&self, py: Python<'_>, logits: &Bound<'_, PyAny>) -> PyResult<()> {
        let rows = LogitRows::borrow(logits)?;
        enter(py, || {
            let result = RowResult::full(rows.as_slice(), rows.shape.0, rows.shape.1)?;
            lock(&self.inner).verify(&result)
        })
    }

    /// The same for a step whose views want the best tokens only: int32 [R', 2], see `Session::verify_best`.
    fn verify_best(&self, py: Python<'_>, best: &Bound<'_, PyAny>) -> PyResult<()> {
        let best = I32In::borrow(best, "the best tokens")?;
        let best = best.as_slice();
        enter(py, || lock(&self.inner).verify_best(best))
    }

    /// (request, sample, indices of its visited rows among the read ones, root first) of each text that was verified.
    fn visited(&self, py: Python<'_>) -> PyResult<Vec<(u32, u32, Vec<u32>)>> {
        self.ask(py, |session| {
            let (mut texts, mut rows) = (Vec::new(), Ragged::default());
            session.visited(&mut texts, &mut rows);
            let texts = texts.into_iter().enumerate();
            texts.map(|(i, (request, sample))| (request.0, sample, rows.row(i).to_vec())).collect()
        })
    }

    /// (request, sample) whose row waits for processors in Python; all must be settled before the commit.
    fn waiting(&self, py: Python<'_>) -> PyResult<Option<(u32, u32)>> {
        self.ask(py, |session| session.waiting().map(|(request, sample)| (request.0, sample)))
    }

    /// Writes the row that waits, after masks and native rules, into `out` [V].
    fn write_waiting(
        &self,
        py: Python<'_>,
        logits: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let rows = LogitRows::borrow(logits)?;
        let mut out = F32Out::borrow(out, "out", rows.shape.1)?;
        enter(py, || {
            let result = RowResult::full(rows.as_slice(), rows.shape.0, rows.shape.1)?;
            lock(&self.inner).write_waiting(&result, out.as_mut_slice())
        })
    }

    /// Chooses a token from what the processors made of the row [V]; returns it, None if there is none, and whether
    /// another row of the text waits.
    fn settle(
        &self,
        py: Python<'_>,
        logits: &Bound<'_, PyAny>,
        row: PyBuffer<f32>,
    ) -> PyResult<(Option<Token>, bool)> {
        let rows = LogitRows::borrow(logits)?;
        let row = row.to_vec(py)?;
        enter(py, || {
            let result = RowResult::full(rows.as_slice(), rows.shape.0, rows.shape.1)?;
            lock(&self.inner).settle(&result, &row)
        })
    }

    /// Ends a text whose row waits, or was settled last, with what a processor raised.
    fn refuse(&self, py: Python<'_>, request: u32, sample: u32, error: Py<PyAny>) -> PyResult<()> {
        let words = error.bind(py).to_string();
        unpoisoned(&self.failures).insert((request, sample), error);
        self.ask(py, |session| session.refuse(RequestId(request), sample, Error::Internal(words)))
    }

    /// Keeps what was verified. The step has spent so many nanoseconds on proposing drafts and on everything else; 0
    /// tells nothing.
    #[pyo3(signature = (proposing=0, rest=0))]
    fn commit(
        &self,
        py: Python<'_>,
        proposing: u64,
        rest: u64,
    ) -> PyResult<(Vec<Event>, Option<Py<PyBytes>>)> {
        let (news, moves) = self.with(py, |session| {
            session.took(seconds(proposing), seconds(rest));
            session.commit()?;
            Ok((events::take(session), moves_of(session)))
        })?;
        Ok((self.events(py, news), moves.map(|moves| PyBytes::new(py, &moves).unbind())))
    }

    /// Commits any set of paths: (source, leaf, next token, score) that go on, (source, leaf, stop token, score) that
    /// ended; `closed` texts end too. Returns the sequence of each survivor, the events and the moves.
    #[pyo3(signature = (survivors, finished, closed=vec![]))]
    #[expect(clippy::type_complexity, reason = "the three results of a commit")]
    fn commit_paths(
        &self,
        py: Python<'_>,
        survivors: Vec<paths::Path>,
        finished: Vec<paths::Path>,
        closed: Vec<u32>,
    ) -> PyResult<(Vec<u32>, Vec<Event>, Option<Py<PyBytes>>)> {
        let (ids, news, moves) = enter(py, || {
            let survivors: Vec<Survivor> = survivors.into_iter().map(paths::survivor).collect();
            let finished: Vec<Finished> = finished.into_iter().map(paths::finished).collect();
            let closed: Vec<SequenceId> = closed.into_iter().map(SequenceId).collect();
            let mut session = lock(&self.inner);
            let ids =
                session.commit_paths(&survivors, &finished, &closed)?.into_iter().map(|id| id.0).collect();
            Ok((ids, events::take(&mut session), moves_of(&session)))
        })?;
        Ok((ids, self.events(py, news), moves.map(|moves| PyBytes::new(py, &moves).unbind())))
    }

    /// Takes the last tokens of texts back, between steps; the token that is then last is fed again.
    fn retract(&self, py: Python<'_>, sequences: Vec<u32>, tokens: u32) -> PyResult<()> {
        self.with(py, |session| {
            sequences.into_iter().try_for_each(|id| session.retract(SequenceId(id), tokens))
        })
    }

    /// Carries out (sequence, whether it forks, cached rows that stay, next token), in order; returns the sequence of each.
    fn rearrange(&self, py: Python<'_>, changes: Vec<paths::Rearranged>) -> PyResult<Vec<u32>> {
        let changes: Vec<Change> = changes.into_iter().map(paths::change).collect();
        self.with(py, |session| Ok(session.rearrange(&changes)?.into_iter().map(|id| id.0).collect()))
    }

    fn rollback(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, |session| session.rollback())
    }

    fn moves_failed(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, |session| session.moves_failed())
    }

    fn take_events(&self, py: Python<'_>) -> PyResult<Vec<Event>> {
        let news = self.ask(py, events::take)?;
        Ok(self.events(py, news))
    }

    /// Tokens of a running text as int32 bytes, prompt included.
    fn tokens(&self, py: Python<'_>, sequence: u32) -> PyResult<Option<Py<PyBytes>>> {
        let tokens = self.with(py, |session| {
            Ok(session.tokens(SequenceId(sequence)).map(|t| bytes_of(t, u32::to_ne_bytes)))
        })?;
        Ok(tokens.map(|tokens| PyBytes::new(py, &tokens).unbind()))
    }

    /// (request, tokens read, tokens to be read) of the prompts whose first token has not come yet.
    fn prefill(&self, py: Python<'_>) -> PyResult<Vec<(u32, u32, u32)>> {
        self.ask(py, |session| session.prefill().map(|(id, done, total)| (id.0, done, total)).collect())
    }

    /// Tells the nanoseconds of a forward of `rows` rows that was made for this purpose.
    fn measured(&self, py: Python<'_>, rows: u32, nanoseconds: u64) -> PyResult<()> {
        self.ask(py, |session| session.measured(rows, seconds(nanoseconds)))
    }

    /// (steps, drafted_steps, texts, proposed, drafted, accepted), and (rows, seconds) of the sizes that were seen.
    #[expect(clippy::type_complexity, reason = "a tuple of counters and a list of pairs")]
    fn draft_stats(&self, py: Python<'_>) -> PyResult<((u64, u64, u64, u64, u64, u64), Vec<(u32, f32)>)> {
        let (c, times) = self.ask(py, |session| {
            let sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256];
            let times = sizes.map(|rows| session.seconds_of(rows).map(|seconds| (rows, seconds)));
            (session.draft_counts(), times)
        })?;
        let counts = (c.steps, c.drafted_steps, c.texts, c.proposed, c.drafted, c.accepted);
        Ok((counts, times.into_iter().flatten().collect()))
    }

    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let c = self.ask(py, |session| session.counts())?;
        let counts = [
            ("running", u64::from(c.running)),
            ("waiting", u64::from(c.waiting)),
            ("pages_total", u64::from(c.store.total)),
            ("pages_free", u64::from(c.store.free)),
            ("rows_copied_on_write", c.store.rows_copied_on_write),
            ("rows_forked", c.store.rows_forked),
            ("rows_compacted", c.store.rows_compacted),
        ];
        counts.into_py_dict(py)
    }
}

impl Session {
    /// A call that cannot fail.
    fn ask<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut plan::Session) -> T + Send) -> PyResult<T> {
        self.with(py, |session| Ok(work(session)))
    }

    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut plan::Session) -> Result<T> + Send,
    ) -> PyResult<T> {
        enter(py, || work(&mut lock(&self.inner)))
    }

    fn events(&self, py: Python<'_>, news: Vec<News>) -> Vec<Event> {
        news.into_iter()
            .map(|news| {
                let foreign =
                    news.has_ended().then(|| unpoisoned(&self.failures).remove(&(news.request, news.sample)));
                Event::new(py, news, foreign.flatten())
            })
            .collect()
    }
}

fn seconds(nanoseconds: u64) -> f32 {
    nanoseconds as f32 * 1e-9
}

fn moves_of(session: &plan::Session) -> Option<Vec<u8>> {
    let (from, to) = session.moves();
    let bytes = |slots| bytes_of(slots, |slot: SlotId| slot.0.to_ne_bytes());
    (!from.is_empty()).then(|| [bytes(from), bytes(to)].concat())
}

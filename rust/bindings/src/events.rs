//! What a commit tells Python.

use crate::errors;
use draftwood_base::Error;
use draftwood_plan as plan;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// News of one text, copied out of the session.
pub struct News {
    pub request: u32,
    pub sample: u32,
    pub sequence: Option<u32>,
    retracted: (u32, u32),
    tokens: Vec<u8>,
    text: String,
    chosen: Vec<u8>,
    top_ids: Vec<u8>,
    top: Vec<u8>,
    end: Option<plan::End>,
    stats: plan::SequenceStats,
}

impl News {
    /// Whether these are the last ones of their text.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }
}

/// The bytes of an array in native order, written in one go.
pub fn bytes_of<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut all = vec![0; values.len() * N];
    all.as_chunks_mut::<N>().0.iter_mut().zip(values).for_each(|(to, &value)| *to = bytes(value));
    all
}

/// Takes all news out of a session. They become Python objects only after its lock is released: making an object may
/// run the garbage collector, and that may call the session again.
pub fn take(session: &mut plan::Session) -> Vec<News> {
    let events = session.events();
    let news = events
        .items()
        .iter()
        .map(|event| {
            let logprobs = events.logprobs(event);
            News {
                request: event.request.0,
                sample: event.sample,
                sequence: event.sequence.map(|id| id.0),
                retracted: (event.retracted, event.retracted_text),
                tokens: bytes_of(events.tokens(event), u32::to_ne_bytes),
                text: events.text(event).to_owned(),
                chosen: bytes_of(logprobs.chosen, f32::to_ne_bytes),
                top_ids: bytes_of(logprobs.top_ids, u32::to_ne_bytes),
                top: bytes_of(logprobs.top, f32::to_ne_bytes),
                end: event.end.clone(),
                stats: event.stats,
            }
        })
        .collect();
    session.clear_events();
    news
}

/// One event; arrays are bytes in native order (int32, float32).
#[pyclass(frozen, get_all, module = "draftwood._core")]
pub struct Event {
    request: u32,
    sample: u32,
    sequence: Option<u32>,
    retracted: u32,
    retracted_text: u32,
    tokens: Py<PyBytes>,
    text: String,
    chosen: Py<PyBytes>,
    top_ids: Py<PyBytes>,
    top: Py<PyBytes>,
    finish_reason: Option<&'static str>,
    stop_token: Option<u32>,
    stop_string: Option<u32>,
    stop_loop: bool,
    error: Option<Py<PyAny>>,
    stats: (u32, u32, u32, u32, u32, u32),
}

impl Event {
    /// `foreign` is the exception of a Python drafter or processor that ended the text, if one did.
    pub fn new(py: Python<'_>, news: News, foreign: Option<Py<PyAny>>) -> Self {
        let (mut finish_reason, mut stop_token, mut stop_string, mut error) = (None, None, None, None);
        let mut stop_loop = false;
        if let Some(end) = news.end {
            finish_reason = Some(end.reason.as_str());
            match end.stop {
                Some(plan::StopReason::Token(token)) => stop_token = Some(token),
                Some(plan::StopReason::String(index)) => stop_string = Some(index),
                Some(plan::StopReason::Loop) => stop_loop = true,
                None => {}
            }
            error = foreign
                .or_else(|| end.error.map(|error: Error| errors::raise(py, error).into_value(py).into()));
        }
        let s = news.stats;
        Self {
            request: news.request,
            sample: news.sample,
            sequence: news.sequence,
            retracted: news.retracted.0,
            retracted_text: news.retracted.1,
            tokens: PyBytes::new(py, &news.tokens).unbind(),
            text: news.text,
            chosen: PyBytes::new(py, &news.chosen).unbind(),
            top_ids: PyBytes::new(py, &news.top_ids).unbind(),
            top: PyBytes::new(py, &news.top).unbind(),
            finish_reason,
            stop_token,
            stop_string,
            stop_loop,
            error,
            stats: (s.prompt_tokens, s.new_tokens, s.steps, s.prefill_steps, s.drafted, s.accepted),
        }
    }
}

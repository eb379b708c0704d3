//! Processors that are written in Rust, and their states, as Python sees them.

use crate::buffer::F32Out;
use crate::enter::enter;
use crate::events::bytes_of;
use draftwood_base::{Result, Token};
use draftwood_logits::{
    AnyProcessor, BlockSequences, MinLength, NoRepeatNgrams, OnlyTokens, Phrase, Phrases, Placed,
    PlacedTokens, RepetitionPenalty, States, Trie,
};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::slice::from_ref;

/// A rule over texts. It has the methods of `draftwood.processors.Processor`; states never change.
#[pyclass(frozen, module = "draftwood._core")]
pub struct Rule(pub AnyProcessor);

/// What a rule remembers of a text.
#[pyclass(frozen, module = "draftwood._core")]
pub struct RuleState(States);

fn rule(py: Python<'_>, make: impl FnOnce() -> Result<AnyProcessor> + Send) -> PyResult<Rule> {
    enter(py, make).map(Rule)
}

#[pymethods]
impl Rule {
    /// Sequence i holds the next `lengths[i]` of `tokens` (uint32 buffers).
    #[staticmethod]
    fn trie(py: Python<'_>, tokens: PyBuffer<u32>, lengths: PyBuffer<u32>) -> PyResult<Self> {
        let (tokens, lengths) = (tokens.to_vec(py)?, lengths.to_vec(py)?);
        rule(py, || Ok(AnyProcessor::new(Trie::new(&tokens, &lengths)?)))
    }

    /// As `trie`.
    #[staticmethod]
    fn block(py: Python<'_>, tokens: PyBuffer<u32>, lengths: PyBuffer<u32>) -> PyResult<Self> {
        let (tokens, lengths) = (tokens.to_vec(py)?, lengths.to_vec(py)?);
        rule(py, || Ok(AnyProcessor::new(BlockSequences::new(&tokens, &lengths)?)))
    }

    #[staticmethod]
    fn phrases(py: Python<'_>, entries: Vec<Phrase>, ordered: bool) -> PyResult<Self> {
        rule(py, || Ok(AnyProcessor::new(Phrases::new(entries, ordered)?)))
    }

    #[staticmethod]
    fn only(py: Python<'_>, tokens: Vec<Token>) -> PyResult<Self> {
        rule(py, || Ok(AnyProcessor::new(OnlyTokens::new(tokens)?)))
    }

    #[staticmethod]
    fn min_length(py: Python<'_>, length: u32, tokens: Vec<Token>) -> PyResult<Self> {
        rule(py, || Ok(AnyProcessor::new(MinLength::new(length, tokens))))
    }

    /// Places count generated tokens: `first` is the only token at 0, `last` = (place, tokens) the only ones there.
    #[staticmethod]
    #[pyo3(signature = (first, last, never, begin))]
    fn placed(
        py: Python<'_>,
        first: Option<Token>,
        last: Option<(u32, Vec<Token>)>,
        never: Vec<Token>,
        begin: Option<(u32, Vec<Token>)>,
    ) -> PyResult<Self> {
        rule(py, || Ok(AnyProcessor::new(PlacedTokens::new(Placed { first, last, never, begin }))))
    }

    #[staticmethod]
    fn no_repeat(py: Python<'_>, size: u32) -> PyResult<Self> {
        rule(py, || Ok(AnyProcessor::new(NoRepeatNgrams::new(size)?)))
    }

    #[staticmethod]
    fn repetition(py: Python<'_>, penalty: f32) -> PyResult<Self> {
        rule(py, || Ok(AnyProcessor::new(RepetitionPenalty::new(penalty)?)))
    }

    fn init(&self, py: Python<'_>, ids: PyBuffer<i32>) -> PyResult<RuleState> {
        let ids: Vec<Token> = ids.to_vec(py)?.into_iter().map(|id| id as Token).collect();
        enter(py, || Ok(RuleState(States::init(from_ref(&self.0), &ids))))
    }

    fn advance(&self, py: Python<'_>, state: &RuleState, token: Token) -> PyResult<RuleState> {
        enter(py, || Ok(RuleState(state.0.child(from_ref(&self.0), token))))
    }

    /// Changes `row` [V] float32 in place.
    fn apply(&self, py: Python<'_>, state: &RuleState, row: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut row = F32Out::borrow(row, "row", row.len()?)?;
        enter(py, || {
            state.0.apply_alone(from_ref(&self.0), row.as_mut_slice());
            Ok(())
        })
    }

    /// Whether `token` may follow; None from a rule that changes values.
    fn allows(&self, py: Python<'_>, state: &RuleState, token: Token) -> PyResult<Option<bool>> {
        enter(py, || {
            let rules = from_ref(&self.0);
            Ok((!state.0.change_values(rules)).then(|| state.0.allow(rules, token, false)))
        })
    }

    /// Every token that may follow as uint32 bytes, ascending, if the rule knows them.
    fn candidates(&self, py: Python<'_>, state: &RuleState) -> PyResult<Option<Py<PyBytes>>> {
        let mut tokens = Vec::new();
        let known = enter(py, || Ok(state.0.candidates(from_ref(&self.0), &mut tokens)))?;
        Ok(known.then(|| PyBytes::new(py, &bytes_of(&tokens, u32::to_ne_bytes)).unbind()))
    }

    fn progress(&self, py: Python<'_>, state: &RuleState) -> PyResult<Option<u32>> {
        enter(py, || Ok(state.0.progress(from_ref(&self.0))))
    }

    /// Tokens that take the text further towards what must occur.
    fn advances(&self, py: Python<'_>, state: &RuleState) -> PyResult<Vec<Token>> {
        let mut tokens = Vec::new();
        enter(py, || {
            state.0.advances(from_ref(&self.0), &mut tokens);
            Ok(())
        })?;
        Ok(tokens)
    }

    fn done(&self, py: Python<'_>, state: &RuleState) -> PyResult<bool> {
        enter(py, || Ok(state.0.done(from_ref(&self.0))))
    }

    fn ends(&self, py: Python<'_>, state: &RuleState) -> PyResult<bool> {
        enter(py, || Ok(state.0.ends(from_ref(&self.0))))
    }
}

//! Processors that are written in Rust, and their states, as Python sees them.

use crate::buffer::F32Out;
use crate::enter::enter;
use crate::events::bytes_of;
use crate::index::Index;
use draftwood_base::{Result, Token};
use draftwood_logits::{
    AnyProcessor, BlockSequences, MinLength, NoRepeatNgrams, OnlyTokens, Phrase, Phrases, Placed,
    PlacedTokens, RepetitionPenalty, States, Trie,
};
use draftwood_retrieve::{BlockCorpus, InCorpus};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::slice::from_ref;
use std::sync::Arc;

/// A rule over texts. It has the methods of `draftwood.processors.Processor`; states never change.
#[pyclass(frozen, module = "draftwood._core")]
pub struct Rule(pub AnyProcessor);

/// What a rule remembers of a text.
#[pyclass(frozen, module = "draftwood._core")]
pub struct RuleState(States);

fn rule(py: Python<'_>, make: impl FnOnce() -> Result<AnyProcessor> + Send) -> PyResult<Rule> {
    enter(py, make).map(Rule)
}

impl Rule {
    /// Asks the rule, and tells what has failed in it.
    fn ask<T: Send>(&self, py: Python<'_>, ask: impl FnOnce(&[AnyProcessor]) -> T + Send) -> PyResult<T> {
        enter(py, || {
            let answer = ask(from_ref(&self.0));
            AnyProcessor::check(from_ref(&self.0)).map(|()| answer)
        })
    }
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

    /// Generated tokens are an n-gram of the index, at the start of a document if `anchored`.
    #[staticmethod]
    fn in_corpus(py: Python<'_>, index: &Index, anchored: bool) -> PyResult<Self> {
        rule(py, || Ok(AnyProcessor::new(InCorpus::new(Arc::clone(&index.group), anchored))))
    }

    /// No n-gram of the index is completed.
    #[staticmethod]
    fn block_corpus(py: Python<'_>, index: &Index, n: u32) -> PyResult<Self> {
        rule(py, || Ok(AnyProcessor::new(BlockCorpus::new(Arc::clone(&index.group), n)?)))
    }

    fn init(&self, py: Python<'_>, ids: PyBuffer<i32>) -> PyResult<RuleState> {
        let ids: Vec<Token> = ids.to_vec(py)?.into_iter().map(|id| id as Token).collect();
        self.ask(py, |rules| RuleState(States::init(rules, &ids)))
    }

    fn advance(&self, py: Python<'_>, state: &RuleState, token: Token) -> PyResult<RuleState> {
        self.ask(py, |rules| RuleState(state.0.child(rules, token)))
    }

    /// Changes `row` [V] float32 in place.
    fn apply(&self, py: Python<'_>, state: &RuleState, row: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut row = F32Out::borrow(row, "row", row.len()?)?;
        self.ask(py, |rules| state.0.apply_alone(rules, row.as_mut_slice()))
    }

    /// Whether `token` may follow; None from a rule that changes values.
    fn allows(&self, py: Python<'_>, state: &RuleState, token: Token) -> PyResult<Option<bool>> {
        self.ask(py, |rules| (!state.0.change_values(rules)).then(|| state.0.allow(rules, token, false)))
    }

    /// Every token that may follow as uint32 bytes, ascending, if the rule knows them.
    fn candidates(&self, py: Python<'_>, state: &RuleState) -> PyResult<Option<Py<PyBytes>>> {
        let mut tokens = Vec::new();
        let known = self.ask(py, |rules| state.0.candidates(rules, &mut tokens))?;
        Ok(known.then(|| PyBytes::new(py, &bytes_of(&tokens, u32::to_ne_bytes)).unbind()))
    }

    fn progress(&self, py: Python<'_>, state: &RuleState) -> PyResult<Option<u32>> {
        self.ask(py, |rules| state.0.progress(rules))
    }

    /// Tokens that take the text further towards what must occur.
    fn advances(&self, py: Python<'_>, state: &RuleState) -> PyResult<Vec<Token>> {
        let mut tokens = Vec::new();
        self.ask(py, |rules| state.0.advances(rules, &mut tokens))?;
        Ok(tokens)
    }

    fn done(&self, py: Python<'_>, state: &RuleState) -> PyResult<bool> {
        self.ask(py, |rules| state.0.done(rules))
    }

    fn ends(&self, py: Python<'_>, state: &RuleState) -> PyResult<bool> {
        self.ask(py, |rules| state.0.ends(rules))
    }
}

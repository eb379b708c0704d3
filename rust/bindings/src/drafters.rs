//! The drafters that run in Rust: one base class that proposes, one subclass per kind that holds its settings.

use crate::corpus::Corpus;
use crate::enter::{enter, lock, unpoisoned};
use crate::errors;
use crate::forest::{Forest, propose};
use crate::index::Index;
use crate::views::Views;
use draftwood_base::{Locked, Result, SequenceId};
use draftwood_plan::Session;
use draftwood_retrieve::{
    self as retrieve, NGramConfig, OutputsConfig, RetrievalConfig, RetrievalOptions, RetrievalStyle,
    SharedDrafter, SuffixConfig, TrigramConfig, TrigramTable,
};
use pyo3::PyClass;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, Weak};

/// A drafter whose proposals never enter Python. Several engines may share one; texts of theirs with equal numbers then
/// take turns and are read again.
#[pyclass(frozen, subclass, dict, module = "draftwood._core")]
pub struct Drafter {
    /// The drafter and its state per sequence; locked inside the door only.
    core: SharedDrafter,
    /// The drafts of the present step: per session the same object every time.
    forests: Mutex<Vec<PerSession>>,
}

type PerSession = (Weak<Locked<Session>>, Py<Forest>);

#[pymethods]
impl Drafter {
    /// One tree per view; the forest is overwritten by the next call for the same session.
    fn propose_batch(&self, py: Python<'_>, views: &Views) -> PyResult<Py<Forest>> {
        let forest = self.forest_of(py, views)?;
        propose(py, views, &*self.core, forest.get())?;
        Ok(forest)
    }

    /// Forgets a text that has ended.
    fn close(&self, py: Python<'_>, sequence: u32) -> PyResult<()> {
        enter(py, || {
            lock(&*self.core).close(SequenceId(sequence));
            Ok(())
        })
    }
}

impl Drafter {
    fn new<D: draftwood_tree::Drafter + 'static>(
        py: Python<'_>,
        core: Result<D>,
    ) -> PyResult<(Self, Arc<Locked<D>>)> {
        let core = Arc::new(Locked::new(core.map_err(|error| errors::raise(py, error))?));
        Ok((Self { core: Arc::clone(&core) as SharedDrafter, forests: Mutex::default() }, core))
    }

    /// Engines that share a drafter must not overwrite each other's drafts between `propose_batch` and `plan`.
    fn forest_of(&self, py: Python<'_>, views: &Views) -> PyResult<Py<Forest>> {
        let known = |forests: &Vec<PerSession>| {
            let mine = |(session, _): &&PerSession| session.as_ptr() == Arc::as_ptr(&views.session);
            forests.iter().find(mine).map(|(_, forest)| forest.clone_ref(py))
        };
        // The lock is held with the interpreter, so nothing is made or waited for under it.
        if let Some(forest) = known(&unpoisoned(&self.forests)) {
            return Ok(forest);
        }
        let forest = Py::new(py, Forest::default())?;
        let mut forests = unpoisoned(&self.forests);
        forests.retain(|(session, _)| session.strong_count() > 0);
        forests.push((Arc::downgrade(&views.session), forest.clone_ref(py)));
        Ok(forest)
    }

    fn with<T: PyClass<BaseType = Self>>(self, settings: T) -> PyClassInitializer<T> {
        PyClassInitializer::from(self).add_subclass(settings)
    }
}

/// Drafts what followed earlier occurrences of the last tokens of prompt and output, as a tree.
#[pyclass(frozen, subclass, extends = Drafter, module = "draftwood._core", get_all)]
pub struct NGram {
    /// Longest n-gram that is looked up.
    max_ngram: usize,
    /// Least probability of a drafted path.
    min_prob: f32,
}

#[pymethods]
impl NGram {
    #[new]
    #[pyo3(signature = (max_ngram = 3, min_prob = 0.01))]
    fn new(py: Python<'_>, max_ngram: usize, min_prob: f32) -> PyResult<PyClassInitializer<Self>> {
        let base = Drafter::new(py, retrieve::NGram::new(NGramConfig { max_ngram, min_prob }))?.0;
        Ok(base.with(Self { max_ngram, min_prob }))
    }

    fn __repr__(&self) -> String {
        format!("NGram(max_ngram={}, min_prob={})", self.max_ngram, self.min_prob)
    }
}

/// Drafts what followed the longest suffix of prompt and output that occurred before.
#[pyclass(frozen, subclass, extends = Drafter, module = "draftwood._core")]
pub struct Suffix {
    /// Least probability of a drafted path.
    #[pyo3(get)]
    min_prob: f32,
    /// Most tokens of a text that are searched, the last ones.
    #[pyo3(get)]
    max_tokens: usize,
    core: Arc<Locked<retrieve::Suffix>>,
}

#[pymethods]
impl Suffix {
    #[new]
    #[pyo3(signature = (min_prob = 0.01, max_tokens = 4_194_304))]
    fn new(py: Python<'_>, min_prob: f32, max_tokens: usize) -> PyResult<PyClassInitializer<Self>> {
        let (base, core) = Drafter::new(py, retrieve::Suffix::new(SuffixConfig { min_prob, max_tokens }))?;
        Ok(base.with(Self { min_prob, max_tokens, core }))
    }

    /// Bytes that are kept for a sequence.
    fn bytes(&self, py: Python<'_>, sequence: u32) -> PyResult<usize> {
        enter(py, || Ok(lock(&self.core).bytes(SequenceId(sequence))))
    }

    /// `child` begins as a copy of `parent`, so that its text need not be read again.
    fn fork(&self, py: Python<'_>, parent: u32, child: u32) -> PyResult<()> {
        enter(py, || {
            lock(&self.core).fork(SequenceId(parent), SequenceId(child));
            Ok(())
        })
    }

    fn __repr__(&self) -> String {
        format!("Suffix(min_prob={}, max_tokens={})", self.min_prob, self.max_tokens)
    }
}

/// Drafts what followed the longest suffix of a text in outputs of requests that have ended.
#[pyclass(frozen, subclass, extends = Drafter, module = "draftwood._core")]
pub struct Outputs {
    /// Least probability of a drafted path.
    #[pyo3(get)]
    min_prob: f32,
    /// Most tokens of past outputs.
    #[pyo3(get)]
    max_tokens: usize,
    core: Arc<Locked<retrieve::Outputs>>,
}

#[pymethods]
impl Outputs {
    #[new]
    #[pyo3(signature = (min_prob = 0.01, max_tokens = 1_048_576))]
    fn new(py: Python<'_>, min_prob: f32, max_tokens: usize) -> PyResult<PyClassInitializer<Self>> {
        let (base, core) = Drafter::new(py, retrieve::Outputs::new(OutputsConfig { min_prob, max_tokens }))?;
        Ok(base.with(Self { min_prob, max_tokens, core }))
    }

    /// Tokens of past outputs that are kept.
    #[getter]
    fn tokens(&self, py: Python<'_>) -> PyResult<usize> {
        enter(py, || Ok(lock(&self.core).tokens()))
    }

    fn __repr__(&self) -> String {
        format!("Outputs(min_prob={}, max_tokens={})", self.min_prob, self.max_tokens)
    }
}

/// Drafts by a tree search over trigram weights that follow the text.
#[pyclass(frozen, subclass, extends = Drafter, module = "draftwood._core", get_all)]
pub struct Trigram {
    /// Rounds of the search per draft.
    iterations: u32,
    /// Tokens that a round looks ahead.
    depth: u32,
}

#[pymethods]
impl Trigram {
    #[new]
    #[pyo3(signature = (corpus = None, iterations = 150, depth = 4))]
    fn new(
        py: Python<'_>,
        corpus: Option<&Corpus>,
        iterations: u32,
        depth: u32,
    ) -> PyResult<PyClassInitializer<Self>> {
        let table = enter(py, || {
            Ok(corpus.map_or_else(TrigramTable::default, |corpus| {
                let corpus = lock(&corpus.0);
                TrigramTable::new((0..corpus.documents()).map(|d| corpus.document(d)))
            }))
        })?;
        let core = retrieve::Trigram::new(TrigramConfig { iterations, depth }, table);
        Ok(Drafter::new(py, core)?.0.with(Self { iterations, depth }))
    }

    fn __repr__(&self) -> String {
        format!("Trigram(iterations={}, depth={})", self.iterations, self.depth)
    }
}

/// Drafts what follows the longest suffixes of the text in a corpus.
#[pyclass(frozen, subclass, extends = Drafter, module = "draftwood._core")]
pub struct Retrieval(RetrievalConfig);

#[pymethods]
impl Retrieval {
    #[new]
    #[pyo3(signature = (
        index, max_match = None, min_match = None, min_prob = None, *, style = "escape", max_rows = None, max_depth = None,
        factor = None, offset = None, path = None,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        index: &Index,
        max_match: Option<usize>,
        min_match: Option<usize>,
        min_prob: Option<f32>,
        style: &str,
        max_rows: Option<u32>,
        max_depth: Option<u32>,
        factor: Option<f32>,
        offset: Option<f32>,
        path: Option<bool>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let options =
            RetrievalOptions { max_match, min_match, min_prob, max_rows, max_depth, factor, offset, path };
        let config = enter(py, || RetrievalConfig::named(style, options))?;
        let core = retrieve::Retrieval::new(config, Arc::clone(&index.group));
        Ok(Drafter::new(py, core)?.0.with(Self(config)))
    }

    /// How a draft comes from the suffixes that occur.
    #[getter]
    fn style(&self) -> &'static str {
        self.0.style.name()
    }

    /// Longest suffix of the text that is looked up.
    #[getter]
    fn max_match(&self) -> usize {
        self.0.max_match
    }

    /// Shortest suffix that drafts.
    #[getter]
    fn min_match(&self) -> usize {
        self.0.min_match
    }

    /// Least probability of a drafted path.
    #[getter]
    fn min_prob(&self) -> f32 {
        self.0.min_prob
    }

    /// Occurrences read per node, suffix and index.
    #[getter]
    fn max_rows(&self) -> u32 {
        self.0.max_rows
    }

    /// Tokens of the longest path.
    #[getter]
    fn max_depth(&self) -> u32 {
        self.0.max_depth
    }

    fn __repr__(&self) -> String {
        let RetrievalConfig { max_match, min_match, min_prob, max_rows, max_depth, style } = self.0;
        let own = match style {
            RetrievalStyle::SuffixDecoding { factor, offset, path } => {
                let path = if path { "True" } else { "False" };
                format!(", factor={factor}, offset={offset}, path={path}")
            }
            _ => String::new(),
        };
        let style = self.style();
        format!(
            "Retrieval(max_match={max_match}, min_match={min_match}, min_prob={min_prob}, style='{style}', \
             max_rows={max_rows}, max_depth={max_depth}{own})"
        )
    }
}

/// Merges the trees of several drafters into the best one under the budget.
#[pyclass(frozen, subclass, extends = Drafter, module = "draftwood._core")]
pub struct Mix {
    core: Arc<Locked<retrieve::Mix>>,
}

#[pymethods]
impl Mix {
    #[new]
    fn new(py: Python<'_>, sources: Vec<PyRef<'_, Drafter>>) -> PyResult<PyClassInitializer<Self>> {
        let sources = sources.iter().map(|source| Arc::clone(&source.core)).collect();
        let (base, core) = Drafter::new(py, retrieve::Mix::new(sources))?;
        Ok(base.with(Self { core }))
    }

    /// The weights of the sources for a sequence.
    fn weights(&self, py: Python<'_>, sequence: u32) -> PyResult<Vec<f32>> {
        enter(py, || Ok(lock(&self.core).weights(SequenceId(sequence))))
    }
}

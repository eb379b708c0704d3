//! Beam search over rows that Python hands over.

use crate::buffer::{F32Out, LogitRows};
use crate::enter::{enter, lock};
use crate::events::bytes_of;
use crate::rules::Rule;
use crate::text::TokenBytes;
use draftwood_base::{Error, Locked, Result, Token};
use draftwood_logits::RowResult;
use draftwood_sample::Params;
use draftwood_search::{
    self as search, AnyProcessor, Banked, BeamConfig, BeamSampling, Diversity, DiversityKind, Drawn,
    EarlyStopping, Embedding, FinishReason, NoRepeatNgrams, RepetitionPenalty, Rows, StochasticSearch, Stops,
    TokenSet,
};
use draftwood_text::StopStrings;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Arc;

/// (tokens as int32 bytes, score, raw score, reason, stop string, group, log weight, step scores as float32 bytes, beam indices as
/// int32 bytes).
type Found = (Py<PyBytes>, f32, f32, &'static str, Option<u32>, u32, Option<f64>, Py<PyBytes>, Py<PyBytes>);
/// (beam, token, score) of a beam that goes on.
type Next = (u32, Token, f32);
/// (beam, token, progress, done) of a possible continuation, as processors in Python see it.
type Progress = (u32, Token, u32, bool);

/// One prompt's search; a step takes one row per live beam and tells which beams go on.
#[pyclass(frozen, module = "draftwood._core")]
pub struct BeamSearch(pub(crate) Arc<Locked<Search>>);

pub(crate) enum Search {
    Beams(search::BeamSearch),
    Drawn(StochasticSearch),
}

impl Search {
    /// The search that looks for the best.
    pub(crate) fn beams(&mut self) -> Result<&mut search::BeamSearch> {
        match self {
            Search::Beams(search) => Ok(search),
            Search::Drawn(_) => {
                Err(Error::invalid("a stochastic search", "without scorer and phrases", "one with them", ""))
            }
        }
    }
}

#[pymethods]
impl BeamSearch {
    /// `early_stopping` None is "never"; `sampling` is (temperature, top_k, top_p, min_p, seed).
    #[new]
    #[pyo3(signature = (prompt, *, num_beams, num_return, max_new_tokens, min_new_tokens, length_penalty, early_stopping, end_tokens, banned, sampling, repetition_penalty, no_repeat_ngram_size, rules, num_groups, diversity, keep_candidates, drawn, stop, token_bytes=None, backspace=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        prompt: PyBuffer<i32>,
        num_beams: u32,
        num_return: u32,
        max_new_tokens: u32,
        min_new_tokens: u32,
        length_penalty: f64,
        early_stopping: Option<bool>,
        end_tokens: Vec<Token>,
        banned: Vec<Token>,
        sampling: Option<(f32, u32, f32, f32, u64)>,
        repetition_penalty: f32,
        no_repeat_ngram_size: u32,
        rules: Vec<Bound<'_, Rule>>,
        num_groups: u32,
        diversity: Option<(String, f32, Option<PyBuffer<f32>>)>,
        keep_candidates: bool,
        drawn: Option<(String, u64)>,
        stop: Vec<String>,
        token_bytes: Option<&TokenBytes>,
        backspace: Option<Token>,
    ) -> PyResult<Self> {
        let prompt: Vec<Token> = prompt.to_vec(py)?.into_iter().map(|id| id as Token).collect();
        let sampling = sampling.map(|(temperature, top_k, top_p, min_p, seed)| BeamSampling {
            params: Params { temperature, top_k, top_p, min_p },
            seed,
        });
        let given: Vec<AnyProcessor> = rules.iter().map(|rule| rule.get().0.clone()).collect();
        let diversity = match diversity {
            Some((kind, penalty, embedding)) => Some((kind, penalty, embedding_of(py, embedding)?)),
            None => None,
        };
        let bytes = token_bytes.filter(|_| !stop.is_empty()).map(|bytes| Arc::clone(&bytes.inner));
        enter(py, || {
            let stops = bytes.map(|bytes| Ok::<_, Error>(Stops::new(bytes, StopStrings::new(&stop)?)));
            let diversity = diversity.map(|(kind, penalty, embedding)| {
                let kind = diversity_of(&kind, embedding)?;
                Ok::<_, Error>(Diversity { kind, penalty })
            });
            let config = BeamConfig {
                num_groups,
                diversity: diversity.transpose()?,
                keep_candidates,
                stops: stops.transpose()?,
                num_beams,
                num_return,
                max_new_tokens,
                min_new_tokens,
                length_penalty,
                early_stopping: match early_stopping {
                    Some(false) => EarlyStopping::Heuristic,
                    Some(true) => EarlyStopping::WhenFull,
                    None => EarlyStopping::Never,
                },
                end_tokens,
                banned: TokenSet::new(&banned),
                sampling,
                backspace,
            };
            let mut rules = Vec::new();
            if repetition_penalty != 1.0 {
                rules.push(AnyProcessor::new(RepetitionPenalty::new(repetition_penalty)?));
            }
            if no_repeat_ngram_size > 0 {
                rules.push(AnyProcessor::new(NoRepeatNgrams::new(no_repeat_ngram_size)?));
            }
            rules.extend(given);
            let search = match drawn {
                None => Search::Beams(search::BeamSearch::new(config, &prompt, rules)?),
                Some((what, seed)) => {
                    let mut config = config;
                    let sampling = config.sampling.take();
                    let drawn = match (&what[..], sampling) {
                        ("sequences", None) => Drawn::Sequences,
                        ("sequences", Some(_)) => {
                            let hint = "they are drawn from the model's own law";
                            return Err(Error::invalid(
                                "do_sample",
                                "False with stochastic=\"sequences\"",
                                "True",
                                hint,
                            ));
                        }
                        ("first_token", sampling) => {
                            Drawn::FirstTokens(sampling.map_or(Params::default(), |sampling| sampling.params))
                        }
                        _ => {
                            let expected = "False, \"sequences\" or \"first_token\"";
                            return Err(Error::invalid("stochastic", expected, what, ""));
                        }
                    };
                    Search::Drawn(StochasticSearch::new(config, &prompt, rules, drawn, seed)?)
                }
            };
            Ok(Self(Arc::new(Locked::new(search))))
        })
    }

    /// Beam i has row `rows[i]` of `values` [R, V], which are "logits", "log_probs" or "processed"; returns
    /// (row, token, score) of each beam that goes on, best first.
    fn step(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        rows: Vec<u32>,
        kind: &str,
        banked: Vec<Progress>,
    ) -> PyResult<Vec<Next>> {
        let values = LogitRows::borrow(values)?;
        enter(py, || {
            let rows = rows_of(&values, &rows, kind)?;
            let mut search = lock(&self.0);
            Ok(next(match &mut *search {
                Search::Drawn(search) if banked.is_empty() => search.step(&rows)?,
                search => search.beams()?.step_banked(&rows, &mut banked_of(&banked))?,
            }))
        })
    }

    /// The first half of a step with a scorer: (beam, token, score, whether it would end its text) of the continuations
    /// to be scored.
    fn extend(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        rows: Vec<u32>,
        kind: &str,
        banked: Vec<Progress>,
        most: usize,
    ) -> PyResult<Vec<(u32, Token, f32, bool)>> {
        let values = LogitRows::borrow(values)?;
        enter(py, || {
            let rows = rows_of(&values, &rows, kind)?;
            let mut search = lock(&self.0);
            let found = search.beams()?.extend(&rows, &mut banked_of(&banked), most)?;
            Ok(found.into_iter().map(|(kept, ends)| (kept.row, kept.token, kept.score, ends)).collect())
        })
    }

    /// The second half: what to add to the score of each, and whether it may be a hypothesis.
    fn choose(&self, py: Python<'_>, bonus: Vec<f32>, accepts: Vec<bool>) -> PyResult<Vec<Next>> {
        enter(py, || Ok(next(lock(&self.0).beams()?.choose(&bonus, &accepts)?)))
    }

    /// (beams as int32 bytes, tokens as int32 bytes, scores as float32 bytes) of the best candidates of each step.
    #[expect(clippy::type_complexity, reason = "three arrays per step")]
    fn candidates(&self, py: Python<'_>) -> PyResult<Vec<(Py<PyBytes>, Py<PyBytes>, Py<PyBytes>)>> {
        let kept = enter(py, || {
            Ok(match &*lock(&self.0) {
                Search::Beams(search) => search.candidates().to_vec(),
                Search::Drawn(_) => Vec::new(),
            })
        })?;
        let bytes = |bytes: Vec<u8>| PyBytes::new(py, &bytes).unbind();
        let steps = kept.iter().map(|step| {
            (
                bytes(bytes_of(step, |kept| kept.row.to_ne_bytes())),
                bytes(bytes_of(step, |kept| kept.token.to_ne_bytes())),
                bytes(bytes_of(step, |kept| kept.score.to_ne_bytes())),
            )
        });
        Ok(steps.collect())
    }

    /// The texts that were beams or hypotheses, as a tree whose node 0 is the prompt: parents, tokens, rows and groups
    /// as int32 bytes, log-probabilities as float32 bytes, a byte per node that is 1 where the text ended.
    #[expect(clippy::type_complexity, reason = "six arrays")]
    fn lattice(
        &self,
        py: Python<'_>,
    ) -> PyResult<(Py<PyBytes>, Py<PyBytes>, Py<PyBytes>, Py<PyBytes>, Py<PyBytes>, Py<PyBytes>)> {
        let nodes = enter(py, || {
            Ok(match &*lock(&self.0) {
                Search::Beams(search) => search.lattice(),
                Search::Drawn(search) => search.lattice(),
            })
        })?;
        let bytes = |bytes: Vec<u8>| PyBytes::new(py, &bytes).unbind();
        Ok((
            bytes(bytes_of(&nodes, |node| node.parent.to_ne_bytes())),
            bytes(bytes_of(&nodes, |node| node.token.to_ne_bytes())),
            bytes(bytes_of(&nodes, |node| node.row.to_ne_bytes())),
            bytes(bytes_of(&nodes, |node| node.group.to_ne_bytes())),
            bytes(bytes_of(&nodes, |node| node.step.to_ne_bytes())),
            bytes(nodes.iter().map(|node| u8::from(node.fate == search::Fate::Ended)).collect()),
        ))
    }

    /// Writes the log-probabilities [beams, V] after the built-in rules into `out`.
    fn write_rows(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        rows: Vec<u32>,
        kind: &str,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let values = LogitRows::borrow(values)?;
        let mut out = F32Out::borrow(out, "out", rows.len() * values.shape.1)?;
        enter(py, || {
            let (rows, out) = (rows_of(&values, &rows, kind)?, out.as_mut_slice());
            match &mut *lock(&self.0) {
                Search::Beams(search) => search.write_rows(&rows, out),
                Search::Drawn(search) => search.write_rows(&rows, out),
            }
        })
    }

    /// Number of live beams.
    #[getter]
    fn live(&self, py: Python<'_>) -> PyResult<usize> {
        enter(py, || {
            Ok(match &*lock(&self.0) {
                Search::Beams(search) => search.live(),
                Search::Drawn(search) => search.live(),
            })
        })
    }

    /// Whether the search has ended.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        enter(py, || {
            Ok(match &*lock(&self.0) {
                Search::Beams(search) => search.is_done(),
                Search::Drawn(search) => search.is_done(),
            })
        })
    }

    /// The best hypotheses so far, best first.
    fn hypotheses(&self, py: Python<'_>) -> PyResult<Vec<Found>> {
        let found = enter(py, || {
            Ok(match &*lock(&self.0) {
                Search::Beams(search) => search.hypotheses(),
                Search::Drawn(search) => search.hypotheses(),
            })
        })?;
        let bytes = |bytes: Vec<u8>| PyBytes::new(py, &bytes).unbind();
        let found = found.into_iter().map(|h| {
            let reason = match h.finish {
                FinishReason::Stop => "stop",
                FinishReason::Length => "length",
                FinishReason::Constraint => "constraint",
            };
            (
                bytes(bytes_of(&h.tokens, u32::to_ne_bytes)),
                h.score,
                h.raw_score,
                reason,
                h.stop,
                h.group,
                h.log_weight,
                bytes(bytes_of(&h.step_scores, f32::to_ne_bytes)),
                bytes(bytes_of(&h.beam_indices, u32::to_ne_bytes)),
            )
        });
        Ok(found.collect())
    }
}

fn next(survivors: &[search::Survivor]) -> Vec<Next> {
    survivors.iter().map(|s| (s.row, s.token, s.score)).collect()
}

fn banked_of(banked: &[Progress]) -> Vec<Banked> {
    let one = |&(row, token, progress, done): &Progress| Banked { row, token, progress, done };
    banked.iter().map(one).collect()
}

/// Values and width of an array [V, width].
fn embedding_of(py: Python<'_>, array: Option<PyBuffer<f32>>) -> PyResult<Option<(Vec<f32>, usize)>> {
    let one = |array: PyBuffer<f32>| Ok((array.to_vec(py)?, array.shape().get(1).copied().unwrap_or(0)));
    array.map(one).transpose()
}

fn diversity_of(kind: &str, embedding: Option<(Vec<f32>, usize)>) -> Result<DiversityKind> {
    match (kind, embedding) {
        ("hamming", _) => Ok(DiversityKind::Hamming),
        ("cumulative", _) => Ok(DiversityKind::Cumulative),
        ("ngram", _) => Ok(DiversityKind::Ngram),
        ("embedding", Some((values, width))) => Ok(DiversityKind::Embedding(Embedding::new(values, width)?)),
        ("embedding", None) => Err(Error::invalid(
            "diversity_embedding",
            "an array [V, d] with diversity=\"embedding\"",
            "None",
            "",
        )),
        _ => Err(Error::invalid("diversity", "hamming, cumulative, ngram or embedding", kind, "")),
    }
}

fn rows_of<'a>(values: &'a LogitRows, order: &'a [u32], kind: &str) -> Result<Rows<'a>> {
    let result = RowResult::full(values.as_slice(), values.shape.0, values.shape.1)?;
    let rows = match kind {
        "logits" => Rows::logits(result),
        "log_probs" => Rows::log_probs(result),
        "processed" => Rows::processed(result),
        _ => {
            return Err(Error::invalid("the kind of rows", "logits, log_probs or processed", kind, ""));
        }
    };
    rows.in_order(order)
}

//! `Index`: one or several index files, queried without the interpreter's lock.

use crate::corpus::Corpus;
use crate::enter::{enter, lock};
use crate::events::bytes_of;
use draftwood_base::{Error, Result, Token};
use draftwood_retrieve::index::{self as core, FollowerLists, Group, Matcher, Phase, Tier};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::path::PathBuf;
use std::sync::Arc;

/// (token ids uint32, counts uint64, how often the n-gram ends a document).
type Followers<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, u64);
/// (start, end, count, places int64 [n, 2]).
type Span<'py> = (u64, u64, u64, Bound<'py, PyBytes>);

/// The right to build one path, and the folder for what the build keeps.
#[pyclass(frozen, module = "draftwood._core")]
pub struct IndexClaim(core::Claim);

#[pymethods]
impl IndexClaim {
    /// Refused while another build of the path is running.
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(Self(enter(py, || core::Claim::take(&path))?))
    }

    /// The folder that a build of `path` keeps its files in.
    #[staticmethod]
    fn folder_of(path: PathBuf) -> PathBuf {
        core::Claim::folder_of(&path)
    }

    /// That folder.
    #[getter]
    fn folder(&self) -> PathBuf {
        self.0.folder().to_owned()
    }

    /// Removes what waits in the folder.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, || {
            self.0.clear();
            Ok(())
        })
    }

    /// Gives the path back.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, || {
            self.0.release();
            Ok(())
        })
    }
}

/// Opened index files; frozen, and shared by any number of threads.
#[pyclass(frozen, module = "draftwood._core")]
pub struct Index {
    pub(crate) group: Arc<Group>,
    paths: Vec<PathBuf>,
}

#[pymethods]
impl Index {
    /// Writes the index of a corpus to the path of a claim; `progress` is called with the name of each phase that begins.
    #[staticmethod]
    #[pyo3(signature = (corpus, claim, tier, fingerprint=None, progress=None))]
    fn build(
        py: Python<'_>,
        corpus: &Corpus,
        claim: &IndexClaim,
        tier: &str,
        fingerprint: Option<Vec<u8>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let mut failure = None;
        let built = enter(py, || {
            let tier = tier_of(tier)?;
            let fingerprint = fingerprint.map(|bytes| fingerprint_of(&bytes)).transpose()?;
            let corpus = lock(&corpus.0);
            core::Index::build_claimed(&corpus, tier, fingerprint, &claim.0, |phase| {
                if let (Some(progress), None) = (&progress, &failure) {
                    failure = Python::attach(|py| progress.call1(py, (name_of(phase),))).err();
                }
            })
        });
        match failure {
            Some(error) => Err(error),
            None => built.map(drop),
        }
    }

    /// Opens files as one index.
    #[staticmethod]
    fn open(py: Python<'_>, paths: Vec<PathBuf>) -> PyResult<Self> {
        let group = enter(py, || {
            Group::new(paths.iter().map(|path| core::Index::open(path)).collect::<Result<_>>()?)
        })?;
        Ok(Self { group: Arc::new(group), paths })
    }

    /// Number of documents.
    #[getter]
    fn documents(&self) -> u64 {
        self.group.documents()
    }

    /// Number of tokens.
    #[getter]
    fn tokens(&self) -> u64 {
        self.group.tokens()
    }

    /// SHA-256 of the tokenizer's table, if one was given.
    #[getter]
    fn fingerprint(&self) -> Option<[u8; 32]> {
        self.group.fingerprint()
    }

    /// The poorest tier of the files.
    #[getter]
    fn tier(&self) -> &'static str {
        tier_name(self.group.tier())
    }

    fn count(&self, py: Python<'_>, ids: PyBuffer<u32>, anchored: bool) -> PyResult<u64> {
        let ids = ids.to_vec(py)?;
        enter(py, || self.group.count(&ids, anchored))
    }

    /// The counts of many n-grams (uint64); their ids lie one after the other, `lengths` of them each (uint32 buffers).
    fn counts<'py>(
        &self,
        py: Python<'py>,
        ids: PyBuffer<u32>,
        lengths: PyBuffer<u32>,
        anchored: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (ids, lengths, mut counts) = (ids.to_vec(py)?, lengths.to_vec(py)?, Vec::new());
        enter(py, || {
            let (mut rest, mut ngrams) = (ids.as_slice(), Vec::with_capacity(lengths.len()));
            for &length in &lengths {
                let Some((ngram, behind)) = rest.split_at_checked(length as usize) else {
                    return Err(Error::invalid("lengths", "those of all ids", "more", ""));
                };
                ngrams.push(ngram);
                rest = behind;
            }
            self.group.count_all(&ngrams, anchored, &mut counts)
        })?;
        Ok(PyBytes::new(py, &bytes_of(&counts, u64::to_le_bytes)))
    }

    fn next_tokens<'py>(
        &self,
        py: Python<'py>,
        ids: PyBuffer<u32>,
        top: Option<usize>,
        anchored: bool,
    ) -> PyResult<Followers<'py>> {
        let ids = ids.to_vec(py)?;
        let (mut rows, mut lists) = (Vec::new(), FollowerLists::default());
        enter(py, || {
            self.group.find(&ids, anchored, &mut rows)?;
            self.group.next(&rows, top, &mut lists)
        })?;
        Ok(followers_of(py, &lists))
    }

    /// Document and offset of each place, int64 [n, 2].
    fn locate<'py>(
        &self,
        py: Python<'py>,
        ids: PyBuffer<u32>,
        limit: usize,
        anchored: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let ids = ids.to_vec(py)?;
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        enter(py, || {
            if ids.is_empty() {
                return Err(Error::invalid("ids", "at least one token", 0, "the empty n-gram is everywhere"));
            }
            self.group.find(&ids, anchored, &mut rows)?;
            self.group.locate(&rows, ids.len() as u32, limit, &mut places)
        })?;
        Ok(bytes_of_places(py, &places))
    }

    /// The longest suffix of `ids` that occurs: its length, its count, and its followers.
    fn suffix<'py>(&self, py: Python<'py>, ids: PyBuffer<u32>) -> PyResult<(usize, u64, Followers<'py>)> {
        let ids = ids.to_vec(py)?;
        let (mut matcher, mut rows, mut lists) = (Matcher::default(), Vec::new(), FollowerLists::default());
        let (length, count) = enter(py, || {
            let found = self.group.longest_suffix(&ids, &mut matcher, &mut rows)?;
            self.group.next(&rows, None, &mut lists)?;
            Ok(found)
        })?;
        Ok((length, count, followers_of(py, &lists)))
    }

    fn attribute<'py>(
        &self,
        py: Python<'py>,
        ids: PyBuffer<u32>,
        min_length: u64,
        places: usize,
    ) -> PyResult<Vec<Span<'py>>> {
        let ids = ids.to_vec(py)?;
        let spans = enter(py, || self.group.attribute(&ids, min_length, places))?;
        Ok(spans
            .iter()
            .map(|span| (span.start, span.end, span.count, bytes_of_places(py, &span.places)))
            .collect())
    }

    /// Tokens `start .. stop` of a document, uint32.
    fn extract<'py>(
        &self,
        py: Python<'py>,
        document: u64,
        start: u32,
        stop: u32,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut ids = Vec::new();
        enter(py, || self.group.extract(document, start, stop, &mut ids))?;
        Ok(bytes_of_ids(py, &ids))
    }

    fn document_length(&self, py: Python<'_>, document: u64) -> PyResult<u32> {
        enter(py, || self.group.document_length(document))
    }

    /// Name and title of a document.
    fn name(&self, py: Python<'_>, document: u64) -> PyResult<(String, String)> {
        let name = enter(py, || self.group.name(document))?;
        Ok((name.id, name.title))
    }

    /// The tokens that end titles, uint32.
    fn title_end<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let ids = enter(py, || self.group.title_end())?;
        Ok(bytes_of_ids(py, &ids))
    }

    /// Per file: path, tier, documents, tokens, distinct tokens, bytes, bytes of each section, fingerprint.
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let describe = |(part, path): (&core::Index, &PathBuf)| {
            let (bytes, sections) = part.sizes();
            let dict = PyDict::new(py);
            dict.set_item("path", path.display().to_string())?;
            dict.set_item("tier", tier_name(part.tier()))?;
            dict.set_item("documents", part.documents())?;
            dict.set_item("tokens", part.tokens())?;
            dict.set_item("distinct", part.distinct())?;
            dict.set_item("bytes", bytes)?;
            dict.set_item("sections", sections)?;
            dict.set_item("fingerprint", part.fingerprint().map(|bytes| PyBytes::new(py, &bytes)))?;
            Ok(dict)
        };
        self.group.parts().iter().zip(&self.paths).map(describe).collect()
    }

    /// Compares every checksum; `progress` is called with the part done, 0 … 1.
    #[pyo3(signature = (progress=None))]
    fn verify(&self, py: Python<'_>, progress: Option<Py<PyAny>>) -> PyResult<()> {
        let (mut failure, parts) = (None, self.group.parts());
        let verified = enter(py, || {
            parts.iter().enumerate().try_for_each(|(i, part)| {
                part.verify(|done| {
                    if let (Some(progress), None) = (&progress, &failure) {
                        let done = (i as f64 + done) / parts.len() as f64;
                        failure = Python::attach(|py| progress.call1(py, (done,))).err();
                    }
                })
            })
        });
        failure.map_or(verified, Err)
    }
}

const TIERS: [(&str, Tier); 4] =
    [("tiny", Tier::Tiny), ("compact", Tier::Compact), ("standard", Tier::Standard), ("fast", Tier::Fast)];

fn tier_of(name: &str) -> Result<Tier> {
    let known = TIERS.into_iter().find(|tier| tier.0 == name);
    known
        .map(|tier| tier.1)
        .ok_or_else(|| Error::invalid("tier", "tiny, compact, standard or fast", format!("\"{name}\""), ""))
}

fn tier_name(tier: Tier) -> &'static str {
    TIERS.into_iter().find(|known| known.1 == tier).map_or("", |known| known.0)
}

fn fingerprint_of(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::invalid("fingerprint", "32 bytes", bytes.len(), ""))
}

fn name_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Sort => "sort",
        Phase::Transform => "transform",
        Phase::Places => "places",
        Phase::Lists => "lists",
    }
}

fn bytes_of_ids<'py>(py: Python<'py>, ids: &[Token]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &bytes_of(ids, u32::to_le_bytes))
}

fn bytes_of_places<'py>(py: Python<'py>, places: &[(u64, u32)]) -> Bound<'py, PyBytes> {
    let place = |(document, offset)| (u128::from(document) | u128::from(offset) << 64).to_le_bytes();
    PyBytes::new(py, &bytes_of::<(u64, u32), 16>(places, place))
}

/// The followers of the first n-gram of `lists`.
fn followers_of<'py>(py: Python<'py>, lists: &FollowerLists) -> Followers<'py> {
    let list = lists.list(0);
    let ids = PyBytes::new(py, &bytes_of(list, |(id, _)| id.to_le_bytes()));
    let counts = PyBytes::new(py, &bytes_of(list, |(_, count)| count.to_le_bytes()));
    (ids, counts, lists.document_ends(0))
}

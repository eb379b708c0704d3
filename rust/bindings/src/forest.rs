//! Drafts on their way into a session.

use crate::enter::{enter, lock};
use crate::views::Views;
use draftwood_base::{Error, Locked, Result};
use draftwood_tree::{Drafter, View, validate};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

/// One tree per view of a step.
#[pyclass(frozen, module = "draftwood._core")]
#[derive(Default)]
pub struct Forest(pub(crate) Locked<draftwood_tree::Forest>);

#[pymethods]
impl Forest {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        enter(py, || Ok(lock(&self.0).len()))
    }

    /// Forgets all trees.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        enter(py, || {
            lock(&self.0).clear();
            Ok(())
        })
    }

    /// Adds the tree of view `i` without a draft.
    fn add_root(&self, views: &Views, i: usize, py: Python<'_>) -> PyResult<()> {
        let root = views.item(py, i)?.root;
        enter(py, || {
            let mut forest = lock(&self.0);
            forest.open(root);
            forest.close();
            Ok(())
        })
    }

    /// Drops nodes of tree `i`, and those below them.
    fn drop_nodes(&self, py: Python<'_>, i: usize, nodes: Vec<u32>) -> PyResult<()> {
        enter(py, || {
            let mut forest = lock(&self.0);
            if i >= forest.len() {
                return Err(Error::invalid("a tree", format!("below {}", forest.len()), i, ""));
            }
            forest.drop_nodes(i, &nodes);
            Ok(())
        })
    }

    /// Adds the tree of view `i` after checking it; a wrong tree adds nothing.
    #[pyo3(signature = (views, i, tokens, parents, prob=None))]
    fn add(
        &self,
        views: &Views,
        i: usize,
        tokens: PyBuffer<i64>,
        parents: PyBuffer<i64>,
        prob: Option<PyBuffer<f32>>,
        py: Python<'_>,
    ) -> PyResult<()> {
        let (tokens, parents) = (tokens.to_vec(py)?, parents.to_vec(py)?);
        let prob = prob.map(|prob| prob.to_vec(py)).transpose()?;
        let item = views.item(py, i)?;
        enter(py, || {
            validate(&tokens, &parents, views.vocab, item.root, item.budget as usize)?;
            let prob = checked_prob(prob, tokens.len())?;
            let mut forest = lock(&self.0);
            forest.open(item.root);
            for node in 1..tokens.len() {
                forest.push(
                    parents[node] as u32,
                    tokens[node] as u32,
                    prob.as_ref().map_or(f32::NAN, |p| p[node]),
                );
            }
            forest.close();
            Ok(())
        })
    }
}

fn checked_prob(prob: Option<Vec<f32>>, nodes: usize) -> Result<Option<Vec<f32>>> {
    let Some(prob) = prob else { return Ok(None) };
    if prob.len() != nodes || prob.iter().any(|p| !(0.0..=1.0).contains(p)) {
        let hint = "prob[i] is the probability of node i given its parent; prob[0] is 1";
        return Err(Error::invalid(
            "Tree.prob",
            format!("{nodes} values in 0 … 1"),
            format!("{prob:?}"),
            hint,
        ));
    }
    Ok(Some(prob))
}

/// Lets a Rust drafter fill `forest` for all views of a step, with the interpreter released.
pub fn propose(
    py: Python<'_>,
    views: &Views,
    drafter: &Locked<dyn Drafter>,
    forest: &Forest,
) -> PyResult<()> {
    enter(py, || {
        let session = lock(&views.session);
        let list: Vec<View<'_>> = session.views().collect();
        let mut forest = lock(&forest.0);
        forest.clear();
        lock(drafter).propose_batch(&list, &mut forest)
    })
}

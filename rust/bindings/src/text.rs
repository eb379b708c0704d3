//! Token bytes: built once per tokenizer, shared by its sessions.

use crate::enter::enter;
use draftwood_base::{Error, Token};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Arc;

/// Bytes of every token of a tokenizer.
#[pyclass(frozen, module = "draftwood._core")]
pub struct TokenBytes {
    pub(crate) inner: Arc<draftwood_text::TokenBytes>,
}

#[pymethods]
impl TokenBytes {
    /// From the spellings of a byte-level vocabulary, by id; None is a hole, `control` ids have no bytes.
    #[staticmethod]
    fn from_byte_level(
        py: Python<'_>,
        tokens: Vec<Option<String>>,
        control: Vec<Token>,
    ) -> PyResult<TokenBytes> {
        let inner = enter(py, || {
            draftwood_text::TokenBytes::from_byte_level(tokens.iter().map(Option::as_deref), &control)
        })?;
        Ok(TokenBytes { inner: Arc::new(inner) })
    }

    /// From the bytes of each id.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, tokens: Vec<Option<Vec<u8>>>, control: Vec<Token>) -> PyResult<TokenBytes> {
        let inner = enter(py, || {
            draftwood_text::TokenBytes::from_bytes(tokens.iter().map(Option::as_deref), &control)
        })?;
        Ok(TokenBytes { inner: Arc::new(inner) })
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    /// Bytes of `id`: none for control tokens and holes.
    fn get<'py>(&self, py: Python<'py>, id: Token) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.get(id))
    }

    /// Whether `id` has a token, text or control.
    fn exists(&self, id: Token) -> bool {
        self.inner.exists(id)
    }

    /// Whether `id` is a control token.
    fn is_control(&self, id: Token) -> bool {
        self.inner.is_control(id)
    }

    /// Control ids, ascending.
    fn control_ids(&self) -> Vec<Token> {
        self.inner.control_ids().collect()
    }

    /// Ids without a token, ascending.
    fn holes(&self) -> Vec<Token> {
        self.inner.holes().collect()
    }

    /// Text of `ids` (int32 buffer); broken UTF-8 becomes U+FFFD as in `bytes.decode("utf-8", "replace")`.
    fn decode(&self, py: Python<'_>, ids: PyBuffer<i32>) -> PyResult<String> {
        let ids = ids.to_vec(py)?;
        enter(py, || {
            let mut tokens = Vec::with_capacity(ids.len());
            for (i, &id) in ids.iter().enumerate() {
                match Token::try_from(id) {
                    Ok(token) if (token as usize) < self.inner.len() => tokens.push(token),
                    _ => {
                        let expected = format!("0 … {}", self.inner.len().saturating_sub(1));
                        return Err(Error::invalid(format!("ids[{i}]"), expected, id, ""));
                    }
                }
            }
            Ok(self.inner.decode(tokens))
        })
    }

    /// What a fingerprint covers, padding ids cut: per id its kind (0 hole, 1 text, 3 control), length and bytes.
    fn canonical<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.canonical())
    }
}

/// The text, the same as pieces (is it a control token, text), and whether the text may be encoded whole.
type Rendered = (String, Vec<(bool, String)>, bool);

/// A parsed chat template with the control tokens of its tokenizer.
#[pyclass(frozen, module = "draftwood._core")]
pub struct ChatTemplate(draftwood_text::ChatTemplate);

#[pymethods]
impl ChatTemplate {
    #[new]
    fn new(py: Python<'_>, source: &str, control: Vec<String>) -> PyResult<Self> {
        enter(py, || draftwood_text::ChatTemplate::new(source, &control)).map(Self)
    }

    /// Renders the data, a JSON object, with special tokens by the names that templates use.
    fn render(&self, py: Python<'_>, variables: &str, tokens: Vec<(String, String)>) -> PyResult<Rendered> {
        let rendered = enter(py, || self.0.render(variables, &tokens))?;
        let segments = rendered.segments.into_iter().map(|s| (s.is_control, s.text)).collect();
        Ok((rendered.text, segments, rendered.is_plain))
    }
}

//! Token bytes.
use pyo3::prelude::*;
use std::sync::Arc;

/// Bytes of every token of a tokenizer.
#[pyclass(frozen, module = "draftwood._core")]
pub struct TokenBytes {
    pub(crate) inner: Arc<draftwood_text::TokenBytes>,
}

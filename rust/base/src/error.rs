//! The one error type of the workspace. Each variant becomes one Python class in `bindings/errors.rs`.

use std::fmt;

/// Result with the workspace's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// "`what` must be `expected`, got `got`", and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The name a user gave or sees: an argument, a file field, a node of a tree.
    pub what: String,
    /// The accepted values, in words.
    pub expected: String,
    /// The value that came.
    pub got: String,
    /// The next action; empty when there is nothing to add.
    pub hint: String,
}

impl Mismatch {
    fn boxed(
        what: impl Into<String>,
        expected: impl Into<String>,
        got: impl fmt::Display,
        hint: impl Into<String>,
    ) -> Box<Self> {
        Box::new(Self {
            what: what.into(),
            expected: expected.into(),
            got: got.to_string(),
            hint: hint.into(),
        })
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be {}, got {}", self.what, self.expected, self.got)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

/// Everything that can go wrong, by who can mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A caller's value is outside its contract.
    #[error("{0}")]
    InvalidArgument(Box<Mismatch>),
    /// A model file is damaged, truncated or hostile.
    #[error("{file}: at byte {offset}: {problem}")]
    ModelFormat {
        /// Path as the user gave it.
        file: String,
        /// Byte offset of the field that failed.
        offset: u64,
        /// What the field must be.
        problem: Box<Mismatch>,
    },
    /// A retrieval index is damaged, truncated or hostile.
    #[error("{file}: at byte {offset}: {problem}")]
    IndexFormat {
        /// Path as the user gave it.
        file: String,
        /// Byte offset of the field or block that failed.
        offset: u64,
        /// What it must be.
        problem: Box<Mismatch>,
    },
    /// The page pool cannot hold what was asked for.
    #[error("cache pages must cover the request: {needed} pages needed, {free} of {total} free; {hint}")]
    OutOfPages {
        /// Pages that the request books.
        needed: u32,
        /// Pages not booked by others.
        free: u32,
        /// Pages of the pool.
        total: u32,
        /// The next action.
        hint: String,
    },
    /// The file is sound, but asks for something that is not built.
    #[error("{what} is not supported; {hint}")]
    UnsupportedModel {
        /// Architecture, tensor type, tokenizer or config key.
        what: String,
        /// The next action.
        hint: String,
    },
    /// A broken invariant of ours.
    #[error("internal error: {0}; please report it with the steps that led here")]
    Internal(String),
}

impl Error {
    /// [`Error::InvalidArgument`] from its four parts.
    pub fn invalid(
        what: impl Into<String>,
        expected: impl Into<String>,
        got: impl fmt::Display,
        hint: impl Into<String>,
    ) -> Self {
        Error::InvalidArgument(Mismatch::boxed(what, expected, got, hint))
    }

    /// [`Error::ModelFormat`] at a byte of a file.
    pub fn model_format(
        file: impl Into<String>,
        offset: u64,
        what: impl Into<String>,
        expected: impl Into<String>,
        got: impl fmt::Display,
        hint: impl Into<String>,
    ) -> Self {
        Error::ModelFormat { file: file.into(), offset, problem: Mismatch::boxed(what, expected, got, hint) }
    }

    /// [`Error::IndexFormat`] at a byte of a file.
    pub fn index_format(
        file: impl Into<String>,
        offset: u64,
        what: impl Into<String>,
        expected: impl Into<String>,
        got: impl fmt::Display,
        hint: impl Into<String>,
    ) -> Self {
        Error::IndexFormat { file: file.into(), offset, problem: Mismatch::boxed(what, expected, got, hint) }
    }
}

//! How a template ends before its end.

/// Why a template could not be parsed or rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fail {
    /// `raise_exception(words)`: the template refuses the conversation.
    Raised(String),
    /// Outside the language, or an operation that its values do not have.
    Error {
        /// Line of the template, from 1; 0 if it is not known yet.
        line: u32,
        /// What is wrong.
        message: String,
    },
    /// The work limit was reached.
    OutOfWork,
}

impl Fail {
    pub(super) fn syntax(line: u32, message: impl Into<String>) -> Self {
        Fail::Error { line, message: message.into() }
    }

    pub(super) fn error(message: impl Into<String>) -> Self {
        Fail::Error { line: 0, message: message.into() }
    }

    /// Adds the line where it is missing.
    pub(super) fn at(self, at: u32) -> Self {
        match self {
            Fail::Error { line: 0, message } => Fail::Error { line: at, message },
            other => other,
        }
    }
}

/// Work that a template may still do. Every step costs, and so does every byte and every slot that it makes or reads;
/// so time and memory are bounded by one number.
#[derive(Debug)]
pub(crate) struct Fuel {
    left: u64,
}

/// Cost of one step of evaluation; a byte costs 1.
pub(super) const STEP: u64 = 16;
/// Cost of one slot of a list.
pub(super) const SLOT: u64 = 32;

impl Fuel {
    pub(crate) fn new(units: u64) -> Self {
        Self { left: units }
    }

    #[inline]
    pub(super) fn spend(&mut self, units: u64) -> Result<(), Fail> {
        match self.left.checked_sub(units) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                // Stays empty: code that swallows one error must not go on.
                self.left = 0;
                Err(Fail::OutOfWork)
            }
        }
    }
}

//! The one door into Rust: every call that computes goes through [`enter`].

use crate::errors;
use draftwood_base::{Error, Result};
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Runs `work` with the interpreter released, so that other Python threads go on. A panic inside becomes one
/// `InternalError`; it never unwinds into Python.
pub fn enter<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)))
        .unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic without a message".to_owned());
            Err(Error::Internal(text))
        })
        .map_err(|error| errors::raise(py, error))
}

/// Locks a core object. To be called inside [`enter`]: waiting with the interpreter held could deadlock.
///
/// A panic of an earlier call may have left the object half-changed; the door has reported it as `InternalError`, and
/// the object's own checks decide what it still answers.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

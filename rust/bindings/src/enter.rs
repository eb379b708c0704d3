//! The one door into Rust: every call that computes goes through [`enter`].

use crate::errors;
use draftwood_base::{Error, Guard, Locked, Result};
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Runs `work` with the interpreter released, so that other Python threads go on. A panic inside becomes one
/// `InternalError`, unless an [`Error`] was thrown; it never unwinds into Python.
pub fn enter<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)))
        .unwrap_or_else(|panic| {
            let panic = match panic.downcast::<Error>() {
                Ok(error) => return Err(*error),
                Err(panic) => panic,
            };
            let text = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic without a message".to_owned());
            Err(Error::Internal(text))
        })
        .map_err(|error| errors::raise(py, error))
}

/// Locks a core object. To be called inside [`enter`]: waiting with the interpreter held could deadlock, and the door
/// catches the error that is thrown in a forked child, see [`Locked::lock`].
pub fn lock<T: ?Sized>(locked: &Locked<T>) -> Guard<'_, T> {
    locked.lock().unwrap_or_else(|error| resume_unwind(Box::new(error)))
}

/// Locks what is only touched with the interpreter held, so that no fork comes between.
pub fn unpoisoned<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

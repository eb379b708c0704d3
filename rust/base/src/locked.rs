//! A mutex that no forked child waits for.

use crate::{Error, Result, Taken, Turn};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A value for one thread at a time. A mutex alone would stay locked for ever in a child that is forked while another
/// thread holds it.
#[derive(Debug, Default)]
pub struct Locked<T: ?Sized> {
    /// Whoever locks `inner` takes it first.
    turn: Turn,
    inner: Mutex<T>,
}

/// The value, until this is dropped.
#[derive(Debug)]
pub struct Guard<'a, T: ?Sized> {
    // Dropped in this order.
    inner: MutexGuard<'a, T>,
    _taken: Taken<'a>,
}

impl<T> Locked<T> {
    /// Nobody has it yet.
    pub fn new(value: T) -> Self {
        Self { turn: Turn::default(), inner: Mutex::new(value) }
    }
}

impl<T: ?Sized> Locked<T> {
    /// Waits for the other threads of this process.
    ///
    /// A panic of an earlier holder may have left the value half-changed; its own checks decide what it still answers.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] in a child that was forked while another thread held it: it was left in the middle.
    pub fn lock(&self) -> Result<Guard<'_, T>> {
        let taken = self.turn.take().map_err(|holder| {
            Error::invalid(
                "an object in a forked process",
                "one that no thread was using when the process was forked",
                format!("one that process {holder} was using"),
                "make it anew in the child (a model: load it, or copy.copy its executor), or fork between calls",
            )
        })?;
        Ok(Guard { inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner), _taken: taken })
    }
}

impl<T: ?Sized> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_of_the_parent_holds_is_refused() {
        let locked = Locked::new(1);
        *locked.lock().unwrap() += 1;
        assert_eq!(*locked.lock().unwrap(), 2);
        locked.turn.leave_to(std::process::id() + 1);
        assert!(matches!(locked.lock().unwrap_err(), Error::InvalidArgument(_)));
    }

    #[test]
    fn a_panic_leaves_it_usable() {
        let locked = Locked::new(1);
        let work = std::panic::AssertUnwindSafe(|| {
            let _held = locked.lock();
            panic!("in the middle");
        });
        assert!(std::panic::catch_unwind(work).is_err());
        assert_eq!(*locked.lock().unwrap(), 1);
    }
}

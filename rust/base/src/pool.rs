//! Our own thread pool: one job is one whole forward step; its threads run the same program and meet at barriers.
//!
//! A barrier inside a job costs 0.3 µs, a parked thread up to 0.5 ms to wake: so threads spin first and park later. The
//! pool remembers its process: a forked child sees no threads and starts its own with its first job. Between jobs no
//! lock is held.

mod barrier;
mod count;
mod crew;
mod share;
mod team;

pub use count::{threads, threads_from};
pub use team::Team;

use crate::Turn;
use crew::Crew;
use std::cell::UnsafeCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Threads that work on one job at a time, the caller among them. They start with the first job.
pub struct Pool {
    threads: usize,
    spin: SpinLimits,
    /// Of the caller that runs a job or starts threads.
    turn: Turn,
    /// Only touched by whose turn it is.
    crew: UnsafeCell<Option<Crew>>,
}

// SAFETY: `crew` is reached by whose turn it is alone, one thread of a process at a time; the rest is atomic.
unsafe impl Sync for Pool {}
// SAFETY: as above; the crew's threads share nothing with the thread that made it.
unsafe impl Send for Pool {}

/// Locked for the length of a pointer copy.
static SHARED: Mutex<Option<Arc<Pool>>> = Mutex::new(None);

/// How long a thread spins before it parks: `hot` where jobs follow each other that closely, as the steps of a generation
/// do, `idle` otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpinLimits {
    pub idle: Duration,
    pub hot: Duration,
}

impl SpinLimits {
    /// With less processor time than processors, spinning burns what the work needs.
    fn new(quota: bool) -> Self {
        let micros = Duration::from_micros;
        if quota {
            Self { idle: micros(5), hot: micros(5) }
        } else {
            // Between two steps of a generation lie 0.1 to 0.2 ms, its caller's part included.
            Self { idle: micros(50), hot: micros(500) }
        }
    }
}

impl Pool {
    /// A pool of `threads` threads, at least 1.
    pub fn new(threads: usize) -> Self {
        Self {
            threads: threads.clamp(1, 1 << 10),
            spin: SpinLimits::new(count::has_quota()),
            turn: Turn::default(),
            crew: UnsafeCell::new(None),
        }
    }

    /// The pool that engines share: [`threads`] threads, or as many as [`Pool::share`] said last.
    pub fn shared() -> Arc<Pool> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shared.get_or_insert_with(|| Arc::new(Pool::new(threads()))))
    }

    /// Replaces the shared pool; steps that run finish on the old one, whose threads then end.
    pub fn share(threads: usize) {
        let new = Arc::new(Pool::new(threads));
        let old = SHARED.lock().unwrap_or_else(PoisonError::into_inner).replace(new);
        drop(old);
    }

    /// Number of threads, the caller included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `job` on every thread and returns when all are done. A second caller waits its turn. `job` must not call
    /// `run` of the same pool.
    ///
    /// # Panics
    /// If the job panics on any thread; the pool stays usable.
    pub fn run(&self, job: impl Fn(&mut Team<'_>) + Sync) {
        let taken = self.turn.take_over();
        if self.threads == 1 {
            Team::alone(&job);
            return;
        }
        // SAFETY: `taken` makes this thread the only one that touches `crew`.
        let crew = unsafe { &mut *self.crew.get() };
        let pid = std::process::id();
        if crew.as_ref().is_some_and(|crew| crew.pid != pid) {
            // The threads stayed in the parent. Their handles are left alone: joining or detaching threads that do not
            // exist is undefined.
            std::mem::forget(crew.take());
        }
        let crew = crew.get_or_insert_with(|| Crew::start(self.threads, self.spin));
        let panic = crew.run(&job);
        drop(taken);
        if let Some(payload) = panic {
            std::panic::resume_unwind(payload);
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(crew) = self.crew.get_mut().take() {
            if crew.pid == std::process::id() {
                crew.stop();
            } else {
                std::mem::forget(crew);
            }
        }
    }
}

#[cfg(test)]
mod tests;

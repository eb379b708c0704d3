//! A barrier that spins: threads that work in step are never late by more than a piece of work.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A value alone on its cache lines (two, because processors fetch lines in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Alone<T>(pub T);

/// Where all threads of a job meet.
#[derive(Debug)]
pub struct Barrier {
    threads: u32,
    arrived: Alone<AtomicU32>,
    round: Alone<AtomicU32>,
    /// A thread has panicked and will never arrive.
    broken: AtomicBool,
}

/// What the survivors of a panic unwind with; the pool reports the first panic instead.
pub struct Broken;

/// Spins before the processor is offered to others: about 50 µs.
const SPINS: u32 = 2_000;

impl Barrier {
    pub fn new(threads: usize) -> Self {
        Self {
            threads: threads as u32,
            arrived: Alone::default(),
            round: Alone::default(),
            broken: AtomicBool::new(false),
        }
    }

    /// Returns when all threads have come; what they wrote before is visible after.
    #[inline]
    pub fn wait(&self) {
        let round = self.round.0.load(Ordering::Relaxed);
        if self.arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.0.store(0, Ordering::Relaxed);
            self.round.0.store(round.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut spins = 0;
        while self.round.0.load(Ordering::Acquire) == round {
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
            if self.broken.load(Ordering::Relaxed) {
                std::panic::resume_unwind(Box::new(Broken));
            }
        }
    }

    /// Lets the waiting threads unwind.
    pub fn break_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Ready for the next job; only when no thread is inside.
    pub fn mend(&self) {
        self.arrived.0.store(0, Ordering::Relaxed);
        self.broken.store(false, Ordering::Relaxed);
    }
}

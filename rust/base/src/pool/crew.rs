//! The running threads of a pool in one process.

use super::SpinLimits;
use super::barrier::{Alone, Barrier, Broken};
use super::share::Shares;
use super::team::Team;
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// What a job's closure looks like to a thread; the lifetime is a lie that `Crew::run` keeps true by waiting.
type Job = *const (dyn Fn(&mut Team<'_>) + Sync);

pub struct Crew {
    pub pid: u32,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// When the last job ended.
    ended: Option<Instant>,
}

struct Shared {
    /// Counts jobs; a change is the signal to start.
    job_number: Alone<AtomicU32>,
    /// Workers that have finished the job.
    done: Alone<AtomicU32>,
    /// Written by the caller before `job_number`, read by workers after it.
    job: UnsafeCell<Option<Job>>,
    stop: AtomicBool,
    parked: Vec<Alone<AtomicBool>>,
    barrier: Barrier,
    shares: Shares,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    spin: SpinLimits,
    /// The last two jobs lay no further apart than [`SpinLimits::hot`]; written by the caller before a job.
    hot: AtomicBool,
}

// SAFETY: `job` is written only while no worker runs (all have added to `done`), and published by the release store of
// `job_number`; the closure behind it is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Crew {
    /// Fewer threads where the system starts no more.
    pub fn start(threads: usize, spin: SpinLimits) -> Self {
        let shared = Arc::new(Shared {
            job_number: Alone::default(),
            done: Alone::default(),
            job: UnsafeCell::new(None),
            stop: AtomicBool::new(false),
            parked: (1..threads).map(|_| Alone::default()).collect(),
            barrier: Barrier::new(threads),
            shares: Shares::new(threads),
            panic: Mutex::new(None),
            spin,
            hot: AtomicBool::new(false),
        });
        let worker = |index: usize| {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().name(format!("draftwood-{index}"));
            builder.spawn(move || shared.work(index)).ok()
        };
        let workers: Vec<_> = (1..threads).map_while(worker).collect();
        let started = workers.len() + 1;
        let crew = Self { pid: std::process::id(), shared, workers, ended: None };
        if started == threads {
            return crew;
        }
        crew.stop();
        Self::start(started, spin)
    }

    /// Runs the job on all threads, this one as thread 0; returns what a panic carried.
    pub fn run(&mut self, job: &(dyn Fn(&mut Team<'_>) + Sync)) -> Option<Box<dyn Any + Send>> {
        let shared = &*self.shared;
        let hot = self.ended.is_some_and(|ended| ended.elapsed() <= shared.spin.hot);
        shared.hot.store(hot, Ordering::Relaxed);
        shared.done.0.store(0, Ordering::Relaxed);
        shared.barrier.mend();
        shared.shares.reset();
        // SAFETY: only the lifetime changes. This function returns after every worker has finished with the closure,
        // whatever happens on this thread: `take_part` catches panics.
        let job: Job = unsafe { std::mem::transmute::<&(dyn Fn(&mut Team<'_>) + Sync), Job>(job) };
        // SAFETY: no worker reads `job` now: all have finished the job before, or have not seen one yet.
        unsafe { *shared.job.get() = Some(job) };
        // Sequentially consistent together with `parked`: either the worker sees the new number before it parks, or
        // this thread sees that it has parked.
        shared.job_number.0.fetch_add(1, Ordering::SeqCst);
        for (worker, parked) in self.workers.iter().zip(&shared.parked) {
            if parked.0.swap(false, Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        shared.take_part(0);
        let workers = self.workers.len() as u32;
        let mut spins = 0u32;
        while shared.done.0.load(Ordering::Acquire) != workers {
            spins += 1;
            if spins < 2_000 { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        self.ended = Some(Instant::now());
        shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether threads wait as long as inside a generation.
    #[cfg(test)]
    pub fn is_hot(&self) -> bool {
        self.shared.hot.load(Ordering::Relaxed)
    }

    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.job_number.0.fetch_add(1, Ordering::SeqCst);
        for worker in self.workers {
            worker.thread().unpark();
            // A worker catches the panics of its jobs, so there is nothing to report.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            seen = self.next_job(index, seen);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            self.take_part(index);
            self.done.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Spins, then parks, until there is a job after number `seen`.
    fn next_job(&self, index: usize, seen: u32) -> u32 {
        let parked = &self.parked[index - 1].0;
        loop {
            let began = Instant::now();
            loop {
                for _ in 0..64 {
                    let number = self.job_number.0.load(Ordering::Acquire);
                    if number != seen {
                        return number;
                    }
                    std::hint::spin_loop();
                }
                let hot = self.hot.load(Ordering::Relaxed);
                if began.elapsed() > if hot { self.spin.hot } else { self.spin.idle } {
                    break;
                }
            }
            parked.store(true, Ordering::SeqCst);
            while parked.load(Ordering::SeqCst) && self.job_number.0.load(Ordering::SeqCst) == seen {
                std::thread::park();
            }
            parked.store(false, Ordering::SeqCst);
        }
    }

    fn take_part(&self, index: usize) {
        // SAFETY: the caller wrote `job` before the number that this thread has seen, and keeps the closure alive until
        // this thread has added to `done`.
        let job = unsafe { (*self.job.get()).map(|job| &*job) };
        let Some(job) = job else { return };
        let run = || job(&mut Team::new(index, &self.barrier, &self.shares));
        if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            if first.is_none() && !payload.is::<Broken>() {
                *first = Some(payload);
            }
            self.barrier.break_up();
        }
    }
}

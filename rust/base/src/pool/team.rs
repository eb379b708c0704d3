//! What a job sees of the pool.

use super::barrier::Barrier;
use super::share::{PIECES, Shares};
use std::ops::Range;

/// One thread's part in a job. All threads of a job must call [`share`](Team::share) and [`meet`](Team::meet) in the
/// same order.
#[derive(Debug)]
pub struct Team<'a> {
    index: usize,
    round: u32,
    /// None for a thread that is alone.
    others: Option<(&'a Barrier, &'a Shares)>,
}

impl<'a> Team<'a> {
    pub(super) fn new(index: usize, barrier: &'a Barrier, shares: &'a Shares) -> Self {
        Self { index, round: 0, others: Some((barrier, shares)) }
    }

    pub(super) fn alone(job: &dyn Fn(&mut Team<'_>)) {
        job(&mut Team { index: 0, round: 0, others: None });
    }

    /// Number of this thread, from 0.
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Number of threads.
    #[inline]
    pub fn threads(&self) -> usize {
        self.others.map_or(1, |(_, shares)| shares.threads())
    }

    /// Waits until all threads are here; what they wrote before is visible after.
    #[inline]
    pub fn meet(&self) {
        if let Some((barrier, _)) = self.others {
            barrier.wait();
        }
    }

    /// Calls `work` with parts of `0..units` until all of it is taken: each thread its own contiguous part piece by
    /// piece, then pieces of threads that are late. Which thread does what must not matter to the result.
    pub fn share(&mut self, units: usize, work: impl FnMut(Range<usize>)) {
        let threads = self.threads();
        self.share_at(&|thread| units * thread / threads, work);
    }

    /// [`share`](Team::share) with chosen borders: thread `t` owns `border(t)..border(t + 1)`.
    pub fn share_at(&mut self, border: &dyn Fn(usize) -> usize, mut work: impl FnMut(Range<usize>)) {
        let Some((_, shares)) = self.others else {
            let all = border(0)..border(1);
            if !all.is_empty() {
                work(all);
            }
            return;
        };
        self.round += 1;
        let threads = shares.threads();
        for step in 0..threads {
            let owner = (self.index + step) % threads;
            let (start, end) = (border(owner), border(owner + 1));
            let len = end.saturating_sub(start);
            let pieces = len.min(PIECES);
            while let Some(piece) = shares.take(owner, self.round, pieces, step == 0) {
                work(start + len * piece / pieces..start + len * (piece + 1) / pieces);
            }
        }
    }
}

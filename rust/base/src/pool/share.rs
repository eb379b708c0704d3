//! Who takes which piece of work.
//!
//! Each thread owns a contiguous range, cut into pieces that it takes in order, so that memory is read as one stream. A
//! thread that is done takes pieces from the tail of another's range: nothing happens when nobody is late.

use super::barrier::Alone;
use std::sync::atomic::{AtomicU64, Ordering};

/// One word per thread: the round (which call of `Team::share` it speaks of), the next piece and the end.
#[derive(Debug)]
pub struct Shares(Vec<Alone<AtomicU64>>);

/// Most pieces of one range.
pub const PIECES: usize = 16;

#[derive(Clone, Copy)]
struct Word {
    round: u32,
    next: u16,
    end: u16,
}

impl Word {
    fn unpack(word: u64) -> Self {
        Self { round: (word >> 32) as u32, next: (word >> 16) as u16, end: word as u16 }
    }

    fn pack(self) -> u64 {
        u64::from(self.round) << 32 | u64::from(self.next) << 16 | u64::from(self.end)
    }
}

impl Shares {
    pub fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Alone::default()).collect())
    }

    pub fn threads(&self) -> usize {
        self.0.len()
    }

    /// Before a job, when no thread is inside.
    pub fn reset(&self) {
        self.0.iter().for_each(|word| word.0.store(0, Ordering::Relaxed));
    }

    /// The next piece of `owner`'s range of `pieces`, from the front for the owner and from the tail for others. A word
    /// of an earlier round says that nobody has begun: so a thread that is late loses pieces, not the round.
    pub fn take(&self, owner: usize, round: u32, pieces: usize, front: bool) -> Option<usize> {
        let word = &self.0[owner].0;
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let mut now = Word::unpack(seen);
            if now.round > round {
                return None;
            }
            if now.round < round {
                now = Word { round, next: 0, end: pieces as u16 };
            }
            if now.next == now.end {
                return None;
            }
            let piece = if front { now.next } else { now.end - 1 };
            if front {
                now.next += 1;
            } else {
                now.end -= 1;
            }
            // Relaxed: the word says who works, the barrier says when results are read.
            match word.compare_exchange_weak(seen, now.pack(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(piece.into()),
                Err(changed) => seen = changed,
            }
        }
    }
}

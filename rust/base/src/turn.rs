//! A lock whose holder is known by its process. A mutex that another thread holds stays locked for ever in a forked child;
//! here the child sees that whoever holds it stayed in the parent.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// For one thread at a time. Waiting is by looking again: for what is rarely contended, or held long.
#[derive(Debug, Default)]
pub struct Turn {
    /// Process id of the holder; 0 for nobody.
    holder: AtomicU32,
}

/// Somebody's turn, until it is dropped.
#[derive(Debug)]
pub struct Taken<'a>(&'a Turn);

impl Turn {
    /// Waits for the other threads of this process.
    ///
    /// # Errors
    /// The id of the process whose thread held it when this one was forked: what it guards was left in the middle.
    pub fn take(&self) -> Result<Taken<'_>, u32> {
        let pid = std::process::id();
        let mut tries = 0u32;
        while let Err(holder) = self.hand_over(0, pid) {
            if holder != pid {
                return Err(holder);
            }
            tries += 1;
            if tries < 100 {
                std::thread::yield_now();
            } else {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        Ok(Taken(self))
    }

    /// The same for what a child can begin anew: takes it from a thread that stayed in the parent.
    pub fn take_over(&self) -> Taken<'_> {
        loop {
            match self.take() {
                Ok(taken) => return taken,
                Err(left) if self.hand_over(left, std::process::id()).is_ok() => return Taken(self),
                Err(_) => {}
            }
        }
    }

    fn hand_over(&self, from: u32, to: u32) -> Result<u32, u32> {
        self.holder.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)
    }

    /// What a fork leaves if a thread of that process holds it.
    #[cfg(test)]
    pub(crate) fn leave_to(&self, process: u32) {
        self.holder.store(process, Ordering::Relaxed);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.holder.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_sees_who_stayed_in_the_parent() {
        let turn = Turn::default();
        drop(turn.take().unwrap());
        let parent = std::process::id().wrapping_add(1);
        turn.leave_to(parent);
        assert_eq!(turn.take().unwrap_err(), parent);
        drop(turn.take_over());
        drop(turn.take().unwrap());
    }
}

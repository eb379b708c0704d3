//! Work in two halves at once.
#![allow(unsafe_code)]

use std::sync::atomic::AtomicU32;
use std::thread;

/// Both results, the first one's by another thread where it is worth one and the system has one to give.
pub(crate) fn both<A: Send, B>(
    is_worth_it: bool,
    first: impl Fn() -> A + Sync,
    second: impl FnOnce() -> B,
) -> (A, B) {
    if !is_worth_it {
        return (first(), second());
    }
    thread::scope(|scope| match thread::Builder::new().spawn_scoped(scope, &first) {
        Ok(other) => {
            let second = second();
            (other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second)
        }
        Err(_) => (first(), second()),
    })
}

/// The same elements for two threads.
pub(crate) fn shared(elements: &mut [u32]) -> &[AtomicU32] {
    // SAFETY: an `AtomicU32` has the size, alignment and bits of a `u32`, and the exclusive borrow lives on in the result,
    // so nobody reads or writes them otherwise.
    unsafe { &*(std::ptr::from_mut(elements) as *const [AtomicU32]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn both_halves_are_done_and_a_panic_is_passed_on() {
        let mut elements = [1, 2, 3, 4];
        let all = shared(&mut elements);
        let add = |half: &[AtomicU32]| half.iter().map(|one| one.fetch_add(10, Relaxed)).sum::<u32>();
        let sums = both(true, || add(&all[..2]), || add(&all[2..]));
        assert_eq!((sums, both(false, || 1, || 2)), ((3, 7), (1, 2)));
        assert_eq!(elements, [11, 12, 13, 14]);
        let panicked = std::panic::catch_unwind(|| both(true, || panic!("first"), || ()));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"first"));
    }
}

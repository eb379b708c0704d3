//! Memory in huge pages: what is read and written at random, far beyond the caches, otherwise misses the address
//! translation nearly every time.
#![allow(unsafe_code)]

/// Least bytes worth it: several pages of 2 MiB.
#[cfg(all(target_os = "linux", not(miri)))]
const LEAST: usize = 16 << 20;
/// Addresses that the system takes are multiples of its pages, whichever of the usual sizes they have.
#[cfg(all(target_os = "linux", not(miri)))]
const ALIGN: usize = 64 << 10;

/// Memory for `count` elements, in huge pages where the system has them to give. Ask before it is written to.
pub(crate) fn with_capacity<T>(count: usize) -> Vec<T> {
    let mut memory = Vec::with_capacity(count);
    prefer(&mut memory);
    memory
}

/// `count` times `value`, likewise.
pub(crate) fn filled<T: Copy>(count: usize, value: T) -> Vec<T> {
    let mut memory = with_capacity(count);
    memory.resize(count, value);
    memory
}

/// Room for `count` elements, no more. A copy: memory that is moved to another address may lose its huge pages.
#[cold]
pub(crate) fn grow<T: Copy>(items: &mut Vec<T>, count: usize) {
    let mut larger = with_capacity(count);
    larger.extend_from_slice(items);
    *items = larger;
}

fn prefer<T>(memory: &mut Vec<T>) {
    #[cfg(all(target_os = "linux", not(miri)))]
    if memory.capacity() * size_of::<T>() >= LEAST {
        let start = memory.as_mut_ptr().cast::<u8>();
        let skipped = start.addr().next_multiple_of(ALIGN) - start.addr();
        let bytes = (memory.capacity() * size_of::<T>() - skipped) / ALIGN * ALIGN;
        // SAFETY: the range lies inside this allocation, and the advice changes nothing but which pages back it. A refusal
        // leaves small pages, which only cost time.
        unsafe { libc::madvise(start.wrapping_add(skipped).cast(), bytes, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = memory;
}

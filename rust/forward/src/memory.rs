//! Memory in huge pages: weights and cache are read front to back, and small pages cost a fifth of the bandwidth.

use draftwood_base::{Error, Result};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

const HUGE: usize = 2 << 20;
/// Address space that an arena asks for at a time.
const CHUNK: usize = 64 << 20;
const LINE: usize = 64;

/// Zeroed memory, aligned to a cache line, from 2 MiB on to 2 MiB. Physical pages come with the first write.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
    len: usize,
    /// Keeps the bytes mapped.
    _mapping: Arc<Mapping>,
}

// SAFETY: plain memory without interior mutability of its own; who writes where is the business of its users.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `len` zero bytes, in huge pages where the system gives them.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the system has no address space for it.
    pub fn zeroed(len: usize) -> Result<Self> {
        let mapping = Arc::new(Mapping::new(len)?);
        Ok(Self { start: mapping.start, len, _mapping: mapping })
    }

    /// Memory that ends where the next page may not be touched, or begins where the one before may not.
    #[cfg(test)]
    pub(crate) fn guarded(len: usize, end: bool) -> Self {
        const PAGE: usize = 4096;
        let inner = len.next_multiple_of(PAGE);
        let all = Mapping::new((inner + 2 * PAGE).min(HUGE - 1)).unwrap();
        assert!(all.len >= inner + 2 * PAGE, "{len} bytes between guards");
        // SAFETY: two pages and a place inside the mapping, which nobody else has.
        let start = unsafe {
            for guard in [0, PAGE + inner] {
                assert_eq!(libc::mprotect(all.start.as_ptr().add(guard).cast(), PAGE, libc::PROT_NONE), 0);
            }
            all.start.add(PAGE + if end { inner - len } else { 0 })
        };
        Self { start, len, _mapping: Arc::new(all) }
    }

    /// Address of the first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.len
    }
}

/// Memories one behind the other in shared mappings, so that those that are smaller than a huge page lie in huge pages
/// too: most matrices of a small model are. A mapping goes with the last of its memories.
#[derive(Debug, Default)]
pub struct Arena(Mutex<Option<Chunk>>);

#[derive(Debug)]
struct Chunk {
    mapping: Arc<Mapping>,
    used: usize,
}

impl Arena {
    /// As [`Memory::zeroed`], aligned to a cache line only.
    ///
    /// # Errors
    /// As there.
    pub fn zeroed(&self, len: usize) -> Result<Memory> {
        let mut chunk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if chunk.as_ref().is_none_or(|chunk| len > chunk.mapping.len - chunk.used) {
            *chunk = Some(Chunk { mapping: Arc::new(Mapping::new(len.max(CHUNK))?), used: 0 });
        }
        let Some(Chunk { mapping, used }) = &mut *chunk else { unreachable!("made above") };
        // SAFETY: `len` bytes from `used` on lie inside the mapping.
        let start = unsafe { mapping.start.add(*used) };
        *used = (*used + len).next_multiple_of(LINE).min(mapping.len);
        Ok(Memory { start, len, _mapping: Arc::clone(mapping) })
    }
}

/// What the system gave, unmapped at the end.
#[derive(Debug)]
struct Mapping {
    /// The first byte that is used.
    start: NonNull<u8>,
    len: usize,
    /// What was mapped.
    mapped: (*mut libc::c_void, usize),
}

// SAFETY: an address range; its bytes belong to the memories in it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: usize) -> Result<Self> {
        let huge = len >= HUGE;
        let wanted =
            len.max(1).checked_add(if huge { HUGE } else { 0 }).filter(|&n| n <= isize::MAX as usize);
        let refuse = |why: String| {
            Error::invalid(
                "memory",
                format!("{len} bytes"),
                why,
                "use a smaller cache or model, or free memory",
            )
        };
        let wanted = wanted.ok_or_else(|| refuse("more than an address space".into()))?;
        // SAFETY: a new private mapping touches no memory of ours.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                wanted,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(refuse(std::io::Error::last_os_error().to_string()));
        }
        let offset = if huge { address.cast::<u8>().align_offset(HUGE) } else { 0 };
        // SAFETY: `offset` < 2 MiB, and the mapping is longer than `len` by that much.
        let start = unsafe { address.cast::<u8>().add(offset) };
        #[cfg(target_os = "linux")]
        if huge {
            // SAFETY: the range lies inside our mapping. A refusal leaves small pages, which only cost time.
            unsafe { libc::madvise(start.cast(), len, libc::MADV_HUGEPAGE) };
        }
        let start = NonNull::new(start).ok_or_else(|| refuse("address 0".into()))?;
        Ok(Self { start, len, mapped: (address, wanted) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; no memory borrows from it any more.
        unsafe { libc::munmap(self.mapped.0, self.mapped.1) };
    }
}

/// A slice that several threads write to at different places. Two `&mut` to one buffer would be undefined even where
/// they do not meet; this hands out pieces of a raw pointer instead, checked against the length.
#[derive(Debug)]
pub struct Shared<T> {
    start: *mut T,
    len: usize,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: a pointer and a length; each use states why it races with nobody.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// For the life of a step, during which nobody uses the slice itself.
    pub fn new(slice: &mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// Address of `len` values from `at` on.
    ///
    /// # Panics
    /// If they reach beyond the end: a bug of ours, better found than written through.
    #[inline(always)]
    pub fn at(self, at: usize, len: usize) -> *mut T {
        assert!(at <= self.len && len <= self.len - at, "{at} + {len} of {}", self.len);
        self.start.wrapping_add(at)
    }

    /// `len` values from `at` on, to write.
    ///
    /// # Safety
    /// No other thread touches them until a barrier, and no other slice of this thread overlaps them.
    #[inline(always)]
    pub unsafe fn write<'a>(self, at: usize, len: usize) -> &'a mut [T] {
        // SAFETY: inside the buffer by `at`'s check; exclusive by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.at(at, len), len) }
    }

    /// `len` values from `at` on, to read.
    ///
    /// # Safety
    /// No thread writes them until a barrier.
    #[inline(always)]
    pub unsafe fn read<'a>(self, at: usize, len: usize) -> &'a [T] {
        // SAFETY: inside the buffer by `at`'s check; not written by the caller's word.
        unsafe { std::slice::from_raw_parts(self.at(at, len), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zero_aligned_and_given_back() {
        for len in [0, 1, 4096, HUGE - 1, HUGE, 3 * HUGE + 5] {
            let memory = Memory::zeroed(len).unwrap();
            assert_eq!(memory.bytes(), len);
            assert!(len < HUGE || (memory.as_ptr() as usize).is_multiple_of(HUGE));
            // SAFETY: `len` bytes that nobody else has.
            let bytes = unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), len) };
            assert!(bytes.iter().all(|&b| b == 0));
            bytes.fill(7);
        }
        assert!(Memory::zeroed(usize::MAX).is_err());
    }

    #[test]
    fn memories_of_an_arena_are_zero_apart_and_outlive_it() {
        let arena = Arena::default();
        let memories: Vec<Memory> = [1, 64, 100, 0, CHUNK, 5000].map(|len| arena.zeroed(len).unwrap()).into();
        drop(arena);
        for (number, memory) in memories.iter().enumerate() {
            assert_eq!(memory.as_ptr().align_offset(LINE), 0);
            // SAFETY: as many bytes are there, and nobody else has them.
            let bytes = unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.bytes()) };
            assert!(bytes.iter().all(|&byte| byte == 0), "memory {number}");
            bytes.fill(number as u8 + 1);
        }
        for (number, memory) in memories.iter().enumerate() {
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(memory.as_ptr(), memory.bytes()) };
            assert!(bytes.iter().all(|&byte| byte == number as u8 + 1), "memory {number}");
        }
        assert!(Arena::default().zeroed(usize::MAX).is_err());
    }
}

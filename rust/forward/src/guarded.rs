//! Memory for tests that ends, or begins, at a page that nobody may touch.

const PAGE: usize = 4096;

/// Memory between two pages without access: it ends at the last one, or begins after the first.
pub(crate) struct Guarded {
    mapping: *mut u8,
    inner: usize,
    /// The first value.
    pub start: *mut u8,
}

impl Guarded {
    /// A copy of `values`.
    pub fn new<T: Copy>(values: &[T], end: bool) -> Self {
        let bytes = std::mem::size_of_val(values);
        let inner = bytes.next_multiple_of(PAGE);
        // SAFETY: a new mapping of its own; the middle is opened and filled.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), inner + 2 * PAGE, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            let mapping = start.cast::<u8>();
            let open = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(mapping.add(PAGE).cast(), inner, open), 0);
            let start = mapping.add(PAGE + if end { inner - bytes } else { 0 });
            std::ptr::copy(values.as_ptr().cast(), start, bytes);
            Self { mapping, inner, start }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: what `new` mapped.
        unsafe { libc::munmap(self.mapping.cast(), self.inner + 2 * PAGE) };
    }
}

// SAFETY: memory of its own, as a vector's.
unsafe impl Send for Guarded {}
// SAFETY: as above; tests write it from one thread.
unsafe impl Sync for Guarded {}

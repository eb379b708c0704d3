//! The floating-point environment of a step.

/// Runs `work` with round to nearest and without flush to zero, whatever the host program has set on this thread, and
/// restores the caller's setting.
pub fn with_default<R>(work: impl FnOnce() -> R) -> R {
    let _restore = Default::force();
    work()
}

/// The caller's MXCSR, put back on drop, panics included.
struct Default {
    #[cfg(target_arch = "x86_64")]
    saved: u32,
}

#[cfg(target_arch = "x86_64")]
impl Default {
    /// All exceptions masked, round to nearest, no flush to zero, no denormals-are-zero.
    const MXCSR: u32 = 0x1F80;

    fn force() -> Self {
        let mut saved = 0u32;
        // SAFETY: stores the control word to `saved`, then loads Rust's own default: the only state in which its
        // arithmetic is defined.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &mut saved, options(nostack, preserves_flags));
            std::arch::asm!("ldmxcsr [{}]", in(reg) &Self::MXCSR, options(nostack, preserves_flags));
        }
        Self { saved }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Default {
    fn drop(&mut self) {
        // SAFETY: puts back what the host had; our arithmetic is over.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &self.saved, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Default {
    fn force() -> Self {
        Self {}
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn control() -> u32 {
        let mut now = 0u32;
        // SAFETY: stores the control word.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut now, options(nostack, preserves_flags)) };
        now & 0xFFC0
    }

    #[test]
    fn a_host_that_flushes_to_zero_gets_its_setting_back() {
        let flush = 0x9FC0u32;
        // SAFETY: no floating-point arithmetic of ours runs until the default is back.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &flush, options(nostack, preserves_flags)) };
        let inside = with_default(control);
        let after = control();
        // SAFETY: Rust's default.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &Default::MXCSR, options(nostack, preserves_flags))
        };
        assert_eq!((inside, after), (0x1F80, 0x9FC0));
    }
}

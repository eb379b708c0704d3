//! Which kernels this machine runs: chosen once, by detection and `DRAFTWOOD_ISA`.

use crate::lanes::{Lanes, Scalar};
use crate::linear::Form;
use crate::linear::dots::{BlockKernel, ScalarDots};
use crate::panels::Layout;
use draftwood_logits::{Isa, isa};

/// Proof of what the machine has; made by detection alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    isa: Isa,
    vnni: bool,
    float_activations: bool,
    pairs: bool,
}

impl Machine {
    /// The best that the machine has, or what `DRAFTWOOD_ISA` allows.
    pub fn get() -> Self {
        Self::at_most(isa())
    }

    /// Everything up to `wish` that the machine has, whatever `DRAFTWOOD_ISA` says: for tests and benchmarks that
    /// compare instruction sets.
    pub fn at_most(wish: Isa) -> Self {
        let best = if !halves() { Isa::Scalar } else { Isa::detected() };
        let isa = wish.min(best);
        Self { isa, vnni: isa == Isa::Avx512 && vnni(), float_activations: false, pairs: false }
    }

    /// The same without 8-bit dot products.
    pub fn without_vnni(self) -> Self {
        Self { vnni: false, ..self }
    }

    /// The same with f32 activations for quantised weights too: each weight becomes f32 in a register, and outputs are
    /// those of the dequantised matrix, bit for bit. Without it activations are rounded to 8 bits with a scale per 32,
    /// for two to three times the rate of multiply-adds.
    pub fn with_float_activations(self) -> Self {
        Self { float_activations: true, ..self }
    }

    /// The same with activations rounded to bf16 for 16-bit weights, where the processor multiplies pairs of bf16
    /// (AVX-512 BF16); elsewhere unchanged, as [`Machine::pairs`] then says. Not exact: see [`crate::linear`].
    pub fn with_pairs(self) -> Self {
        Self { pairs: self.isa == Isa::Avx512 && pairs(), ..self }
    }

    /// Whether the processor has products of bf16 and `DRAFTWOOD_ISA` allows them.
    pub fn has_pairs() -> bool {
        Self::get().with_pairs().pairs
    }

    /// Whether 16-bit weights are multiplied in pairs with activations in bf16.
    pub fn pairs(self) -> bool {
        self.pairs
    }

    /// Whether quantised weights are multiplied with f32 activations.
    pub fn float_activations(self) -> bool {
        self.float_activations
    }

    /// What matrices of a layout take activations as.
    pub fn form(self, layout: Layout) -> Form {
        match layout {
            Layout::F16 | Layout::BF16 if self.pairs => Form::Halves,
            _ if layout.is_quantised() && !self.float_activations => Form::Blocks,
            _ => Form::Floats,
        }
    }

    /// Every instruction set of this machine, once, with and without 8-bit dot products.
    pub fn all() -> Vec<Self> {
        let all = Isa::ALL.into_iter().map(Self::at_most);
        let mut all: Vec<_> = all.flat_map(|machine| [machine.without_vnni(), machine]).collect();
        all.dedup();
        all
    }

    /// The vector instruction set.
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// Whether 8-bit dot products (AVX-512 VNNI) are used.
    pub fn vnni(self) -> bool {
        self.vnni
    }

    /// For humans: "avx512 with vnni".
    pub fn name(self) -> &'static str {
        match (self.isa, self.vnni) {
            (_, true) => "avx512 with vnni",
            (isa, false) => isa.name(),
        }
    }

    /// Runs a kernel, compiled for this machine.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.isa {
            // SAFETY: arrays need no instruction set; the kernel's own contract was the caller's duty when it was made.
            Isa::Scalar => unsafe { kernel.run::<Scalar>() },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this `Machine` exists because the processor reported AVX2, FMA and F16C.
            Isa::Avx2 => unsafe { on_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this `Machine` exists because the processor reported AVX-512 F, BW, DQ and VL as well.
            Isa::Avx512 => unsafe { on_avx512(kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            // SAFETY: as for `Isa::Scalar`.
            _ => unsafe { kernel.run::<Scalar>() },
        }
    }

    /// Runs a kernel of bf16 products.
    ///
    /// # Panics
    /// Without [`Machine::pairs`].
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn run_pairs<K: PairKernel>(self, kernel: K) {
        assert!(self.pairs, "no products of bf16 on {}", self.name());
        // SAFETY: as in `run`, and BF16 was reported too.
        unsafe { on_pairs(kernel) }
    }

    /// Runs a kernel of integer products, compiled for this machine.
    #[inline]
    pub(crate) fn run_blocks<K: BlockKernel>(self, kernel: K) -> K::Output {
        match (self.isa, self.vnni) {
            // SAFETY: as in `run`.
            (Isa::Scalar, _) => unsafe { kernel.run::<ScalarDots>() },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `run`.
            (Isa::Avx2, _) => unsafe { blocks_on_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `run`.
            (Isa::Avx512, false) => unsafe { blocks_on_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `run`, and VNNI was reported too.
            (Isa::Avx512, true) => unsafe { blocks_on_vnni(kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            // SAFETY: as for `Isa::Scalar`.
            _ => unsafe { kernel.run::<ScalarDots>() },
        }
    }
}

/// Arithmetic written once over [`Lanes`]. `run` must be `#[inline(always)]`, so that it is compiled with the
/// instruction set of the function around it; so must all that it calls. **No vector code in closures**: a closure is a
/// function of its own without the instruction set, and where it is not inlined, each intrinsic in it is a call.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// # Safety
    /// The machine has the instruction set of `L`; what the kernel points to is valid as its constructor demands.
    unsafe fn run<L: Lanes>(self) -> Self::Output;
}

/// Arithmetic on AVX-512 BF16; `run` must be `#[inline(always)]`.
#[cfg(target_arch = "x86_64")]
pub(crate) trait PairKernel {
    /// # Safety
    /// The machine has AVX-512 F, BW, DQ, VL and BF16; what the kernel points to is valid as its constructor demands.
    unsafe fn run(self);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn on_pairs<K: PairKernel>(kernel: K) {
    // SAFETY: passed on to the caller.
    unsafe { kernel.run() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn on_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: passed on to the caller.
    unsafe { kernel.run::<crate::lanes::Avx2>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn on_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: passed on to the caller.
    unsafe { kernel.run::<crate::lanes::Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn blocks_on_avx2<K: BlockKernel>(kernel: K) -> K::Output {
    // SAFETY: passed on to the caller.
    unsafe { kernel.run::<crate::linear::dots::Avx2Dots>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn blocks_on_avx512<K: BlockKernel>(kernel: K) -> K::Output {
    // SAFETY: passed on to the caller.
    unsafe { kernel.run::<crate::linear::dots::Avx512Dots>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn blocks_on_vnni<K: BlockKernel>(kernel: K) -> K::Output {
    // SAFETY: passed on to the caller.
    unsafe { kernel.run::<crate::linear::dots::VnniDots>() }
}

#[cfg(target_arch = "x86_64")]
fn halves() -> bool {
    is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
fn vnni() -> bool {
    is_x86_feature_detected!("avx512vnni")
}

#[cfg(target_arch = "x86_64")]
fn pairs() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn pairs() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn halves() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn vnni() -> bool {
    false
}

//! Which instruction set the vector loops use; chosen once, printable, and lowered by `DRAFTWOOD_ISA`.

use draftwood_base::{Error, Result};
use std::sync::OnceLock;

/// An instruction set, worst to best. Every loop gives the same bits on all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the target guarantees (SSE2 on x86-64, NEON on AArch64).
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL, with all of `Avx2`.
    Avx512,
}

impl Isa {
    /// All, worst to best.
    pub const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Avx512];

    /// The name that `DRAFTWOOD_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// The best of this machine, whatever `DRAFTWOOD_ISA` says.
    pub fn detected() -> Isa {
        detect()
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The instruction set in use: the best of the machine, or what `DRAFTWOOD_ISA` asks for if the machine has it.
pub fn isa() -> Isa {
    Enabled::get().0
}

/// [`isa`], for the places that can report a `DRAFTWOOD_ISA` that is misspelt or asks for more than the machine has.
///
/// # Errors
/// [`Error::InvalidArgument`] with the accepted names.
pub fn isa_checked() -> Result<Isa> {
    chosen().1.clone().map(|()| isa())
}

/// Proof that the machine has an instruction set: made by detection alone, so a vector loop that takes one is sound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Enabled(Isa);

impl Enabled {
    #[inline]
    pub(crate) fn get() -> Self {
        chosen().0
    }

    #[inline(always)]
    pub(crate) fn isa(self) -> Isa {
        self.0
    }

    /// Everything that this machine has, for tests that compare them.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        Isa::ALL.into_iter().filter(|&isa| isa <= detect()).map(Enabled).collect()
    }
}

fn chosen() -> &'static (Enabled, Result<()>) {
    static CHOSEN: OnceLock<(Enabled, Result<()>)> = OnceLock::new();
    CHOSEN.get_or_init(|| choose(detect(), std::env::var("DRAFTWOOD_ISA").ok().as_deref()))
}

/// An unusable wish leaves the best; `isa_checked` tells.
fn choose(best: Isa, wish: Option<&str>) -> (Enabled, Result<()>) {
    let Some(wish) = wish.filter(|wish| !wish.is_empty()) else { return (Enabled(best), Ok(())) };
    match Isa::ALL.into_iter().find(|isa| isa.name() == wish) {
        Some(isa) if isa <= best => (Enabled(isa), Ok(())),
        _ => {
            let names: Vec<_> = Isa::ALL.iter().filter(|&&isa| isa <= best).map(|isa| isa.name()).collect();
            let hint = "unset it to use the best that this machine has";
            (Enabled(best), Err(Error::invalid("DRAFTWOOD_ISA", names.join(" or "), wish, hint)))
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Isa::Avx512,
        (true, false) => Isa::Avx2,
        _ => Isa::Scalar,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Scalar
}

/// Compiles one `#[inline(always)]` body for every instruction set and picks by an [`Enabled`]. The bodies are plain
/// loops over fixed numbers of lanes with correctly rounded operations, so the versions differ in speed alone.
macro_rules! multiversion {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $out:ty = $body:path;) => {
        $(#[$doc])*
        pub(crate) fn $name(enabled: $crate::isa::Enabled, $($arg: $type),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) -> $out {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) -> $out {
                    $body($($arg),*)
                }
                match enabled.isa() {
                    $crate::isa::Isa::Scalar => {}
                    // SAFETY: this `Enabled` exists because the machine reported AVX2 and FMA.
                    $crate::isa::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    // SAFETY: this `Enabled` exists because the machine reported all the features listed above.
                    $crate::isa::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = enabled;
            $body($($arg),*)
        }
    };
}
pub(crate) use multiversion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_lowers_and_never_raises() {
        assert_eq!(choose(Isa::Avx512, None).0.isa(), Isa::Avx512);
        assert_eq!(choose(Isa::Avx512, Some("avx2")).0.isa(), Isa::Avx2);
        assert_eq!(choose(Isa::Avx2, Some("scalar")).0.isa(), Isa::Scalar);
        for wish in ["avx512", "AVX2", "sse"] {
            let (enabled, told) = choose(Isa::Avx2, Some(wish));
            assert_eq!(enabled.isa(), Isa::Avx2);
            assert_eq!(
                told.unwrap_err().to_string(),
                format!(
                    "DRAFTWOOD_ISA must be scalar or avx2, got {wish}; unset it to use the best that this machine has"
                )
            );
        }
    }
}

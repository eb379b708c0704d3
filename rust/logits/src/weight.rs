//! Probabilities as integers: 2^40 times the probability relative to the most likely token, so sums are exact.

/// What a sampler reads where a row holds `x`: subnormals and −0 count as +0, as on a GPU that flushes them.
#[inline(always)]
pub(crate) fn read(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x }
}

/// The weights of one row at one temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// The row's largest logit, as read.
    pub(crate) max: f32,
    /// log2(e) / temperature.
    pub(crate) scale: f32,
}

impl Weights {
    /// Of a row whose largest logit is `max`, at temperature 1 / `inv_t`.
    pub fn new(max: f32, inv_t: f32) -> Self {
        Self { max: read(max), scale: inv_t * std::f32::consts::LOG2_E }
    }

    /// trunc(2^40 · 2^((x − max) · scale)); 2^40 for the largest logit, 0 for a masked token.
    #[inline(always)]
    pub fn of(&self, x: f32) -> u64 {
        weight40((read(x) - self.max) * self.scale)
    }
}

/// 2^x for x ≤ 0, times 2^40, truncated; 0 from −41 down. The power is a polynomial of degree 6 on [−½, ½] with an
/// error of 1.4 ulp.
#[inline(always)]
fn weight40(x: f32) -> u64 {
    let safe = if x > -41.0 { x } else { 0.0 };
    let n = (safe + AS_INTEGER) - AS_INTEGER;
    let r = power(safe - n);
    // r · 2^(n + 40) is exact; its integer part by shifts, because AVX2 converts no floats to 64-bit integers.
    let bits = r.to_bits() as i32 + ((n as i32) << 23);
    let mantissa = u64::from((bits as u32 & 0x007f_ffff) | 0x0080_0000);
    let shift = 127 - (bits >> 23);
    let weight = (mantissa << 17) >> (shift as u32 & 63);
    if x > -41.0 { weight } else { 0 }
}

/// Adding 1.5 · 2^23 rounds to the nearest integer, ties to even; its value then sits in the low bits.
pub(crate) const AS_INTEGER: f32 = 12_582_912.0;

/// 2^f for f in [−½, ½].
#[inline(always)]
pub(crate) fn power(f: f32) -> f32 {
    let mut r = f32::from_bits(POWER[0]);
    for &c in &POWER[1..] {
        r = r.mul_add(f, f32::from_bits(c));
    }
    r
}

/// r · 2^n, where `shifted` is n + [`AS_INTEGER`], for normal results.
#[inline(always)]
pub(crate) fn exponent(r: f32, shifted: f32) -> f32 {
    f32::from_bits(r.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// 2^f on [−½, ½], highest power first.
const POWER: [u32; 7] =
    [0x3922_2FD7, 0x3AAF_A43F, 0x3C1D_94F8, 0x3D63_5767, 0x3E75_FDF0, 0x3F31_7218, 0x3F80_0000];

/// rne(p · 2^24) of a fraction in [0, 1].
#[inline]
pub(crate) fn fixed24(fraction: f32) -> u64 {
    (f64::from(fraction.clamp(0.0, 1.0)) * 16_777_216.0).round_ties_even() as u64
}

/// floor(total · p24 / 2^24) with p24 = rne(fraction · 2^24), for totals below 2^63.
#[inline]
pub fn portion(total: u64, fraction: f32) -> u64 {
    let p24 = fixed24(fraction);
    (total >> 24) * p24 + (((total & 0x00ff_ffff) * p24) >> 24)
}

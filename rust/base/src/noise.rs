//! Addressed noise: Philox4x32-10 and the values made of its words, the same bits on every device.
//!
//! A value is named by what it decides (which seed, which use, which path, which position, which token), never by
//! when or where it is computed. So a draw can be repeated in any step, any batch and any tree. Only integer
//! operations and correctly rounded float `add`, `mul` and `mul_add` are used, in the order written; every sum of a
//! product is a `mul_add`, because a CUDA compiler may fuse `a · b + c` on its own.
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).

/// What a value decides. Two uses never share a number: a coin that is reused for a draw biases the draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The token that the target takes at a position.
    TokenDraw = 1,
    /// Accept or reject a drafted token under a ratio rule.
    AcceptCoin = 2,
    /// The token drawn from a residual after a rejection.
    Residual = 3,
    /// A drafter's own draws, where the rule needs them independent of the target's.
    DraftDraw = 4,
    /// Ties and the growth of trees.
    Growth = 5,
}

/// The name of one row of noise; `index` (a token id or a child's rank) then names a value in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The request's seed.
    pub seed: u64,
    /// What the values decide.
    pub purpose: Purpose,
    /// Earlier draws in the same state (0 except with backspace); the low 24 bits count.
    pub slot: u32,
    /// The sample's index within the request, or a path key where several paths of a sample meet a position.
    pub sample: u32,
    /// Position of the token that is drawn.
    pub position: u32,
}

impl Address {
    /// The Philox key.
    #[inline(always)]
    pub fn key(&self) -> [u32; 2] {
        [self.seed as u32, (self.seed >> 32) as u32]
    }

    /// The Philox counter of the words for indices `4 · quad … 4 · quad + 3`.
    #[inline(always)]
    pub fn counter(&self, quad: u32) -> [u32; 4] {
        [quad, self.position, self.sample, (self.purpose as u32) << 24 | (self.slot & 0x00ff_ffff)]
    }

    /// Four words; word `j` belongs to index `4 · quad + j`.
    #[inline(always)]
    pub fn words(&self, quad: u32) -> [u32; 4] {
        philox4x32_10(self.counter(quad), self.key())
    }

    /// The word of one index.
    #[inline(always)]
    pub fn word(&self, index: u32) -> u32 {
        self.words(index / 4)[index as usize % 4]
    }

    /// Uniform in the open interval (0, 1).
    pub fn uniform(&self, index: u32) -> f32 {
        uniform(self.word(index))
    }

    /// Standard Gumbel value.
    pub fn gumbel(&self, index: u32) -> f32 {
        gumbel(self.word(index))
    }
}

/// Ten rounds of Philox with four 32-bit words.
#[inline(always)]
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        [a, b, c, d] = philox_round([a, b, c, d], [k0, k1]);
        k0 = k0.wrapping_add(PHILOX_WEYL[0]);
        k1 = k1.wrapping_add(PHILOX_WEYL[1]);
    }
    [a, b, c, d]
}

/// What is added to the two key words after each round.
pub const PHILOX_WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One round, so that a vector loop can run it over many counters.
#[inline(always)]
pub fn philox_round([a, b, c, d]: [u32; 4], [k0, k1]: [u32; 2]) -> [u32; 4] {
    let p0 = 0xD251_1F53u64 * u64::from(a);
    let p1 = 0xCD9E_8D57u64 * u64::from(c);
    [(p1 >> 32) as u32 ^ b ^ k0, p1 as u32, (p0 >> 32) as u32 ^ d ^ k1, p0 as u32]
}

/// A word as a uniform value in [2⁻³³, 1 − 2⁻²⁴]: open at both ends, full relative precision near 0.
#[inline(always)]
pub fn uniform(word: u32) -> f32 {
    let w = (word as f32).mul_add(TWO_POW_MINUS_32, TWO_POW_MINUS_33);
    if w < 1.0 { w } else { LARGEST_BELOW_ONE }
}

/// A word as a standard exponential value, −ln(1 − w).
#[inline(always)]
pub fn exponential(word: u32) -> f32 {
    let w = uniform(word);
    if w < 0.25 { -ln_1p(-w) } else { -ln(1.0 - w) }
}

/// A word as a standard Gumbel value, −ln(−ln(1 − w)), in [−2.82, 22.88]; within 5.6e-7 of the exact value.
#[inline(always)]
pub fn gumbel(word: u32) -> f32 {
    -ln(exponential(word))
}

const TWO_POW_MINUS_32: f32 = f32::from_bits(0x2F80_0000);
const TWO_POW_MINUS_33: f32 = f32::from_bits(0x2F00_0000);
const LARGEST_BELOW_ONE: f32 = f32::from_bits(0x3F7F_FFFF);

/// ln(1 + f) = f − f²/2 + f³ · Q(f): the coefficients of Q, highest power first, then that of f²; fitted on [−1/3, 1/3].
const LN_1P: [u32; 8] =
    [0xBE03_C411, 0x3E0F_7257, 0xBDF9_AC50, 0x3E0F_5F3E, 0xBE2A_CD4E, 0x3E4C_E8CF, 0xBE7F_FF83, 0x3EAA_AA82];

/// ln(1 + f) for f in [−1/3, 1/3], error below 1.2 ulp.
#[inline(always)]
fn ln_1p(f: f32) -> f32 {
    let mut r = f32::from_bits(LN_1P[0]);
    for &c in &LN_1P[1..] {
        r = r.mul_add(f, f32::from_bits(c));
    }
    r.mul_add(f, -0.5).mul_add(f * f, f)
}

/// ln x for normal positive x = m · 2^e with m in [2/3, 4/3).
#[inline(always)]
fn ln(x: f32) -> f32 {
    let bits = x.to_bits() as i32;
    let e = (bits - 0x3f2a_aaab) >> 23;
    let f = f32::from_bits((bits - (e << 23)) as u32) - 1.0;
    (e as f32).mul_add(f32::from_bits(0x3F31_7218), ln_1p(f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_random123() {
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        for (counter, key, want) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ] {
            assert_eq!(philox4x32_10(counter, key), want);
        }
    }

    fn hash(values: impl Iterator<Item = f32>) -> u64 {
        values.fold(0, |h, x| (h ^ u64::from(x.to_bits())).wrapping_mul(0x100_0000_01B3))
    }

    fn gumbels(address: Address, count: u32) -> impl Iterator<Item = f32> {
        (0..count / 4).flat_map(move |quad| address.words(quad).map(gumbel))
    }

    /// Both numbers come from a NumPy program with its own Philox and its own fused multiply-add (two-sum in f64,
    /// rounded to odd).
    #[test]
    fn bits_equal_an_independent_computation() {
        let far = Address {
            seed: 0xFEDC_BA98_7654_3210,
            purpose: Purpose::TokenDraw,
            slot: 5,
            sample: 0x9E37_79B1,
            position: 4096,
        };
        assert_eq!(hash(gumbels(far, 1 << 18)), 0xc609_33c5_da6b_4d51);
        let near = Address { seed: 0x0123_4567_89AB_CDEF, slot: 3, sample: 7, position: 9, ..far };
        assert_eq!(hash(gumbels(near, 1 << 18)), 0x0b9b_53e9_47b8_5546);
    }

    #[test]
    fn both_ends_are_open() {
        assert_eq!(uniform(0), 2f32.powi(-33));
        assert_eq!(uniform(u32::MAX), 1.0 - 2f32.powi(-24));
        assert_eq!(gumbel(0).to_bits(), f32::to_bits(22.873_857));
        assert!(gumbel(u32::MAX) > -2.82 && gumbel(u32::MAX) < -2.81);
        assert!(exponential(0) > 0.0);
    }

    #[test]
    fn every_field_of_the_address_changes_the_words() {
        let a = Address { seed: 1, purpose: Purpose::TokenDraw, slot: 0, sample: 0, position: 0 };
        let all = [
            a,
            Address { seed: 2, ..a },
            Address { seed: 1 | 1 << 32, ..a },
            Address { purpose: Purpose::Residual, ..a },
            Address { slot: 1, ..a },
            Address { sample: 1, ..a },
            Address { position: 1, ..a },
        ];
        for (i, x) in all.iter().enumerate() {
            assert_eq!(x.word(6), x.words(1)[2]);
            for y in &all[..i] {
                assert!((0..4).all(|j| x.words(0)[j] != y.words(0)[j]), "{x:?} {y:?}");
            }
        }
    }

    #[test]
    fn four_million_values_follow_the_gumbel_law() {
        let n = 1u32 << 22;
        let address = Address { seed: 11, purpose: Purpose::TokenDraw, slot: 0, sample: 0, position: 0 };
        let mut values: Vec<f32> = gumbels(address, n).collect();
        let count = f64::from(n);
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let square = |x: f32| (f64::from(x) - mean) * (f64::from(x) - mean);
        let variance = values.iter().map(|&x| square(x)).sum::<f64>() / count;
        // Four standard errors of each.
        assert!((mean - 0.577_215_665).abs() < 0.0025, "mean {mean}");
        assert!((variance - 1.644_934).abs() < 0.0065, "variance {variance}");
        values.sort_unstable_by(f32::total_cmp);
        let distance = values.iter().enumerate().fold(0.0f64, |most, (i, &x)| {
            let law = (-(-f64::from(x)).exp()).exp();
            most.max((law - i as f64 / count).abs()).max((law - (i + 1) as f64 / count).abs())
        });
        assert!(
            distance < 1.63 / count.sqrt(),
            "Kolmogorov-Smirnov distance {distance} is beyond the 1 % limit"
        );
    }

    /// Neighbours along each coordinate are uncorrelated: a seed used as an offset, say, would show here.
    #[test]
    fn neighbours_are_uncorrelated() {
        let a = Address { seed: 5, purpose: Purpose::TokenDraw, slot: 0, sample: 0, position: 100 };
        let n = 1u32 << 18;
        for (name, b, step) in [
            ("index", a, 1),
            ("position", Address { position: 101, ..a }, 0),
            ("sample", Address { sample: 1, ..a }, 0),
            ("seed", Address { seed: 6, ..a }, 0),
        ] {
            let product = |x: f32, y: f32| (f64::from(x) - 0.5) * (f64::from(y) - 0.5) * 12.0;
            let sum: f64 = (0..n).map(|i| product(a.uniform(i), b.uniform(i + step))).sum();
            let r = sum / f64::from(n);
            assert!(r.abs() < 4.5 / f64::from(n).sqrt(), "{name}: correlation {r}");
        }
    }
}

use super::*;
use crate::filter::{keep_on, top_k_threshold_on, top_p_threshold_on};
use crate::weight::{fixed24, read};
use crate::{Weights, portion};

/// Thresholds by sorting everything, on ordered integer keys as a GPU would hold them.
mod naive {
    use super::*;

    /// u32 order = float order.
    pub fn key(x: f32) -> u32 {
        let bits = read(x).to_bits();
        if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
    }

    pub fn top_k(row: &[f32], k: usize) -> Option<u32> {
        let all = sorted(row);
        (k > 0 && k < row.len() && k <= all.len()).then(|| key(all[k - 1].1))
    }

    pub fn top_p(row: &[f32], low: u32, weights: &Weights, top_p: f32) -> u32 {
        let kept: Vec<_> = sorted(row).into_iter().filter(|&(_, x)| key(x) >= low).collect();
        let total: u64 = kept.iter().map(|&(_, x)| weights.of(x)).sum();
        let need = ((u128::from(total) * u128::from(fixed24(top_p))) >> 24).max(1) as u64;
        let mut sum = 0;
        for (_, x) in kept {
            sum += weights.of(x);
            if sum >= need {
                return key(x);
            }
        }
        unreachable!("all weights together reach any part of them")
    }
}

fn temperatures() -> impl Strategy<Value = f32> {
    prop::sample::select(vec![1e-6f32, 0.01, 0.3, 0.7, 1.0, 1.7, 30.0, 1e6])
}

proptest! {
    #[test]
    fn thresholds_equal_those_of_a_sorted_row(
        row in rows().prop_filter("unmasked", |row| row.iter().any(|&x| x > f32::NEG_INFINITY)),
        k in prop_oneof![Just(0u32), 1u32..60, 100u32..2000],
        top_p in prop_oneof![Just(1e-9f32), 0.0001f32..1.0, Just(1.0 - 2f32.powi(-24))],
        min_p in prop_oneof![Just(0.0f32), 0.0f32..1.0, Just(1.0), Just(1e-4)],
        t in temperatures(),
    ) {
        let max = sorted(&row)[0].1;
        let weights = Weights::new(max, 1.0 / t);
        let (mut top, mut bin, mut out) = (Vec::new(), Vec::new(), vec![0.0; row.len()]);
        let kth = naive::top_k(&row, k as usize);
        let low = kth.unwrap_or(naive::key(f32::MIN));
        let pth = naive::top_p(&row, low, &weights, top_p).max(low);
        let floor = portion(1 << 40, min_p);
        let want: Vec<f32> = row.iter().map(|&x| {
            if x > f32::NEG_INFINITY && naive::key(x) >= pth && weights.of(x) >= floor { x } else { f32::NEG_INFINITY }
        }).collect();
        each_isa(|isa| {
            let k_got = top_k_threshold_on(isa, &row, k, &mut top);
            prop_assert_eq!(k_got.map(naive::key), kth, "top-k");
            let low = k_got.unwrap_or(f32::MIN);
            let p_got = top_p_threshold_on(isa, &row, low, &weights, top_p, &mut bin).max(low);
            prop_assert_eq!(naive::key(p_got), pth, "top-p");
            let kept = keep_on(isa, &row, p_got, &weights, floor, &mut out);
            prop_assert_eq!(&out, &want);
            prop_assert_eq!(kept as usize, want.iter().filter(|x| **x > f32::NEG_INFINITY).count());
            prop_assert!(kept > 0);
            Ok(())
        })?;
    }

    #[test]
    fn a_portion_is_the_floor_of_the_exact_product(total in 0u64..1 << 58, p in 0.0f32..=1.0) {
        let exact = (u128::from(total) * u128::from(fixed24(p))) >> 24;
        prop_assert_eq!(u128::from(portion(total, p)), exact);
    }

    #[test]
    fn weights_are_powers_of_two_scaled(d in 0.0f32..60.0, t in temperatures()) {
        let weights = Weights::new(0.0, 1.0 / t);
        let x = -d * weights.scale;
        let want = f64::from(x).exp2() * 2f64.powi(40);
        let got = weights.of(-d) as f64;
        if x <= -41.0 {
            prop_assert_eq!(got, 0.0);
        } else {
            prop_assert!((got - want).abs() <= 1.0 + want * 2e-7, "2^{} gives {} not {}", x, got, want);
        }
    }
}

#[test]
fn weights_at_the_borders() {
    let weights = Weights::new(2.0, 1.0);
    assert_eq!(weights.of(2.0), 1 << 40);
    assert_eq!(weights.of(f32::NEG_INFINITY), 0);
    assert_eq!(weights.of(f32::MIN), 0);
    assert_eq!(Weights::new(1e-40, 1.0).of(-0.0), 1 << 40);
    assert_eq!((portion(1 << 40, 1.0), portion(1 << 40, 0.0), portion(1 << 40, 0.5)), (1 << 40, 0, 1 << 39));
}

/// Mass that is reached exactly is reached: between bins, and inside one.
#[test]
fn a_sum_that_equals_the_need_is_enough() {
    let weights = Weights { max: 0.0, scale: 1.0 };
    let halves = [-2.0, 0.0, -1.0, -2.0]; // ¼, 1, ½, ¼
    let step = 2f32.powi(-30); // below what the weight's polynomial tells from 1
    let ones = [-3.0 * step, -2.0 * step, -step, 0.0];
    let mut scratch = Vec::new();
    for enabled in Enabled::all() {
        for (row, top_p, want) in [
            (&halves, 0.5, 0.0),
            (&halves, 0.500_001, -1.0),
            (&halves, 0.75, -1.0),
            (&halves, 0.750_001, -2.0),
            (&ones, 0.25, 0.0),
            (&ones, 0.5, -step),
            (&ones, 0.500_001, -2.0 * step),
        ] {
            let got = top_p_threshold_on(enabled, row, f32::MIN, &weights, top_p, &mut scratch);
            assert_eq!(got, want, "{row:?} {top_p}");
        }
    }
}

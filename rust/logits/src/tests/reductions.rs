use super::*;
use crate::lse::log_sum_exp_on;
use crate::mask::count_on;
use crate::scan::scan_on;
use crate::{Peaks, Scan, logprobs, mask, scan, top_k};

proptest! {
    #[test]
    fn scan_finds_the_first_of_the_largest(row in rows()) {
        let best = sorted(&row).first().copied();
        each_isa(|isa| {
            let got = scan_on(isa, &row);
            prop_assert_eq!(got.fault, None);
            prop_assert_eq!(got.all_masked(), best.is_none());
            if let Some((token, value)) = best {
                prop_assert_eq!((got.token, got.value), (token, value));
            }
            prop_assert_eq!(count_on(isa, &row) as usize, sorted(&row).len());
            Ok(())
        })?;
    }

    #[test]
    fn scan_names_the_first_fault(mut row in rows(), at in any::<prop::sample::Index>(), more in any::<bool>()) {
        let first = at.index(row.len());
        row[first] = if more { f32::NAN } else { f32::INFINITY };
        if more {
            let last = row.len() - 1;
            row[last] = f32::NAN;
        }
        each_isa(|isa| {
            let got = scan_on(isa, &row);
            prop_assert_eq!(got.fault, Some(first as Token));
            prop_assert!(!got.all_masked());
            Ok(())
        })?;
    }

    #[test]
    fn top_k_is_a_prefix_of_the_sorted_row(row in rows(), k in prop_oneof![0usize..70, 200usize..3000]) {
        let mut want = sorted(&row);
        let masked = row.iter().enumerate().filter(|(_, x)| **x == f32::NEG_INFINITY);
        want.extend(masked.map(|(i, &x)| (i as Token, x)));
        want.truncate(k);
        let mut got = Vec::new();
        top_k(&row, k, &mut got);
        prop_assert_eq!(&got, &want);
        // The loop before the final sort, on every instruction set.
        want.sort_by_key(|&(token, _)| token);
        each_isa(|isa| {
            crate::top_k::select_on(isa, &row, k, &mut got);
            got.sort_by_key(|&(token, _)| token);
            prop_assert_eq!(&got, &want);
            Ok(())
        })?;
    }

    #[test]
    fn top_k_by_peaks_is_top_k(mut row in rows(), k in prop_oneof![0usize..20, 0usize..300], fault in 0usize..3) {
        if fault == 2 {
            row[0] = f32::NAN;
        }
        let mut want = Vec::new();
        top_k(&row, k, &mut want);
        let seen = scan(&row);
        each_isa(|isa| {
            let (mut got, mut scratch) = (vec![(7, 7.0)], vec![1.0]);
            let peak = crate::top_k::top_k_with_peak(isa, &row, k, &mut scratch, &mut got);
            prop_assert_eq!(&got, &want);
            prop_assert_eq!(peak, seen.fault.is_none().then_some(seen.value));
            Ok(())
        })?;
        let (mut peaks, mut got) = (Peaks::default(), Vec::new());
        peaks.read(&row);
        for k in [k, 4 * k, row.len()] {
            top_k(&row, k, &mut want);
            peaks.top_k(&row, k, &mut got);
            prop_assert_eq!(&got, &want);
        }
    }

    #[test]
    fn log_sum_exp_is_close_to_f64_and_equal_everywhere(row in rows()) {
        let best = row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
        let sum: f64 = row.iter().map(|&x| (f64::from(x) - f64::from(best)).exp()).sum();
        let want = if best == f32::NEG_INFINITY { f64::NEG_INFINITY } else { f64::from(best) + sum.ln() };
        let scalar = log_sum_exp_on(Enabled::all()[0], &row, &[]);
        prop_assert!(scalar == want || (scalar - want).abs() < 2e-7, "{} is not {}", scalar, want);
        each_isa(|isa| {
            prop_assert_eq!(log_sum_exp_on(isa, &row, &row).to_bits(), scalar.to_bits());
            Ok(())
        })?;
    }
}

/// Fixed lanes, a fixed fold and our own exp and ln: the bits are the same on every machine.
#[test]
fn log_sum_exp_has_the_bits_of_the_golden() {
    let bits = crate::log_sum_exp(&row(1003, Kind::Smooth, 3)).to_bits();
    assert_eq!(bits, 0x4036_db49_f58f_2538, "{bits:#x}");
}

#[test]
fn logprobs_are_raw_and_sorted() {
    let row = [1.0, f32::NEG_INFINITY, 3.0, 3.0, 0.5];
    let lse = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
    let mut top = Vec::new();
    let chosen = logprobs(&row, 4, 3, &mut top);
    let close = |got: f32, x: f64| assert!((f64::from(got) - (x - lse)).abs() < 1e-6, "{got}");
    close(chosen, 0.5);
    assert_eq!(top.iter().map(|&(token, _)| token).collect::<Vec<_>>(), [2, 3, 0]);
    close(top[0].1, 3.0);
    close(top[2].1, 1.0);
    assert_eq!(logprobs(&row, 1, 9, &mut top), f32::NEG_INFINITY);
    assert_eq!((top.len(), top[4]), (5, (1, f32::NEG_INFINITY)));
    assert_eq!(logprobs(&[f32::NEG_INFINITY; 3], 0, 1, &mut top), f32::NEG_INFINITY);
}

#[test]
fn masks_ignore_ids_beyond_the_row() {
    let mut row = [5.0, 4.0, 3.0];
    mask(&mut row, &[0, 7, 2]);
    assert_eq!(row, [f32::NEG_INFINITY, 4.0, f32::NEG_INFINITY]);
    assert_eq!(scan(&row), Scan { token: 1, value: 4.0, fault: None });
    assert!(scan(&[]).all_masked());
}

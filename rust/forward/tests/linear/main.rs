//! Every kernel against one scalar reference, bit for bit, on every instruction set of the machine.

mod placed;
mod reference;
mod source;

use draftwood_base::pool::Pool;
use draftwood_forward::Machine;
use draftwood_forward::linear::{Form, Outputs, Rows, multiply, round};
use draftwood_forward::panels::{Layout, PANEL, Panels};
use draftwood_forward::quantise::{BLOCK, Block, quantise};
use draftwood_logits::Isa;
use reference::{Activations, product, product_of_floats, product_of_halves};
use source::{Numbers, stored_row};
use std::ops::Range;

/// Weights as a file stores them, repacked, and where they are.
struct Weights {
    rows: Vec<Vec<u8>>,
    panels: Panels,
    in_place: Vec<Panels>,
}

impl Weights {
    fn new(layout: Layout, rows: usize, columns: usize, numbers: &mut Numbers) -> Self {
        Self::of(layout, columns, (0..rows).map(|_| stored_row(layout, columns, numbers)).collect())
    }

    fn of(layout: Layout, columns: usize, rows: Vec<Vec<u8>>) -> Self {
        let mut panels = Panels::zeroed(layout, rows.len(), columns).unwrap();
        panels
            .fill_blocks(&Pool::new(1), &Some, &|row, to| {
                to.copy_from_slice(&rows[row]);
                Ok(())
            })
            .unwrap();
        let in_place = placed::all(layout, columns, &rows);
        Self { rows, panels, in_place }
    }

    /// Outputs [row of x][row of weights], without padding.
    fn expected(&self, form: Form, x: &[Activations]) -> Vec<Vec<u32>> {
        let layout = self.panels.layout;
        let product = match form {
            Form::Floats => product_of_floats,
            Form::Blocks => product,
            Form::Halves => product_of_halves,
        };
        let of = |x| self.rows.iter().map(move |row| product(layout, row, x).to_bits()).collect();
        x.iter().map(of).collect()
    }

    /// What the kernel makes of some panels, packed and in place.
    fn multiply(&self, machine: Machine, panels: Range<usize>, x: &[Activations]) -> Vec<Vec<u32>> {
        let packed = self.multiply_with(&self.panels, machine, panels.clone(), x);
        for in_place in &self.in_place {
            let got = self.multiply_with(in_place, machine, panels.clone(), x);
            assert!(got == packed, "{in_place:?}: {panels:?}, {} rows, {}", x.len(), machine.name());
        }
        packed
    }

    /// The same with x and y starting at odd addresses; outside, y must stay as it was.
    fn multiply_with(
        &self,
        weights: &Panels,
        machine: Machine,
        panels: Range<usize>,
        x: &[Activations],
    ) -> Vec<Vec<u32>> {
        let columns = self.panels.columns;
        let (mut floats, mut blocks) = (vec![f32::NAN; 1], vec![Block::default(); 1]);
        let (mut halves, padded) = (vec![u16::MAX; 1], columns.next_multiple_of(2));
        for row in x {
            if machine.form(self.panels.layout) == Form::Halves {
                let at = halves.len();
                halves.resize(at + padded + 3, u16::MAX);
                round(machine, &row.floats, &mut halves[at..at + padded]);
            }
            floats.extend(&row.floats);
            floats.extend([f32::NAN; 3]);
            blocks.extend(&row.blocks);
            blocks.push(Block::default());
        }
        let width = PANEL * panels.len();
        let stride = width + 5;
        let mut y = vec![f32::MAX; 3 + stride * x.len()];
        let rows = match machine.form(self.panels.layout) {
            Form::Blocks => Rows::blocks(blocks[1..].as_ptr(), columns / BLOCK + 1, x.len()),
            Form::Floats => Rows::floats(floats[1..].as_ptr(), columns + 3, x.len()),
            Form::Halves => Rows::halves(halves[1..].as_ptr(), padded + 3, x.len()),
        };
        let outputs = Outputs { start: y[3..].as_mut_ptr(), stride };
        // SAFETY: rows and outputs are as long as they say.
        unsafe { multiply(machine, weights, panels.clone(), rows, outputs) };
        let kept = self.rows.len().min(panels.end * PANEL) - panels.start * PANEL;
        y[3..]
            .chunks(stride)
            .map(|row| {
                assert!(row[kept..width].iter().all(|&v| v.to_bits() == 0 || v.is_nan()), "padding {row:?}");
                assert!(row[width..].iter().all(|&v| v == f32::MAX), "outside {row:?}");
                row[..kept].iter().map(|v| v.to_bits()).collect()
            })
            .collect()
    }
}

/// Every instruction set with all kinds of activations that it has for these weights, each beside what it must give.
fn machines(weights: &Weights, x: &[Activations]) -> Vec<(Machine, Vec<Vec<u32>>)> {
    let form = |machine: &Machine| machine.form(weights.panels.layout);
    let mut all = Vec::new();
    for wanted in [Form::Floats, Form::Blocks, Form::Halves] {
        let kinds = |machine: Machine| match weights.panels.layout.is_quantised() {
            true => [machine, machine.with_float_activations()],
            false => [machine, machine.with_pairs()],
        };
        let mut machines: Vec<_> = Machine::all().into_iter().flat_map(kinds).collect();
        machines.retain(|machine| form(machine) == wanted);
        machines.dedup();
        if !machines.is_empty() {
            let expected = weights.expected(wanted, x);
            all.extend(machines.into_iter().map(|machine| (machine, expected.clone())));
        }
    }
    all
}

fn activations(count: usize, columns: usize, numbers: &mut Numbers) -> Vec<Activations> {
    (0..count).map(|_| Activations::new(numbers.floats(columns))).collect()
}

/// All sizes of the list, every number of rows up to 33, every instruction set.
fn check_sizes(layout: Layout, columns: &[usize]) {
    let mut numbers = Numbers::new(layout as u64);
    for &columns in columns {
        for rows in [1, 7, 8, 15, 16, 17, 48] {
            let weights = Weights::new(layout, rows, columns, &mut numbers);
            let x = activations(33, columns, &mut numbers);
            for (machine, expected) in machines(&weights, &x) {
                // The reference in vector form is slow: with many columns, all its tiles and some sums of them.
                let brief = machine.isa() == Isa::Scalar && columns > 600;
                for n in (1..=33).filter(|n| !brief || [1, 2, 3, 4, 5, 9, 33].contains(n)) {
                    let got = weights.multiply(machine, 0..weights.panels.count(), &x[..n]);
                    assert!(
                        got == expected[..n],
                        "{layout:?}: {rows} x {columns}, {n} rows, {}",
                        machine.name()
                    );
                }
            }
        }
    }
}

/// Large numbers of rows, and any range of panels.
fn check_many(layout: Layout, columns: usize) {
    let mut numbers = Numbers::new(77 + layout as u64);
    let weights = Weights::new(layout, 11 * PANEL - 3, columns, &mut numbers);
    let x = activations(512, columns, &mut numbers);
    for (machine, expected) in machines(&weights, &x) {
        for n in [64, 65, 100, 257, 512] {
            assert!(weights.multiply(machine, 0..11, &x[..n]) == expected[..n], "{layout:?}, {n} rows");
        }
        for panels in [0..1, 3..7, 10..11, 2..11] {
            let got = weights.multiply(machine, panels.clone(), &x[100..140]);
            for (got, all) in got.iter().zip(&expected[100..140]) {
                let end = all.len().min(panels.end * PANEL);
                assert!(*got == all[panels.start * PANEL..end], "{layout:?}, panels {panels:?}");
            }
        }
    }
}

macro_rules! layouts {
    ($($name:ident: $layout:ident, [$($columns:literal)*], $many:literal;)*) => {$(
        mod $name {
            use super::*;
            #[test]
            fn equals_the_reference_in_all_sizes() {
                check_sizes(Layout::$layout, &[$($columns),*]);
            }
            #[test]
            fn equals_the_reference_for_many_rows_and_parts_of_the_panels() {
                check_many(Layout::$layout, $many);
            }
        }
    )*};
}

layouts! {
    f32: F32, [1 3 32 64 96 576 1536 4128], 96;
    f16: F16, [1 3 32 64 96 576 1536 4128], 96;
    bf16: BF16, [1 3 32 64 96 576 1536 4128], 96;
    q8_0: Q8_0, [32 64 96 576 1536 4128], 96;
    q4_0: Q4_0, [32 64 96 576 1536 4128], 96;
    q4_1: Q4_1, [32 64 96 576 1536 4128], 96;
    q5_0: Q5_0, [32 64 96 576 1536 4128], 96;
    q5_1: Q5_1, [32 64 96 576 1536 4128], 96;
    q4_k: Q4K, [256 512 768 4096], 256;
    q5_k: Q5K, [256 512 768 4096], 256;
    q6_k: Q6K, [256 512 768 4096], 256;
}

#[test]
fn quantised_activations_equal_the_reference() {
    let mut numbers = Numbers::new(5);
    let mut cases: Vec<Vec<f32>> = (0..2000).map(|_| numbers.floats(96)).collect();
    let special =
        [0.0, -0.0, 1e-45, -1e-38, 3e-37, 3.8e-37, 1e-30, f32::MAX, f32::MIN, 0.5, 1.5, 127.0, -127.0];
    for a in special {
        cases.push(vec![a; 64]);
        for b in special {
            cases.push((0..64).map(|i| if i % 32 == 17 { a } else { b * (i as f32 / 64.0) }).collect());
        }
    }
    cases.push((0..64).map(|i| i as f32 * 0.5 - 16.0).collect());
    for values in cases {
        let expected = Activations::new(values.clone());
        for machine in Machine::all() {
            let mut blocks = vec![Block::default(); values.len() / BLOCK];
            assert!(quantise(machine, &values, &mut blocks));
            assert_eq!(blocks, expected.blocks, "{values:?} on {}", machine.name());
            let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (x, q) in values.iter().zip(blocks.iter().flat_map(|b| b.values.map(|q| (q, b.scale)))) {
                let error = (f64::from(*x) - f64::from(q.0) * f64::from(q.1)).abs();
                assert!(error <= f64::from(largest) / 127.0 * 0.5001 + 4e-37, "{x} {q:?}");
            }
        }
    }
}

/// A row that is not finite is told, and makes the outputs that use it NaN, and no others.
#[test]
fn activations_that_are_not_finite() {
    let mut numbers = Numbers::new(6);
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 31, 32, 77, 255] {
            let mut values = numbers.floats(256);
            values[at] = bad;
            for machine in Machine::all() {
                let mut blocks = vec![Block::default(); 8];
                assert!(!quantise(machine, &values, &mut blocks));
                assert!(
                    blocks.iter().enumerate().all(|(b, block)| block.scale.is_nan() == (b == at / BLOCK))
                );
                for (layout, machine) in Layout::ALL
                    .into_iter()
                    .flat_map(|l| [(l, machine), (l, machine.with_float_activations())])
                {
                    let weights = Weights::new(layout, 20, 256, &mut numbers);
                    let mut x = activations(5, 256, &mut numbers);
                    let expected = weights.expected(machine.form(layout), &x);
                    x[2] = Activations { floats: values.clone(), blocks: blocks.clone() };
                    let got = weights.multiply(machine, 0..2, &x);
                    for (n, (got, expected)) in got.into_iter().zip(expected).enumerate() {
                        if n == 2 {
                            let finite = |v: &u32| f32::from_bits(*v).is_finite();
                            assert!(!got.iter().any(finite), "{layout:?} {bad}");
                        } else {
                            assert!(got == expected, "{layout:?}: row {n} beside {bad}");
                        }
                    }
                }
            }
        }
    }
}

/// The largest integers on both sides, in every combination of sign and place: what would saturate shows here.
#[test]
fn extremes() {
    let columns = 512;
    for layout in Layout::ALL.into_iter().filter(|l| l.is_quantised()) {
        let rows: Vec<_> = (0..40).map(|case| source::extreme_row(layout, columns, case)).collect();
        let weights = Weights::of(layout, columns, rows);
        let x: Vec<_> =
            (0..24).map(|case| Activations::new(source::extreme_activations(columns, case))).collect();
        for (machine, expected) in machines(&weights, &x) {
            assert!(weights.multiply(machine, 0..3, &x) == expected, "{layout:?} on {}", machine.name());
        }
    }
}

#[test]
fn a_scale_that_is_not_finite_is_an_error_with_its_row() {
    let mut numbers = Numbers::new(8);
    for layout in Layout::ALL {
        let mut rows: Vec<_> = (0..37).map(|_| stored_row(layout, 512, &mut numbers)).collect();
        let block = layout.source().block_bytes();
        // The last bytes of a Q6_K block are its scale; other blocks start with theirs.
        let at = if layout == Layout::Q6K { 208 } else { 0 };
        let infinity: &[u8] = match layout {
            Layout::F32 => &[0, 0, 0x80, 0x7F],
            Layout::BF16 => &[0x80, 0xFF],
            _ => &[0, 0x7C],
        };
        rows[33][block + at..][..infinity.len()].copy_from_slice(infinity);
        let mut panels = Panels::zeroed(layout, 37, 512).unwrap();
        // Row r comes from row 36 − r, so that the error must name the source's.
        let filled = panels.fill_blocks(&Pool::new(2), &|row| Some(36 - row), &|row, to| {
            to.copy_from_slice(&rows[row]);
            Ok(())
        });
        let expected = format!(
            "row 33, column {} of the weights must be finite, got infinity or NaN; the file is damaged: fetch it again",
            layout.block_columns()
        );
        assert_eq!(filled.unwrap_err().to_string(), expected, "{layout:?}");
    }
}

#[test]
fn errors_of_the_reader_come_back() {
    let mut panels = Panels::zeroed(Layout::Q8_0, 100, 64).unwrap();
    let broken = || draftwood_base::Error::Internal("reader".into());
    let filled =
        panels.fill_blocks(&Pool::new(2), &Some, &|row, _| if row == 50 { Err(broken()) } else { Ok(()) });
    assert_eq!(filled, Err(broken()));
    assert_eq!(
        Panels::zeroed(Layout::Q4K, 16, 576).unwrap_err().to_string(),
        "columns must be a multiple of 256 for Q4_K, got 576; store the tensor in another type"
    );
}

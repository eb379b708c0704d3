//! No kernel touches a byte outside its buffers: each ends, or begins, at a page that nobody may touch.

use super::{Form, Outputs, PANEL, Rows, Work, multiply};
use crate::guarded::Guarded;
use crate::machine::Machine;
use crate::panels::{Layout, Panels, RowsInPlace};
use crate::quantise::{BLOCK, Block, quantise};
use draftwood_base::pool::Pool;
use std::sync::Arc;

fn panels(layout: Layout, rows: usize, columns: usize) -> Panels {
    let mut panels = Panels::zeroed(layout, rows, columns).unwrap();
    let read = |row: usize, to: &mut [u8]| {
        to.iter_mut().enumerate().for_each(|(i, byte)| *byte = ((7 * i + row) % 60) as u8);
        Ok(())
    };
    panels.fill_blocks(&Pool::new(1), &Some, &read).unwrap();
    panels
}

#[test]
fn nothing_is_touched_outside() {
    for layout in Layout::ALL {
        let one = layout.block_columns();
        for columns in [one, 3 * one, 9 * one] {
            let weights = panels(layout, 33, columns);
            // SAFETY: the matrix holds that many bytes.
            let bytes = unsafe { std::slice::from_raw_parts(weights.panel(0), weights.bytes()) };
            let weights_at = [true, false].map(|end| Guarded::new(bytes, end));
            for n in (1..=17).chain([40]) {
                let floats: Vec<f32> = (0..n * columns).map(|i| (i % 91) as f32 - 45.0).collect();
                let mut blocks = vec![Block::default(); floats.len() / BLOCK];
                if layout.is_quantised() {
                    assert!(quantise(Machine::get(), &floats, &mut blocks));
                }
                // bf16 of 1.0, and behind an odd number of columns 0.
                let padded = columns.next_multiple_of(2);
                let halves: Vec<u16> =
                    (0..n * padded).map(|i| if i % padded < columns { 0x3F80 } else { 0 }).collect();
                let width = weights.count() * PANEL;
                for machine in
                    Machine::all().into_iter().flat_map(|m| [m, m.with_float_activations(), m.with_pairs()])
                {
                    let form = machine.form(layout);
                    let results = [true, false].map(|end| {
                        let floats = Guarded::new(&floats, end);
                        let blocks = Guarded::new(&blocks, end);
                        let halves = Guarded::new(&halves, end);
                        let y = Guarded::new(&vec![f32::NAN; n * width], end);
                        let x = match form {
                            Form::Floats => Rows::floats(floats.start.cast(), columns, n),
                            Form::Halves => Rows::halves(halves.start.cast(), columns.next_multiple_of(2), n),
                            Form::Blocks => Rows::blocks(blocks.start.cast(), columns / BLOCK, n),
                        };
                        let outputs = Outputs { start: y.start.cast(), stride: width };
                        let bytes = layout.panel_bytes(columns);
                        let first = weights_at[usize::from(!end)].start;
                        let work = Work::new(columns, (first, bytes, weights.count()), x, outputs);
                        // SAFETY: everything is as long as it says.
                        unsafe {
                            work.run(machine, layout);
                            std::slice::from_raw_parts(y.start.cast::<f32>(), n * width).to_vec()
                        }
                    });
                    assert!(results[0] == results[1] && results[0].iter().all(|v| v.is_finite()));
                }
            }
        }
    }
}

/// The same for weights that stay where they are: each row lies at a border of its own.
#[test]
fn rows_in_place_are_read_up_to_their_last_byte() {
    for layout in Layout::ALL {
        let one = layout.block_columns();
        for columns in [one, 9 * one, if one == 1 { 301 } else { 2 * one }] {
            let packed = panels(layout, 19, columns);
            let row = |row: usize| -> Vec<u8> {
                (0..layout.row_bytes(columns)).map(|i| ((7 * i + row) % 60) as u8).collect()
            };
            for end in [true, false] {
                let rows: Vec<_> = (0..19).map(|r| Guarded::new(&row(r), end)).collect();
                let starts = rows.iter().map(|row| row.start.cast_const());
                let starts = starts.chain(std::iter::repeat_n(std::ptr::null(), 13)).collect();
                let stored = RowsInPlace::new(starts, layout.source().block_bytes(), Arc::new(rows));
                // SAFETY: each row is as long as its columns.
                let in_place = unsafe { Panels::in_place(layout, 19, columns, stored) }.unwrap();
                for n in [1, 3, 17] {
                    let floats: Vec<f32> = (0..n * columns).map(|i| (i % 91) as f32 - 45.0).collect();
                    for machine in Machine::all().into_iter().map(Machine::with_float_activations) {
                        let results = [&packed, &in_place].map(|weights| {
                            let (x, y) =
                                (Guarded::new(&floats, end), Guarded::new(&vec![f32::NAN; n * 32], end));
                            let outputs = Outputs { start: y.start.cast(), stride: 32 };
                            // SAFETY: everything is as long as it says.
                            unsafe {
                                let rows = Rows::floats(x.start.cast(), columns, n);
                                multiply(machine, weights, 0..2, rows, outputs);
                                std::slice::from_raw_parts(y.start.cast::<f32>(), n * 32).to_vec()
                            }
                        });
                        assert!(results[0] == results[1] && results[0].iter().all(|v| v.is_finite()));
                    }
                }
            }
        }
    }
}

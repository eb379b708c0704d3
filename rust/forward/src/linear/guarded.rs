//! No kernel touches a byte outside its buffers: each ends, or begins, at a page that nobody may touch.

use super::{Form, Outputs, PANEL, Rows, Work};
use crate::machine::Machine;
use crate::panels::{Layout, Panels};
use crate::quantise::{BLOCK, Block, quantise};
use draftwood_base::pool::Pool;

const PAGE: usize = 4096;

/// Memory between two pages without access: it ends at the last one, or begins after the first.
struct Guarded {
    mapping: *mut u8,
    inner: usize,
    start: *mut u8,
}

impl Guarded {
    fn new<T: Copy>(values: &[T], end: bool) -> Self {
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

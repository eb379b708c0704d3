//! Matrices that stay where they are stored, row by row: sixteen rows at a time are packed into a small buffer, and the
//! kernel of panels runs on that. Bits are moved, none is rounded, and the kernel adds in the same order, so outputs are
//! those of the packed matrix.
//!
//! Floats go by stretches of one run of sums, which the buffer keeps in the level-1 cache; quantised weights by whole
//! panels, since their kernels have one accumulator from the first block to the last.

use super::float::{self, RUN};
use super::tiles::LINE;
use super::transpose::{halves, words};
use super::{Floats, Outputs, Rows, Work};
use crate::lanes::prefetch_level2;
use crate::linear::Form;
use crate::machine::Machine;
use crate::panels::{Layout, PANEL, Panels, RowsInPlace, repack};
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

/// What padding rows are read from: a stretch of zeros.
static ZEROS: [u32; RUN] = [0; RUN];

/// A stretch of a panel of floats.
#[repr(align(64))]
struct Buffer(MaybeUninit<[u8; RUN * PANEL * 4]>);

/// # Safety
/// As [`super::multiply`]; `stored` are the rows of `weights`.
pub(super) unsafe fn multiply(
    machine: Machine,
    weights: &Panels,
    stored: &RowsInPlace,
    panels: Range<usize>,
    x: Rows,
    y: Outputs,
) {
    let y_of = |panel: usize| {
        let at = (panel - panels.start) * PANEL;
        Outputs { start: y.start.wrapping_add(at), stride: y.stride }
    };
    if weights.layout.is_quantised() || machine.form(weights.layout) == Form::Halves {
        for panel in panels.clone() {
            // SAFETY: passed on to the caller.
            unsafe { whole(machine, weights, stored, panel, x, y_of(panel)) };
        }
        return;
    }
    let mut buffer = Buffer(MaybeUninit::uninit());
    for panel in panels.clone() {
        let y = y_of(panel);
        for done in (0..weights.columns).step_by(RUN) {
            let columns = RUN.min(weights.columns - done);
            let to = buffer.0.as_mut_ptr().cast::<u8>();
            // SAFETY: the rows hold these columns, the buffer as many of sixteen rows.
            unsafe { stretch(weights.layout, stored, panel, done..done + columns, to) };
            ask_for_next(weights, stored, panel, done + RUN, panels.end);
            let x = Rows { start: x.start.wrapping_add(done), ..x };
            let work = Work::new(columns, (to, 0, 1), x, y);
            // Everything was asked for already: the kernel's own hint stays inside the buffer.
            let work = Work { carry: done > 0, ahead: Some((to, 0)), ..work };
            match weights.layout {
                Layout::F32 => machine.run(Floats(work, float::F32)),
                Layout::F16 => machine.run(Floats(work, float::F16)),
                _ => machine.run(Floats(work, float::BF16)),
            }
        }
    }
}

/// Asks for the rows of the next stretch: of this panel from column `at` on, or else of the next one.
#[inline]
fn ask_for_next(weights: &Panels, stored: &RowsInPlace, panel: usize, at: usize, end: usize) {
    let (panel, at) = if at < weights.columns { (panel, at) } else { (panel + 1, 0) };
    let value = weights.layout.source().block_bytes();
    if panel >= end || stored.step() != value {
        return;
    }
    let bytes = RUN.min(weights.columns - at) * value;
    for row in stored.panel(panel) {
        for line in (0..bytes).step_by(LINE) {
            prefetch_level2(row.wrapping_add(at * value + line));
        }
    }
}

/// Packs some columns of a panel of floats.
///
/// # Safety
/// The rows are valid for the columns, `to` for sixteen rows of as many, rounded up to an even number.
unsafe fn stretch(layout: Layout, stored: &RowsInPlace, panel: usize, columns: Range<usize>, to: *mut u8) {
    let (step, value, count) = (stored.step(), layout.source().block_bytes(), columns.len());
    let all = stored.panel(panel);
    let neighbours = all.windows(2).all(|pair| !pair[0].is_null() && pair[1] == pair[0].wrapping_add(value));
    // Stored as [columns, rows]: sixteen values lie side by side as in the panel.
    if step != value && neighbours {
        let from = all[0].wrapping_add(columns.start * step);
        // SAFETY: sixteen values at each of `count` places, as the caller promises.
        return unsafe { columns_of(layout, from, step, count, to) };
    }
    let rows =
        all.map(
            |row| {
                if row.is_null() { ZEROS.as_ptr().cast() } else { row.wrapping_add(columns.start * step) }
            },
        );
    // SAFETY: as the caller promises; zeros are as long as the longest stretch.
    unsafe {
        match layout {
            _ if step != value => {
                let steps = all.map(|row| if row.is_null() { 0 } else { step });
                scattered(layout, &rows, &steps, count, to);
            }
            Layout::F32 => words(&rows, count, to),
            Layout::F16 => halves(&rows, count, to),
            // Pairs of columns are words; behind an odd number stands a zero.
            _ => {
                words(&rows, count / 2, to);
                if count % 2 == 1 {
                    for (row, from) in rows.iter().enumerate() {
                        let bits = from.add(2 * (count - 1)).cast::<u16>().read_unaligned();
                        to.add(count / 2 * LINE + 4 * row).cast::<u32>().write_unaligned(u32::from(bits));
                    }
                }
            }
        }
    }
}

/// Where a value of a panel's stretch lies, in bytes.
#[inline(always)]
fn place(layout: Layout, column: usize, row: usize) -> usize {
    match layout {
        Layout::F32 => (column * PANEL + row) * 4,
        Layout::F16 => (column * PANEL + row) * 2,
        _ => column / 2 * LINE + 4 * row + 2 * (column % 2),
    }
}

/// Columns of sixteen values, `step` bytes apart.
///
/// # Safety
/// As [`stretch`].
unsafe fn columns_of(layout: Layout, from: *const u8, step: usize, count: usize, to: *mut u8) {
    let bytes = PANEL * layout.source().block_bytes();
    for column in 0..count {
        let from = from.wrapping_add(column * step);
        prefetch_level2(from.wrapping_add(count * step));
        // SAFETY: as the caller promises.
        unsafe {
            if layout == Layout::BF16 {
                for row in 0..PANEL {
                    let bits = from.cast::<u16>().add(row).read_unaligned();
                    to.add(place(layout, column, row)).cast::<u16>().write_unaligned(bits);
                }
            } else {
                std::ptr::copy_nonoverlapping(from, to.add(column * bytes), bytes);
            }
        }
    }
    if layout == Layout::BF16 && count % 2 == 1 {
        for row in 0..PANEL {
            // SAFETY: as the caller promises.
            unsafe { to.add(place(layout, count, row)).cast::<u16>().write_unaligned(0) };
        }
    }
}

/// Rows whose values lie `steps` bytes apart, value by value.
///
/// # Safety
/// As [`stretch`].
unsafe fn scattered(
    layout: Layout,
    rows: &[*const u8; PANEL],
    steps: &[usize; PANEL],
    count: usize,
    to: *mut u8,
) {
    for column in 0..count.next_multiple_of(2) {
        for (row, (from, step)) in rows.iter().zip(steps).enumerate() {
            // SAFETY: as the caller promises; behind an odd number of columns zeros are written, nothing is read.
            unsafe {
                let (from, to) = (from.wrapping_add(column * step), to.add(place(layout, column, row)));
                match layout {
                    _ if column == count && layout == Layout::F32 => {}
                    Layout::F32 => to.cast::<u32>().write_unaligned(from.cast::<u32>().read_unaligned()),
                    _ if column == count => to.cast::<u16>().write_unaligned(0),
                    _ => to.cast::<u16>().write_unaligned(from.cast::<u16>().read_unaligned()),
                }
            }
        }
    }
}

/// What a thread packs whole panels into: whole lines.
#[derive(Default)]
struct Scratch {
    panel: Vec<Line>,
    /// A row of zeros.
    zeros: Vec<u8>,
    /// A row whose values are apart, closed up.
    rows: Vec<u8>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read and written as bytes")] [u8; LINE]);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Packs a whole panel and multiplies it. A scale that is not finite makes the outputs NaN.
///
/// # Safety
/// As [`multiply`].
unsafe fn whole(machine: Machine, weights: &Panels, stored: &RowsInPlace, panel: usize, x: Rows, y: Outputs) {
    let (layout, columns) = (weights.layout, weights.columns);
    let (row_bytes, bytes) = (layout.row_bytes(columns), layout.panel_bytes(columns));
    SCRATCH.with_borrow_mut(|scratch| {
        let lines = bytes.div_ceil(LINE);
        if scratch.panel.len() < lines {
            scratch.panel.resize(lines, Line([0; LINE]));
        }
        if scratch.zeros.len() < row_bytes {
            scratch.zeros.resize(row_bytes, 0);
        }
        let (step, value) = (stored.step(), layout.source().block_bytes());
        if step != value {
            scratch.rows.resize(PANEL * row_bytes, 0);
        }
        let closed = scratch.rows.as_mut_ptr();
        let rows: [&[u8]; PANEL] = std::array::from_fn(|row| {
            let from = stored.panel(panel)[row];
            if from.is_null() {
                return &scratch.zeros[..row_bytes];
            }
            if step == value {
                // SAFETY: the row holds that many bytes, as `Panels::in_place` was promised.
                return unsafe { std::slice::from_raw_parts(from, row_bytes) };
            }
            // SAFETY: as above, block by block; the sixteen rows of `closed` do not overlap.
            unsafe {
                let to = closed.add(row * row_bytes);
                for block in 0..row_bytes / value {
                    std::ptr::copy_nonoverlapping(from.add(block * step), to.add(block * value), value);
                }
                std::slice::from_raw_parts(to, row_bytes)
            }
        });
        // SAFETY: `lines` whole lines of bytes.
        let to = unsafe { std::slice::from_raw_parts_mut(scratch.panel.as_mut_ptr().cast(), lines * LINE) };
        if layout == Layout::BF16 && columns % 2 == 1 {
            to[bytes - LINE..bytes].fill(0);
        }
        if repack(layout, &rows, row_bytes, &mut to[..bytes]).is_err() {
            for row in 0..x.count {
                for lane in 0..PANEL {
                    // SAFETY: the outputs are the caller's word.
                    unsafe { y.start.add(row * y.stride + lane).write(f32::NAN) };
                }
            }
            return;
        }
        // SAFETY: a whole panel; rows and outputs are the caller's word.
        unsafe { Work::new(columns, (to.as_ptr(), bytes, 1), x, y).run(machine, layout) };
    });
}

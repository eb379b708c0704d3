//! The same weights where a file or another library has them: one row after the other at an odd address, rows in any
//! order with rows of zeros between them, and floats as [columns, rows].

use draftwood_forward::panels::{Layout, PANEL, Panels, RowsInPlace};
use std::sync::Arc;

/// Every way in which these rows may lie.
pub fn all(layout: Layout, columns: usize, rows: &[Vec<u8>]) -> Vec<Panels> {
    let mut all = vec![one_after_the_other(layout, columns, rows)];
    if !layout.is_quantised() {
        all.push(transposed(layout, columns, rows));
    }
    all
}

fn one_after_the_other(layout: Layout, columns: usize, rows: &[Vec<u8>]) -> Panels {
    let len = layout.row_bytes(columns);
    // Backwards, and off every boundary by one byte.
    let memory: Vec<u8> = std::iter::once(0).chain(rows.iter().rev().flatten().copied()).collect();
    let at = |row: usize| memory.as_ptr().wrapping_add(1 + (rows.len() - 1 - row) * len);
    let starts = (0..rows.len().next_multiple_of(PANEL))
        .map(|row| if row < rows.len() { at(row) } else { std::ptr::null() })
        .collect();
    of(layout, rows.len(), columns, starts, layout.source().block_bytes(), memory)
}

fn transposed(layout: Layout, columns: usize, rows: &[Vec<u8>]) -> Panels {
    let (size, wide) = (layout.source().block_bytes(), rows.len() + 3);
    let mut memory = vec![0xFF; 1 + columns * wide * size];
    for (row, values) in rows.iter().enumerate() {
        for (column, value) in values.chunks(size).enumerate() {
            memory[1 + (column * wide + row) * size..][..size].copy_from_slice(value);
        }
    }
    let starts =
        (0..rows.len().next_multiple_of(PANEL))
            .map(|row| {
                if row < rows.len() { memory.as_ptr().wrapping_add(1 + row * size) } else { std::ptr::null() }
            })
            .collect();
    of(layout, rows.len(), columns, starts, wide * size, memory)
}

fn of(
    layout: Layout,
    rows: usize,
    columns: usize,
    starts: Box<[*const u8]>,
    step: usize,
    memory: Vec<u8>,
) -> Panels {
    let stored = RowsInPlace::new(starts, step, Arc::new(memory));
    // SAFETY: each address is one of a row of `columns` values in memory that the matrix now owns.
    let panels = unsafe { Panels::in_place(layout, rows, columns, stored) }.unwrap();
    assert_eq!(panels.bytes(), rows * layout.row_bytes(columns));
    panels
}

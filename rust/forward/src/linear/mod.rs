//! y = W·x for panels of W: one family of kernels for one row and for five hundred.
//!
//! Each output is one accumulator that starts at 0 and takes its products in the order of the columns, by fused
//! multiply-add. So its bits depend on nothing but its row of W and its row of x: not on how many rows are computed
//! together, nor on tiles, threads or the instruction set.

mod float;

use crate::lanes::Lanes;
use crate::machine::{Kernel, Machine};
use crate::panels::{Layout, PANEL, Panels};
use std::ops::Range;

/// Rows of activations: n rows of `columns` f32, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    /// First value of the first row.
    pub start: *const f32,
    /// Values from one row to the next.
    pub stride: usize,
    /// Number of rows.
    pub count: usize,
}

/// Where outputs go: row r, output o at `start + r·stride + o`.
#[derive(Debug, Clone, Copy)]
pub struct Outputs {
    /// Output 0 of row 0: the first row of the first panel.
    pub start: *mut f32,
    /// Values from one row to the next.
    pub stride: usize,
}

/// Multiplies the panels `panels` of `weights` with all rows of `x`.
///
/// # Safety
/// `x` is valid for its rows of `weights.columns` values, `y` for as many rows of 16 · panels values that nobody else
/// reads or writes meanwhile.
///
/// # Panics
/// If there are no such panels.
pub unsafe fn multiply(machine: Machine, weights: &Panels, panels: Range<usize>, x: Rows, y: Outputs) {
    if panels.is_empty() || x.count == 0 {
        return;
    }
    let first = weights.panel(panels.start);
    assert!(panels.end <= weights.count(), "panels {panels:?} of {}", weights.count());
    machine.run(Multiply { weights, first, count: panels.len(), x, y });
}

struct Multiply<'a> {
    weights: &'a Panels,
    first: *const u8,
    count: usize,
    x: Rows,
    y: Outputs,
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let columns = self.weights.columns;
        let panel = |p: usize| self.first.wrapping_add(p * self.weights.layout.panel_bytes(columns));
        for_tiles(self.count, self.x.count, L::FLOAT_ROWS, self.panels_at_once(), |p, tile| {
            let hint = Prefetch::plan(panel(p), panel(p + 1), self.weights.layout, columns, &tile);
            let x = self.x.start.wrapping_add(tile.first * self.x.stride);
            let y = Outputs {
                start: self.y.start.wrapping_add(p * PANEL + tile.first * self.y.stride),
                stride: self.y.stride,
            };
            match self.weights.layout {
                // SAFETY: the panel exists, and rows and outputs are as `multiply` demands.
                Layout::F32 => unsafe {
                    float::f32_tile::<L>(panel(p).cast(), columns, x, self.x.stride, tile.rows, y, hint);
                },
            }
        });
    }
}

impl Multiply<'_> {
    /// With many rows, several panels share a pass over x, as long as they stay in the level-2 cache.
    #[inline(always)]
    fn panels_at_once(&self) -> usize {
        const LEVEL2: usize = 192 << 10;
        let panel = self.weights.layout.panel_bytes(self.weights.columns);
        if self.x.count <= 32 { 1 } else { (LEVEL2 / panel.max(1)).clamp(1, 8) }
    }
}

/// Part of the rows of a panel.
struct Tile {
    first: usize,
    rows: usize,
    /// Number of this tile among `tiles`.
    index: usize,
    tiles: usize,
}

/// Cuts `rows` into equal tiles of at most `most`, and runs each with each panel; blocks of `at_once` panels share a pass
/// over the rows.
#[inline(always)]
fn for_tiles(panels: usize, rows: usize, most: usize, at_once: usize, mut work: impl FnMut(usize, Tile)) {
    let tiles = rows.div_ceil(most);
    let mut first_panel = 0;
    while first_panel < panels {
        let last_panel = (first_panel + at_once).min(panels);
        for index in 0..tiles {
            let (first, end) = (rows * index / tiles, rows * (index + 1) / tiles);
            for panel in first_panel..last_panel {
                work(panel, Tile { first, rows: end - first, index, tiles });
            }
        }
        first_panel = last_panel;
    }
}

/// What a tile asks for ahead of time. The processor hides about 100 ns times what its reorder window holds: with few
/// rows that is enough to stream, with many it isn't, and memory time would add to arithmetic.
#[derive(Clone, Copy)]
struct Prefetch {
    address: *const u8,
    /// Bytes on per column.
    step: usize,
    /// Into level 2 instead of "once".
    level2: bool,
}

/// Distance of the non-temporal hint.
const AHEAD: usize = 2048;

impl Prefetch {
    /// Few rows: 2 KiB ahead in the same stream. Many: the next panel, spread evenly over the tiles of this one.
    #[inline(always)]
    fn plan(panel: *const u8, next: *const u8, layout: Layout, columns: usize, tile: &Tile) -> Self {
        let bytes = layout.panel_bytes(columns);
        let per_column = bytes / columns.max(1);
        if tile.tiles == 1 && tile.rows <= 4 {
            return Self { address: panel.wrapping_add(AHEAD), step: per_column, level2: false };
        }
        let start = next.wrapping_add(bytes / tile.tiles * tile.index);
        Self { address: start, step: per_column / tile.tiles, level2: true }
    }
}

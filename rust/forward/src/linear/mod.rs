//! y = W·x for panels of W: one family of kernels for one row and for five hundred.
//!
//! Each output is one accumulator that starts at 0 and takes its products in the order of the columns, by fused
//! multiply-add; quantised weights take theirs block by block, the sum inside a block being an exact integer. So its bits
//! depend on nothing but its row of W and its row of x: not on how many rows are computed together, nor on tiles, threads
//! or the instruction set.

mod blocks;
pub(crate) mod dots;
mod float;
mod tiles;

use crate::lanes::Lanes;
use crate::machine::{Kernel, Machine};
use crate::panels::{Layout, PANEL, Panels};
use crate::quantise::Block;
use dots::{BlockKernel, Dots};
use std::ops::Range;
use tiles::{Tile, Tiles};

/// Rows of activations: n rows of `columns` values.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    /// First value of the first row; null for quantised weights that need no floats.
    pub start: *const f32,
    /// Values from one row to the next.
    pub stride: usize,
    /// Number of rows.
    pub count: usize,
    /// First block of the first row, for quantised weights; null for others.
    pub blocks: *const Block,
    /// Blocks from one row to the next.
    pub block_stride: usize,
}

impl Rows {
    /// Rows for weights that are floats.
    pub fn floats(start: *const f32, stride: usize, count: usize) -> Self {
        Self { start, stride, count, blocks: std::ptr::null(), block_stride: 0 }
    }

    /// Rows for weights that are quantised ([`Layout::is_quantised`]).
    pub fn blocks(blocks: *const Block, block_stride: usize, count: usize) -> Self {
        Self { start: std::ptr::null(), stride: 0, count, blocks, block_stride }
    }
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
/// `x` is valid for its rows of `weights.columns` values (`blocks` instead of floats if the layout is quantised), `y` for
/// as many rows of 16 · panels values that nobody else reads or writes meanwhile.
///
/// # Panics
/// If there are no such panels, or no activations of the kind that the layout takes.
pub unsafe fn multiply(machine: Machine, weights: &Panels, panels: Range<usize>, x: Rows, y: Outputs) {
    if panels.is_empty() || x.count == 0 {
        return;
    }
    let first = weights.panel(panels.start);
    assert!(panels.end <= weights.count(), "panels {panels:?} of {}", weights.count());
    let quantised = weights.layout.is_quantised();
    assert!(if quantised { !x.blocks.is_null() } else { !x.start.is_null() }, "{:?}", weights.layout);
    let bytes = weights.layout.panel_bytes(weights.columns);
    let work = Work { columns: weights.columns, first, bytes, count: panels.len(), x, y };
    // SAFETY: the panels are there; rows and outputs are the caller's word.
    unsafe { work.run(machine, weights.layout) };
}

/// Neighbouring panels, valid as [`multiply`] demands.
struct Work {
    columns: usize,
    first: *const u8,
    /// Bytes of a panel.
    bytes: usize,
    /// Panels.
    count: usize,
    x: Rows,
    y: Outputs,
}

struct Floats<F>(Work, F);
struct Blocks<F>(Work, F);

// No closures here: they are functions of their own, without the instruction set, and vector code inside one becomes
// calls where it is not inlined.
impl<F: float::Values> Kernel for Floats<F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Work { columns, bytes, x, .. } = self.0;
        for tile in self.0.tiles(L::FLOAT_ROWS) {
            let (panel, y) = self.0.place(&tile);
            let from = x.start.wrapping_add(tile.first * x.stride);
            let hint = tile.hint(panel, bytes, F::STREAM_ROWS);
            // SAFETY: the panel exists, and rows and outputs are as `multiply` demands.
            unsafe { float::tile::<L, F>(panel, columns, from, x.stride, tile.rows, y, hint) }
        }
    }
}

impl<F: blocks::Format> BlockKernel for Blocks<F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dots>(self) {
        let Work { columns, bytes, x, .. } = self.0;
        for tile in self.0.tiles(D::ROWS) {
            let (panel, y) = self.0.place(&tile);
            let from = x.blocks.wrapping_add(tile.first * x.block_stride);
            let hint = tile.hint(panel, bytes, F::STREAM_ROWS);
            // SAFETY: as above.
            unsafe { blocks::tile::<D, F>(panel, columns, from, x.block_stride, tile.rows, y, hint) }
        }
    }
}

impl Work {
    /// # Safety
    /// As [`multiply`]; the panels are laid out as `layout`.
    unsafe fn run(self, machine: Machine, layout: Layout) {
        match layout {
            Layout::F32 => machine.run(Floats(self, float::F32)),
            Layout::F16 => machine.run(Floats(self, float::F16)),
            Layout::BF16 => machine.run(Floats(self, float::BF16)),
            Layout::Q8_0 => machine.run_blocks(Blocks(self, blocks::Q8_0)),
            Layout::Q4_0 => machine.run_blocks(Blocks(self, blocks::Q4_0)),
            Layout::Q4_1 => machine.run_blocks(Blocks(self, blocks::Q4_1)),
            Layout::Q5_0 => machine.run_blocks(Blocks(self, blocks::Q5_0)),
            Layout::Q5_1 => machine.run_blocks(Blocks(self, blocks::Q5_1)),
            Layout::Q4K => machine.run_blocks(Blocks(self, blocks::Q4K)),
            Layout::Q5K => machine.run_blocks(Blocks(self, blocks::Q5K)),
            Layout::Q6K => machine.run_blocks(Blocks(self, blocks::Q6K)),
        }
    }

    /// With many rows, several panels share a pass over x, as long as they stay in the level-2 cache.
    #[inline(always)]
    fn tiles(&self, most: usize) -> Tiles {
        const LEVEL2: usize = 192 << 10;
        let at_once = if self.x.count <= 32 { 1 } else { (LEVEL2 / self.bytes.max(1)).clamp(1, 8) };
        Tiles::new(self.count, self.x.count, most, at_once)
    }

    /// The tile's panel and outputs.
    #[inline(always)]
    fn place(&self, tile: &Tile) -> (*const u8, Outputs) {
        let at = tile.panel * PANEL + tile.first * self.y.stride;
        let y = Outputs { start: self.y.start.wrapping_add(at), stride: self.y.stride };
        (self.first.wrapping_add(tile.panel * self.bytes), y)
    }
}

#[cfg(test)]
mod guarded;

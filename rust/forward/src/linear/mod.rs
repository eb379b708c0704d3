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
use tiles::{Tile, for_tiles};

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
    let multiply =
        Multiply { layout: weights.layout, columns: weights.columns, first, count: panels.len(), x, y };
    if quantised { machine.run_blocks(multiply) } else { machine.run(multiply) }
}

#[derive(Clone, Copy)]
struct Multiply {
    layout: Layout,
    columns: usize,
    first: *const u8,
    count: usize,
    x: Rows,
    y: Outputs,
}

impl Kernel for Multiply {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: panels, rows and outputs are as `multiply` demands.
        unsafe {
            match self.layout {
                Layout::F32 => self.floats::<L, float::F32>(),
                Layout::F16 => self.floats::<L, float::F16>(),
                Layout::BF16 => self.floats::<L, float::BF16>(),
                _ => unreachable!("{:?} takes blocks", self.layout),
            }
        }
    }
}

impl BlockKernel for Multiply {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dots>(self) {
        // SAFETY: as above.
        unsafe {
            match self.layout {
                Layout::F32 | Layout::F16 | Layout::BF16 => unreachable!("{:?} takes floats", self.layout),
                Layout::Q8_0 => self.blocks::<D, blocks::Q8_0>(),
                Layout::Q4_0 => self.blocks::<D, blocks::Q4_0>(),
                Layout::Q4_1 => self.blocks::<D, blocks::Q4_1>(),
                Layout::Q5_0 => self.blocks::<D, blocks::Q5_0>(),
                Layout::Q5_1 => self.blocks::<D, blocks::Q5_1>(),
                Layout::Q4K => self.blocks::<D, blocks::Q4K>(),
                Layout::Q5K => self.blocks::<D, blocks::Q5K>(),
                Layout::Q6K => self.blocks::<D, blocks::Q6K>(),
            }
        }
    }
}

impl Multiply {
    #[inline(always)]
    unsafe fn floats<L: Lanes, F: float::Values>(self) {
        self.each_tile(L::FLOAT_ROWS, |panel, next, tile, y| {
            let x = self.x.start.wrapping_add(tile.first * self.x.stride);
            let hint = tile.hint(panel, next, self.panel_bytes());
            // SAFETY: the panel exists, and rows and outputs are as `multiply` demands.
            unsafe { float::tile::<L, F>(panel, self.columns, x, self.x.stride, tile.rows, y, hint) }
        });
    }

    #[inline(always)]
    unsafe fn blocks<D: Dots, F: blocks::Format>(self) {
        self.each_tile(D::ROWS, |panel, next, tile, y| {
            let x = self.x.blocks.wrapping_add(tile.first * self.x.block_stride);
            let hint = tile.hint(panel, next, self.panel_bytes());
            // SAFETY: as above.
            unsafe { blocks::tile::<D, F>(panel, self.columns, x, self.x.block_stride, tile.rows, y, hint) }
        });
    }

    /// `work(panel, next panel, tile of rows, outputs)`; `most` rows in a tile.
    #[inline(always)]
    fn each_tile(self, most: usize, mut work: impl FnMut(*const u8, *const u8, Tile, Outputs)) {
        let bytes = self.panel_bytes();
        for_tiles(self.count, self.x.count, most, self.panels_at_once(), |p, tile| {
            let panel = self.first.wrapping_add(p * bytes);
            let start = self.y.start.wrapping_add(p * PANEL + tile.first * self.y.stride);
            work(panel, panel.wrapping_add(bytes), tile, Outputs { start, stride: self.y.stride });
        });
    }

    #[inline(always)]
    fn panel_bytes(self) -> usize {
        self.layout.panel_bytes(self.columns)
    }

    /// With many rows, several panels share a pass over x, as long as they stay in the level-2 cache.
    #[inline(always)]
    fn panels_at_once(self) -> usize {
        const LEVEL2: usize = 192 << 10;
        if self.x.count <= 32 { 1 } else { (LEVEL2 / self.panel_bytes().max(1)).clamp(1, 8) }
    }
}

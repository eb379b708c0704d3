//! y = W·x for panels of W: one family of kernels for one row and for five hundred.
//!
//! Each output takes its products in the order of the columns, by fused multiply-add into one accumulator that starts at
//! 0 for every run of 256 columns; the runs are added in order. Quantised weights go block by block, the sum inside a
//! block being an exact integer. So an output's bits depend on nothing but its row of W and its row of x: not on how many rows are computed together, nor on tiles, threads
//! or the instruction set.

mod blocks;
pub(crate) mod dots;
mod expand;
mod float;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod rows;
pub(crate) mod tiles;
mod transpose;

use crate::lanes::Lanes;
use crate::machine::{Kernel, Machine};
use crate::panels::{Layout, PANEL, Panels};
use crate::quantise::Block;
use dots::{BlockKernel, Dots};
use expand::Stretch;
use std::ops::Range;
use tiles::{Tile, Tiles};

/// What kernels take activations as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// f32.
    Floats,
    /// [`Block`]s of 8-bit integers.
    Blocks,
    /// bf16, see [`round`].
    Halves,
}

/// Rows of activations: n rows of `columns` values.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    /// First value of the first row; null where only blocks are wanted.
    pub start: *const f32,
    /// Values from one row to the next.
    pub stride: usize,
    /// Number of rows.
    pub count: usize,
    /// First block of the first row; null where only floats are wanted.
    pub blocks: *const Block,
    /// Blocks from one row to the next.
    pub block_stride: usize,
    /// First bf16 value of the first row, `stride` as for floats; null where none are wanted. An odd number of columns
    /// has a zero behind it.
    pub halves: *const u16,
}

impl Rows {
    /// Rows of [`Form::Floats`].
    pub fn floats(start: *const f32, stride: usize, count: usize) -> Self {
        Self { start, stride, ..Self::none(count) }
    }

    /// Rows of [`Form::Halves`].
    pub fn halves(halves: *const u16, stride: usize, count: usize) -> Self {
        Self { halves, stride, ..Self::none(count) }
    }

    fn none(count: usize) -> Self {
        let (start, blocks, halves) = (std::ptr::null(), std::ptr::null(), std::ptr::null());
        Self { start, stride: 0, count, blocks, block_stride: 0, halves }
    }

    /// Rows of [`Form::Blocks`].
    pub fn blocks(blocks: *const Block, block_stride: usize, count: usize) -> Self {
        Self { blocks, block_stride, ..Self::none(count) }
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
/// `x` is valid for its rows of `weights.columns` values, in the form that [`Machine::form`] names, `y` for as many rows of 16 · panels values that nobody else reads or writes meanwhile.
///
/// # Panics
/// If there are no such panels, or no activations of the kind that the layout takes.
pub unsafe fn multiply(machine: Machine, weights: &Panels, panels: Range<usize>, x: Rows, y: Outputs) {
    if panels.is_empty() || x.count == 0 {
        return;
    }
    assert!(panels.end <= weights.count(), "panels {panels:?} of {}", weights.count());
    let there = match machine.form(weights.layout) {
        Form::Floats => !x.start.is_null(),
        Form::Blocks => !x.blocks.is_null(),
        Form::Halves => !x.halves.is_null(),
    };
    assert!(there, "{:?}", weights.layout);
    if let Some(stored) = weights.rows_in_place() {
        // SAFETY: passed on to the caller; the rows are as `Panels::in_place` was promised.
        return unsafe { rows::multiply(machine, weights, stored, panels, x, y) };
    }
    let first = weights.panel(panels.start);
    let bytes = weights.layout.panel_bytes(weights.columns);
    let work = Work::new(weights.columns, (first, bytes, panels.len()), x, y);
    // SAFETY: the panels are there; rows and outputs are the caller's word.
    unsafe { work.run(machine, weights.layout) };
}

/// Rounds activations to bf16, to nearest, ties to even: the form [`Form::Halves`]. Values below 2⁻¹²⁶ become zero.
///
/// # Panics
/// If `to` does not hold as many values, or one more; or if no matrix takes them on this machine.
pub fn round(machine: Machine, values: &[f32], to: &mut [u16]) {
    assert!(to.len() - values.len() <= 1, "{} values to {}", values.len(), to.len());
    #[cfg(target_arch = "x86_64")]
    return machine.run_pairs(pairs::Round { values, to });
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("no matrix takes bf16 on {}", machine.name());
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
    /// Outputs go on from what they are; for floats only.
    carry: bool,
    /// What is asked for meanwhile, instead of the weights themselves: an address and a number of bytes.
    ahead: Option<(*const u8, usize)>,
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
            let hint = match self.0.ahead {
                Some((address, bytes)) => tile.spread(address, bytes, columns.div_ceil(F::COLUMNS)),
                None => tile.hint(panel, bytes, F::AHEAD),
            };
            // SAFETY: the panel exists, and rows and outputs are as `multiply` demands.
            unsafe { float::tile::<L, F>(panel, columns, from, x.stride, tile.rows, y, hint, self.0.carry) }
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
            let hint = tile.hint(panel, bytes, tiles::AHEAD);
            // SAFETY: as above.
            unsafe { blocks::tile::<D, F>(panel, columns, from, x.block_stride, tile.rows, y, hint) }
        }
    }
}

impl Work {
    /// `panels`: address of the first, bytes of each, number.
    fn new(columns: usize, (first, bytes, count): (*const u8, usize, usize), x: Rows, y: Outputs) -> Self {
        Self { columns, first, bytes, count, x, y, carry: false, ahead: None }
    }

    /// # Safety
    /// As [`multiply`]; the panels are laid out as `layout`.
    unsafe fn run(self, machine: Machine, layout: Layout) {
        match machine.form(layout) {
            Form::Floats => self.run_floats(machine, layout),
            Form::Blocks => self.run_blocks(machine, layout),
            #[cfg(target_arch = "x86_64")]
            Form::Halves if layout == Layout::F16 => machine.run_pairs(pairs::Halves(self)),
            #[cfg(target_arch = "x86_64")]
            Form::Halves => machine.run_pairs(pairs::Pairs(self)),
            #[cfg(not(target_arch = "x86_64"))]
            Form::Halves => unreachable!("no pairs here"),
        }
    }

    /// Products of floats.
    fn run_floats(self, machine: Machine, layout: Layout) {
        match layout {
            Layout::F32 => machine.run(Floats(self, float::F32)),
            Layout::F16 => machine.run(Floats(self, float::F16)),
            Layout::BF16 => machine.run(Floats(self, float::BF16)),
            Layout::Q8_0 => self.run_expanded::<blocks::Q8_0>(machine),
            Layout::Q4_0 => self.run_expanded::<blocks::Q4_0>(machine),
            Layout::Q4_1 => self.run_expanded::<blocks::Q4_1>(machine),
            Layout::Q5_0 => self.run_expanded::<blocks::Q5_0>(machine),
            Layout::Q5_1 => self.run_expanded::<blocks::Q5_1>(machine),
            Layout::Q4K => self.run_expanded::<blocks::Q4K>(machine),
            Layout::Q5K => self.run_expanded::<blocks::Q5K>(machine),
            Layout::Q6K => self.run_expanded::<blocks::Q6K>(machine),
        }
    }

    /// Quantised weights with f32 activations, stretch by stretch of each panel.
    fn run_expanded<F: expand::Expand>(self, machine: Machine) {
        let mut buffer = expand::Buffer::new();
        for panel in 0..self.count {
            let mut from = self.first.wrapping_add(panel * self.bytes);
            let y = Outputs { start: self.y.start.wrapping_add(panel * PANEL), stride: self.y.stride };
            let mut done = 0;
            while done < self.columns {
                let (columns, bytes) = Stretch::<F>::size(self.columns - done);
                // SAFETY: the stretch lies inside the panel, and fits the buffer.
                machine.run_blocks(unsafe {
                    Stretch::<F>::new(from, columns, buffer.start(), self.x.count == 1)
                });
                from = from.wrapping_add(bytes);
                let x = Rows { start: self.x.start.wrapping_add(done), ..self.x };
                let work = Work::new(columns, (buffer.start().cast(), 0, 1), x, y);
                machine.run(Floats(Work { carry: done > 0, ahead: Some((from, bytes)), ..work }, float::F32));
                done += columns;
            }
        }
    }

    /// The products of integers.
    fn run_blocks(self, machine: Machine, layout: Layout) {
        match layout {
            Layout::F32 | Layout::F16 | Layout::BF16 => unreachable!("{layout:?} takes floats"),
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

    /// Tiles of one panel.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn tiles_of_panel(&self, most: usize) -> Tiles {
        Tiles::new(1, self.x.count, most, 1)
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

//! Attention over pages: softmax(q·Kᵀ·scale)·V for every row and head of a step.
//!
//! Positions are cut into fixed *splits* of 256. A unit of work is one kv head and one split; its tiles of up to six
//! queries (rows × heads that share the kv head) read each page once, four tiles while it is in level 1. Within a split,
//! for one query:
//!
//! 1. score of position p = one chain of fused multiply-adds over the dimensions, times the scale;
//! 2. m = the largest score; e = exp(score − m); l = Σ e with lane = p mod 16;
//! 3. o = Σ e·v, one accumulator per dimension, positions ascending.
//!
//! [`merge`](merge::Merge) then folds the splits in order (Milakov and Gimelshein 2018, the online softmax, with fixed
//! splits). A key that a row does not see enters neither 2 nor 3; a split of which a row sees nothing, because its window
//! begins later, is no part of its result. So no result depends on where keys lie, what other
//! rows there are, or which thread did what.

mod band;
pub mod merge;
mod tile;

use crate::cache::{Cache, CacheType, Element, PAGE};
use crate::lanes::{Lanes, WIDTH};
use crate::machine::{Kernel, Machine};
use crate::memory::Shared;
use crate::sight::{Sight, TextSight};
use band::{Ahead, Band};
use half::f16;
use std::marker::PhantomData;
use std::ops::Range;

/// Positions per split.
pub const SPLIT: usize = 256;

/// Most queries whose scores are computed together.
pub(crate) const QUERIES: usize = 6;

/// Most tiles whose queries are computed together.
const TILES: usize = 4;

/// First position that a row at `position` sees: all from 0, or the last `window`, its own included.
#[inline(always)]
pub fn first_visible(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

/// Splits that hold a position that a row at `position` sees.
#[inline(always)]
pub fn splits(position: usize, window: Option<usize>) -> Range<usize> {
    first_visible(position, window) / SPLIT..position / SPLIT + 1
}

/// Where partial results lie: per row of the block, head and split the values o, m, l and its weight, padded to whole
/// vectors.
#[derive(Debug, Clone, Copy)]
pub struct Partials {
    /// The buffer.
    pub buffer: Shared<f32>,
    /// First row of the block.
    pub first_row: usize,
    /// Query heads.
    pub heads: usize,
    /// Splits of the longest row of the step.
    pub splits: usize,
    /// Dimensions of a head in whole vectors.
    pub padded_dim: usize,
}

impl Partials {
    /// Values of one partial result: o, then m, l and the weight that merging gives it.
    pub fn stride(padded_dim: usize) -> usize {
        padded_dim + WIDTH
    }

    /// Address of a partial result.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, head: usize, split: usize) -> *mut f32 {
        let stride = Self::stride(self.padded_dim);
        self.buffer.at((((row - self.first_row) * self.heads + head) * self.splits + split) * stride, stride)
    }
}

/// What all units of a layer share.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// What each row sees.
    pub sight: &'a Sight,
    /// `StepRows::pages`, checked by the sight.
    pub pages: &'a [i32],
    /// Keys and values; those of the step's own rows are stored.
    pub cache: &'a Cache,
    /// Number of the layer.
    pub layer: usize,
    /// [R][heads][padded_dim] queries, rotated.
    pub queries: Shared<f32>,
    /// Query heads.
    pub heads: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Positions that a row sees, its own included; None: all.
    pub window: Option<usize>,
    /// Results.
    pub partials: Partials,
}

/// One kv head and one split, for some queries of one text.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Index of the text.
    pub text: usize,
    /// Key-value head.
    pub kv_head: usize,
    /// Split.
    pub split: usize,
    /// First row of the queries.
    pub first_row: usize,
    /// Queries: query q is the kv head's query head q mod g of row `first_row` + q / g, where g query heads share a kv
    /// head. Those that see nothing of the split are passed over.
    pub queries: Range<usize>,
}

impl Unit {
    /// Text, kv head and split: which pages it reads.
    fn place(&self) -> (usize, usize, usize) {
        (self.text, self.kv_head, self.split)
    }
}

/// Units per thread below which those with several tiles are cut: threads that finish early have something left to take.
const UNITS_PER_THREAD: usize = 8;

/// All units of the rows `block` in a layer with that window, kv head by kv head: `groups` is the number of kv heads and
/// of the query heads that share one.
pub fn units(
    sight: &Sight,
    block: Range<usize>,
    (kv_heads, group): (usize, usize),
    window: Option<usize>,
    threads: usize,
    to: &mut Vec<Unit>,
) {
    to.clear();
    let texts =
        || (0..sight.texts.len()).filter_map(|text| Some((text, reach(sight, text, &block, window)?)));
    let whole: usize = texts().map(|(_, (_, reached))| kv_heads * reached.len()).sum();
    let parts = if threads == 1 { 1 } else { (UNITS_PER_THREAD * threads).div_ceil(whole.max(1)) };
    for (text, (rows, reached)) in texts() {
        let queries = rows.len() * group;
        let tiles = queries.div_ceil(QUERIES);
        let parts = parts.min(tiles);
        let border = |part: usize| (tiles * part / parts * QUERIES).min(queries);
        for kv_head in 0..kv_heads {
            for split in reached.clone() {
                to.extend((0..parts).map(|part| Unit {
                    text,
                    kv_head,
                    split,
                    first_row: rows.start,
                    queries: border(part)..border(part + 1),
                }));
            }
        }
    }
}

/// The rows of a text among `block`, and the splits that any of them sees; None if there are no rows.
fn reach(
    sight: &Sight,
    text: usize,
    block: &Range<usize>,
    window: Option<usize>,
) -> Option<(Range<usize>, Range<usize>)> {
    let all = &sight.texts[text].rows;
    let rows = all.start.max(block.start)..all.end.min(block.end);
    let positions = sight.rows.get(rows.clone())?.iter().map(|row| row.position);
    let (shortest, longest) = (positions.clone().min()?, positions.max()?);
    Some((rows, splits(shortest, window).start..splits(longest, window).end))
}

/// Per-thread memory of [`attend`].
#[derive(Debug, Default)]
pub struct Scratch {
    /// [24][256] scores, then their exponentials.
    scores: Vec<f32>,
    /// [6][tree slots] scores of drafted keys by slot.
    drafted: Vec<f32>,
    /// Layer and place of the unit whose pages were asked for last.
    asked: Option<(usize, (usize, usize, usize))>,
}

/// Runs the units `range` of `units`, one after the other.
///
/// # Safety
/// Queries and keys of the layer are complete; no other thread works on the same units.
pub unsafe fn attend(
    machine: Machine,
    layer: Layer<'_>,
    units: &[Unit],
    range: Range<usize>,
    scratch: &mut Scratch,
) {
    for index in range {
        let unit = &units[index];
        let next = units[index + 1..].iter().find(|next| next.place() != unit.place());
        let ahead = Ahead { next, cold: scratch.asked != Some((layer.layer, unit.place())) };
        match layer.cache.shape().stored {
            CacheType::F32 => machine.run(Attend::<f32> { layer, unit, ahead, scratch, stored: PhantomData }),
            CacheType::F16 => machine.run(Attend::<f16> { layer, unit, ahead, scratch, stored: PhantomData }),
        }
        scratch.asked = next.map(|next| (layer.layer, next.place()));
    }
}

struct Attend<'a, E> {
    layer: Layer<'a>,
    unit: &'a Unit,
    ahead: Ahead<'a>,
    scratch: &'a mut Scratch,
    stored: PhantomData<E>,
}

impl<E: Element> Kernel for Attend<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { layer, unit, ahead, scratch, .. } = self;
        let text = &layer.sight.texts[unit.text];
        let shape = layer.cache.shape();
        let group = layer.heads / shape.kv_heads;
        scratch.scores.resize(TILES * QUERIES * SPLIT, 0.0);
        scratch.drafted.resize(QUERIES * drafted_slots(text).len(), 0.0);
        let mut band = Band::<E>::new(layer, text, unit, ahead, scratch);
        for query in unit.queries.clone() {
            let row = unit.first_row + query / group;
            if !splits(layer.sight.rows[row].position, layer.window).contains(&unit.split) {
                continue;
            }
            let head = unit.kv_head * group + query % group;
            band.push(row, head);
            if band.is_full() {
                // SAFETY: passed on to the caller of `attend`.
                unsafe { band.run::<L>() };
            }
        }
        // SAFETY: as above.
        unsafe { band.run::<L>() };
    }
}

/// Logical indices of the pages that hold drafted rows.
#[inline(always)]
fn drafted_slots(text: &TextSight) -> Range<usize> {
    text.tree.start / PAGE * PAGE..text.tree.end.next_multiple_of(PAGE)
}

#[cfg(test)]
mod guarded;

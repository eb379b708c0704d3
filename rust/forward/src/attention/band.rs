//! Queries of one unit against its split, some tiles of up to six at a time: a few pages stay in level 1 while all of
//! these tiles use them.

use super::tile::Tile;
use super::{Layer, QUERIES, SPLIT, Scratch, TILES, Unit, first_visible};
use crate::cache::{Element, PAGE};
use crate::lanes::Lanes;
use crate::sight::TextSight;
use std::ops::Range;

/// One query.
#[derive(Clone, Copy)]
pub(super) struct Query {
    pub vector: *const f32,
    pub result: *mut f32,
    /// It sees the positions `from..visible` of the split; those below `in_place` lie in place.
    pub from: usize,
    pub visible: usize,
    pub in_place: usize,
    /// Where its path begins in `Sight::path`, and which position that is.
    pub path: usize,
    pub limit: usize,
}

const NO_QUERY: Query = Query {
    vector: std::ptr::null(),
    result: std::ptr::null_mut(),
    from: 0,
    visible: 0,
    in_place: 0,
    path: 0,
    limit: 0,
};

/// What a unit asks for ahead of time.
#[derive(Clone, Copy)]
pub(super) struct Ahead<'a> {
    /// The pages of the unit that this thread takes next, spread over all tiles of this one: the arithmetic of many
    /// queries then hides the time of memory.
    pub next: Option<&'a Unit>,
    /// Nobody has asked for this unit's own pages: the first tile's scores ask for the values.
    pub cold: bool,
}

/// Pages of a split.
const PAGES: usize = SPLIT / PAGE;

/// Pages that the tiles of a band use in turn: 16 KiB of keys of 64 dimensions, or of values.
const NEAR: usize = 4;

/// The keys of each page of a unit; null behind the end of its text.
#[inline(always)]
fn places<E: Element>(layer: &Layer<'_>, unit: &Unit) -> [*const E; PAGES] {
    let pages = &layer.sight.texts[unit.text].pages;
    let first = pages.start + unit.split * PAGES;
    let mut places = [std::ptr::null(); PAGES];
    for (place, page) in places.iter_mut().zip(first..pages.end) {
        *place = layer.cache.keys::<E>(layer.pages[page] as usize, layer.layer, unit.kv_head);
    }
    places
}

/// What the tiles of a band share.
pub(super) struct Common<'a, E> {
    pub layer: Layer<'a>,
    pub unit: &'a Unit,
    pub text: &'a TextSight,
    /// Tiles of the whole unit.
    pub tiles: usize,
    /// Keys of the split's pages, then their values; null behind the text's end.
    pub own: [*const E; PAGES],
    /// The same of the next unit.
    pub next: [*const E; PAGES],
    pub cold: bool,
}

/// Tiles of a unit that are computed together.
pub(super) struct Band<'a, E> {
    common: Common<'a, E>,
    scores: &'a mut [f32],
    drafted: &'a mut [f32],
    queries: [Query; TILES * QUERIES],
    len: usize,
    /// Tiles of the unit before this band.
    done: usize,
}

/// A part of a tile's work: what the tiles of a band do in turn.
enum Part {
    /// Scores of these pages of the split.
    Scores(Range<usize>),
    /// What depends on all scores.
    Softmax,
    /// Values of these pages of the split.
    Values(Range<usize>),
    /// Values that not all queries see.
    Rest,
}

impl<'a, E: Element> Band<'a, E> {
    #[inline(always)]
    pub fn new(
        layer: Layer<'a>,
        text: &'a TextSight,
        unit: &'a Unit,
        ahead: Ahead<'a>,
        scratch: &'a mut Scratch,
    ) -> Self {
        let Scratch { scores, drafted, .. } = scratch;
        let common = Common {
            layer,
            unit,
            text,
            tiles: unit.queries.len().div_ceil(QUERIES),
            own: places(&layer, unit),
            next: ahead.next.map_or([std::ptr::null(); PAGES], |next| places(&layer, next)),
            cold: ahead.cold,
        };
        Self { common, scores, drafted, queries: [NO_QUERY; TILES * QUERIES], len: 0, done: 0 }
    }

    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.len == TILES * QUERIES
    }

    #[inline(always)]
    pub fn push(&mut self, row: usize, head: usize) {
        let Common { layer, unit, .. } = &self.common;
        let sight = &layer.sight.rows[row];
        let padded = layer.partials.padded_dim;
        let start = unit.split * SPLIT;
        let visible = (sight.position + 1 - start).min(SPLIT);
        self.queries[self.len] = Query {
            vector: layer.queries.at((row * layer.heads + head) * padded, padded),
            result: layer.partials.at(row, head, unit.split),
            from: first_visible(sight.position, layer.window).saturating_sub(start),
            visible,
            in_place: sight.limit.saturating_sub(start).min(visible),
            path: sight.path,
            limit: sight.limit,
        };
        self.len += 1;
    }

    /// Results of the queries that were pushed since the last call.
    ///
    /// # Safety
    /// As [`super::attend`], on a machine that has `L`.
    #[inline(always)]
    pub unsafe fn run<L: Lanes>(&mut self) {
        let tiles = self.len.div_ceil(QUERIES);
        // SAFETY: passed on to the caller; the buffers hold what `Attend::run` made them hold.
        unsafe {
            for near in (0..PAGES).step_by(NEAR) {
                for tile in 0..tiles {
                    self.part::<L>(tile, Part::Scores(near..near + NEAR));
                }
            }
            for tile in 0..tiles {
                self.part::<L>(tile, Part::Softmax);
            }
            for near in (0..PAGES).step_by(NEAR) {
                for tile in 0..tiles {
                    self.part::<L>(tile, Part::Values(near..near + NEAR));
                }
            }
            for tile in 0..tiles {
                self.part::<L>(tile, Part::Rest);
            }
        }
        self.len = 0;
        self.done += tiles;
    }

    #[inline(always)]
    unsafe fn part<L: Lanes>(&mut self, tile: usize, part: Part) {
        // SAFETY: passed on to the caller.
        unsafe {
            match (self.len - tile * QUERIES).min(QUERIES) {
                1 => self.part_of::<L, 1>(tile, part),
                2 => self.part_of::<L, 2>(tile, part),
                3 => self.part_of::<L, 3>(tile, part),
                4 => self.part_of::<L, 4>(tile, part),
                5 => self.part_of::<L, 5>(tile, part),
                _ => self.part_of::<L, 6>(tile, part),
            }
        }
    }

    /// Of a tile with N queries.
    #[inline(always)]
    unsafe fn part_of<L: Lanes, const N: usize>(&mut self, tile: usize, part: Part) {
        let first = tile * QUERIES;
        let Some(queries) = self.queries[first..].first_chunk::<N>() else { return };
        let scores = &mut self.scores[first * SPLIT..][..N * SPLIT];
        let number = self.done + tile;
        let mut tile = Tile { common: &self.common, queries, scores, drafted: self.drafted, number };
        // SAFETY: passed on to the caller.
        unsafe {
            match part {
                Part::Scores(pages) => tile.score::<L>(pages),
                Part::Softmax => tile.soften::<L>(),
                Part::Values(pages) => tile.weigh::<L>(pages),
                Part::Rest => tile.weigh_rest::<L>(),
            }
        }
    }
}

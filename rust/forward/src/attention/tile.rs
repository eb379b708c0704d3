//! Up to six queries against one split.

#![allow(clippy::needless_range_loop, reason = "queries index several arrays")]

use super::{Layer, QUERIES, SPLIT, Scratch, Unit, drafted_slots, first_visible};
use crate::cache::{Element, PAGE};
use crate::lanes::{Lanes, WIDTH, prefetch_level2};
use crate::math::exp;
use crate::sight::TextSight;
use std::marker::PhantomData;
use std::ops::Range;

/// One query of a tile.
#[derive(Clone, Copy)]
struct Query {
    vector: *const f32,
    result: *mut f32,
    /// It sees the positions `from..visible` of the split; those below `in_place` lie in place.
    from: usize,
    visible: usize,
    in_place: usize,
    /// Where its path begins in `Sight::path`, and which position that is.
    path: usize,
    limit: usize,
}

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

pub(super) struct Tile<'a, E> {
    layer: Layer<'a>,
    unit: &'a Unit,
    text: &'a TextSight,
    scores: &'a mut [f32],
    drafted: &'a mut [f32],
    queries: [Query; QUERIES],
    len: usize,
    /// Number of this tile among the `tiles` of the unit.
    index: usize,
    tiles: usize,
    /// Keys of the split's pages, then their values; null behind the text's end.
    own: [*const E; PAGES],
    /// The same of the next unit.
    next: [*const E; PAGES],
    cold: bool,
    stored: PhantomData<E>,
}

impl<'a, E: Element> Tile<'a, E> {
    /// Vectors of a line of 64 bytes.
    const PER_LINE: usize = 64 / (WIDTH * size_of::<E>());

    #[inline(always)]
    pub fn new(
        layer: Layer<'a>,
        text: &'a TextSight,
        unit: &'a Unit,
        ahead: Ahead<'a>,
        scratch: &'a mut Scratch,
    ) -> Self {
        let none = Query {
            vector: std::ptr::null(),
            result: std::ptr::null_mut(),
            from: 0,
            visible: 0,
            in_place: 0,
            path: 0,
            limit: 0,
        };
        let Scratch { scores, drafted, .. } = scratch;
        let tiles = unit.queries.len().div_ceil(QUERIES);
        Self {
            layer,
            unit,
            text,
            scores,
            drafted,
            queries: [none; QUERIES],
            len: 0,
            index: 0,
            tiles,
            own: places(&layer, unit),
            next: ahead.next.map_or([std::ptr::null(); PAGES], |next| places(&layer, next)),
            cold: ahead.cold,
            stored: PhantomData,
        }
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub fn push(&mut self, row: usize, head: usize) {
        let sight = &self.layer.sight.rows[row];
        let padded = self.layer.partials.padded_dim;
        let start = self.unit.split * SPLIT;
        let visible = (sight.position + 1 - start).min(SPLIT);
        self.queries[self.len] = Query {
            vector: self.layer.queries.at((row * self.layer.heads + head) * padded, padded),
            result: self.layer.partials.at(row, head, self.unit.split),
            from: first_visible(sight.position, self.layer.window).saturating_sub(start),
            visible,
            in_place: sight.limit.saturating_sub(start).min(visible),
            path: sight.path,
            limit: sight.limit,
        };
        self.len += 1;
    }

    /// # Safety
    /// As [`super::attend`], on a machine that has `L`.
    #[inline(always)]
    pub unsafe fn run<L: Lanes>(&mut self) {
        // SAFETY: passed on to the caller.
        unsafe {
            match self.len {
                1 => self.run_n::<L, 1>(),
                2 => self.run_n::<L, 2>(),
                3 => self.run_n::<L, 3>(),
                4 => self.run_n::<L, 4>(),
                5 => self.run_n::<L, 5>(),
                6 => self.run_n::<L, 6>(),
                _ => {}
            }
        }
        self.len = 0;
        self.index += 1;
    }

    #[inline(always)]
    unsafe fn run_n<L: Lanes, const N: usize>(&mut self) {
        let in_place = self.queries[..N].iter().map(|q| q.in_place).max().unwrap_or(0);
        let first = self.queries[..N].iter().map(|q| q.from).min().unwrap_or(0) / PAGE;
        let first_page = self.unit.split * PAGES;
        // SAFETY: passed on to the caller; the buffers hold what `Attend::run` made them hold.
        unsafe {
            let scores = self.scores.as_mut_ptr().add(first * PAGE);
            let pages = first_page + first..first_page + in_place.div_ceil(PAGE);
            self.scores::<L, N>(pages, scores, SPLIT, true);
            if self.queries[..N].iter().any(|q| q.in_place < q.visible) {
                self.scores_of_drafted::<L, N>();
            }
            for n in 0..N {
                self.softmax::<L>(n);
            }
            self.weigh::<L, N>();
        }
    }

    #[inline(always)]
    fn page(&self, logical: usize) -> usize {
        self.layer.pages[self.text.pages.start + logical] as usize
    }

    #[inline(always)]
    fn keys(&self, logical: usize) -> *const E {
        self.layer.cache.keys(self.page(logical), self.layer.layer, self.unit.kv_head)
    }

    #[inline(always)]
    fn values(&self, logical: usize) -> *const E {
        self.layer.cache.values(self.page(logical), self.layer.layer, self.unit.kv_head)
    }

    /// Scores of whole pages, 16 lanes each, to `to[query][slot]` with rows of `stride`. Lanes that a query does not see
    /// get values too, which nobody reads. `in_place`: of pages of the split, which are asked for ahead of time.
    #[inline(always)]
    unsafe fn scores<L: Lanes, const N: usize>(
        &self,
        pages: Range<usize>,
        to: *mut f32,
        stride: usize,
        in_place: bool,
    ) {
        let first_page = self.unit.split * PAGES;
        let (mut page, mut to) = (pages.start, to);
        // SAFETY: passed on; `to` has room for 16 values per page and query.
        unsafe {
            while page < pages.end {
                let left = pages.end - page;
                let at = if in_place { Some(page - first_page) } else { None };
                let done = match (N, L::SCORE_PAGES) {
                    (1, _) if left >= 4 => self.scores_of::<L, N, 4>(page, at, to, stride),
                    (2 | 3, _) if left >= 2 => self.scores_of::<L, N, 2>(page, at, to, stride),
                    (4.., 2..) if left >= 2 => self.scores_of::<L, N, 2>(page, at, to, stride),
                    _ => self.scores_of::<L, N, 1>(page, at, to, stride),
                };
                page += done;
                to = to.add(done * PAGE);
            }
        }
    }

    /// P pages from `page` on, which are those from `at` on of the split if they are in place.
    #[inline(always)]
    unsafe fn scores_of<L: Lanes, const N: usize, const P: usize>(
        &self,
        page: usize,
        at: Option<usize>,
        to: *mut f32,
        stride: usize,
    ) -> usize {
        let (mut pages, mut soon) = ([std::ptr::null::<E>(); P], [std::ptr::null::<E>(); P]);
        let cold = self.cold && self.index == 0;
        let (tiles, mut turn) = if cold { (1, 0) } else { (self.tiles, self.index) };
        let mut asks = false;
        for p in 0..P {
            if let Some(at) = at {
                pages[p] = self.own[at + p];
                // Values are as many lines as keys, or a few more.
                soon[p] = if cold { self.values_behind(pages[p]) } else { self.next[at + p] };
                asks |= !soon[p].is_null();
            } else {
                pages[p] = self.keys(page + p);
            }
        }
        // SAFETY: each page holds head_dim · 16 keys, each query head_dim values.
        unsafe {
            let mut sums = [[L::splat(0.0); P]; N];
            for d in 0..self.layer.cache.shape().head_dim {
                let mut keys = [L::splat(0.0); P];
                for p in 0..P {
                    keys[p] = E::load(pages[p].add(d * PAGE));
                }
                if asks && d.is_multiple_of(Self::PER_LINE) {
                    if turn == 0 {
                        for p in 0..P {
                            prefetch_level2(soon[p].wrapping_add(d * PAGE).cast());
                        }
                        turn = tiles;
                    }
                    turn -= 1;
                }
                for n in 0..N {
                    let q = L::splat(*self.queries[n].vector.add(d));
                    for p in 0..P {
                        sums[n][p] = keys[p].fma(q, sums[n][p]);
                    }
                }
            }
            let scale = L::splat(self.layer.scale);
            for n in 0..N {
                for p in 0..P {
                    sums[n][p].mul(scale).store(to.add(n * stride + p * PAGE));
                }
            }
        }
        P
    }

    /// Keys that are not in place: all drafted pages by slot, then each query picks its path.
    #[inline(always)]
    unsafe fn scores_of_drafted<L: Lanes, const N: usize>(&mut self) {
        let slots = drafted_slots(self.text);
        let drafted = self.drafted.as_mut_ptr();
        // SAFETY: `drafted` holds QUERIES rows of `slots.len()` values.
        unsafe { self.scores::<L, N>(slots.start / PAGE..slots.end / PAGE, drafted, slots.len(), false) };
        let start = self.unit.split * SPLIT;
        for (n, query) in self.queries[..N].iter().enumerate() {
            for at in query.in_place.max(query.from)..query.visible {
                let slot = self.layer.sight.path[query.path + start + at - query.limit];
                self.scores[n * SPLIT + at] = self.drafted[n * slots.len() + slot - slots.start];
            }
        }
    }

    /// e = exp(s − m) in place, m and l to the result.
    #[inline(always)]
    unsafe fn softmax<L: Lanes>(&mut self, n: usize) {
        let Query { from, visible, result, .. } = self.queries[n];
        let scores = &mut self.scores[n * SPLIT..(n + 1) * SPLIT];
        let (start, padded) = (from / WIDTH * WIDTH, visible.next_multiple_of(WIDTH));
        scores[start..from].fill(f32::NEG_INFINITY);
        scores[visible..padded].fill(f32::NEG_INFINITY);
        // SAFETY: `padded` ≤ 256 values; the result has room for m and l behind o.
        unsafe {
            let mut largest = L::splat(f32::NEG_INFINITY);
            for at in (start..padded).step_by(WIDTH) {
                largest = largest.max(L::load(scores.as_ptr().add(at)));
            }
            let largest = largest.largest();
            for at in (start..padded).step_by(WIDTH) {
                let score = scores.as_mut_ptr().add(at);
                exp(L::load(score).sub(L::splat(largest))).store(score);
            }
            scores[start..from].fill(0.0);
            scores[visible..padded].fill(0.0);
            let mut sum = L::splat(0.0);
            for at in (start..padded).step_by(WIDTH) {
                sum = sum.add(L::load(scores.as_ptr().add(at)));
            }
            let to = result.add(self.layer.partials.padded_dim);
            to.write(largest);
            to.add(1).write(sum.sum());
        }
    }

    /// o = Σ e·v: each query what it sees before them, the pages that all queries see whole together, then each its rest.
    #[inline(always)]
    unsafe fn weigh<L: Lanes, const N: usize>(&mut self) {
        let begin = self.queries[..N].iter().map(|q| q.from).max().unwrap_or(0).div_ceil(PAGE);
        let end = (self.queries[..N].iter().map(|q| q.in_place).min().unwrap_or(0) / PAGE).max(begin);
        let chunks = self.layer.partials.padded_dim / WIDTH;
        // SAFETY: results hold `chunks` vectors, scores 256 values, pages `chunks` · 16 vectors.
        unsafe {
            for query in &self.queries[..N] {
                for chunk in 0..chunks {
                    L::splat(0.0).store(query.result.add(chunk * WIDTH));
                }
            }
            for n in 0..N {
                let Query { from, visible, .. } = self.queries[n];
                self.weigh_single::<L>(n, from..visible.min(begin * PAGE));
            }
            for page in begin..end {
                let values = self.values_behind(self.own[page]);
                let next = self.next[page];
                let soon = if next.is_null() { None } else { Some(self.values_behind(next)) };
                let mut chunk = 0;
                while chunk < chunks {
                    let left = chunks - chunk;
                    chunk += match (N, L::SCORE_PAGES) {
                        // Few queries wait for memory, which likes to be read front to back.
                        (4.., 2..) if left >= 2 => self.weigh_page::<L, N, 2>(page, chunk, values, soon),
                        _ => self.weigh_page::<L, N, 1>(page, chunk, values, soon),
                    };
                }
            }
            for n in 0..N {
                self.weigh_single::<L>(n, end * PAGE..self.queries[n].visible);
            }
        }
    }

    /// One page for all queries, C vectors of dimensions from `chunk` on: enough accumulators to hide the latency of an
    /// addition, and each weight is broadcast once for all of them.
    #[inline(always)]
    unsafe fn weigh_page<L: Lanes, const N: usize, const C: usize>(
        &self,
        page: usize,
        chunk: usize,
        values: *const E,
        soon: Option<*const E>,
    ) -> usize {
        // SAFETY: as `weigh`; chunk + C ≤ all chunks.
        unsafe {
            let mut sums = [[L::splat(0.0); C]; N];
            for n in 0..N {
                for c in 0..C {
                    sums[n][c] = L::load(self.queries[n].result.add((chunk + c) * WIDTH));
                }
            }
            let mut turn = self.index;
            for token in 0..PAGE {
                let mut v = [L::splat(0.0); C];
                for c in 0..C {
                    v[c] = E::load(values.add(((chunk + c) * PAGE + token) * WIDTH));
                }
                if let Some(soon) = soon
                    && token.is_multiple_of(Self::PER_LINE)
                {
                    if turn == 0 {
                        for c in 0..C {
                            let at = ((chunk + c) * PAGE + token) * WIDTH;
                            prefetch_level2(soon.wrapping_add(at).cast());
                        }
                        turn = self.tiles;
                    }
                    turn -= 1;
                }
                for n in 0..N {
                    let e = L::splat(*self.scores.as_ptr().add(n * SPLIT + page * PAGE + token));
                    for c in 0..C {
                        sums[n][c] = v[c].fma(e, sums[n][c]);
                    }
                }
            }
            for n in 0..N {
                for c in 0..C {
                    sums[n][c].store(self.queries[n].result.add((chunk + c) * WIDTH));
                }
            }
        }
        C
    }

    /// The values behind a page's keys.
    #[inline(always)]
    fn values_behind(&self, keys: *const E) -> *const E {
        keys.wrapping_add(self.layer.cache.shape().head_dim * PAGE)
    }

    /// Some positions for one query alone, four vectors of dimensions at a time.
    #[inline(always)]
    unsafe fn weigh_single<L: Lanes>(&self, n: usize, positions: Range<usize>) {
        let chunks = self.layer.partials.padded_dim / WIDTH;
        let mut chunk = 0;
        // SAFETY: passed on to the caller; chunks + width ≤ all chunks.
        unsafe {
            while chunk + 4 <= chunks {
                self.weigh_single_of::<L, 4>(n, positions.clone(), chunk);
                chunk += 4;
            }
            while chunk < chunks {
                self.weigh_single_of::<L, 1>(n, positions.clone(), chunk);
                chunk += 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn weigh_single_of<L: Lanes, const C: usize>(
        &self,
        n: usize,
        positions: Range<usize>,
        chunk: usize,
    ) {
        let query = &self.queries[n];
        let start = self.unit.split * SPLIT;
        // SAFETY: as `weigh`.
        unsafe {
            let result = query.result.add(chunk * WIDTH);
            let mut sums = [L::splat(0.0); C];
            for c in 0..C {
                sums[c] = L::load(result.add(c * WIDTH));
            }
            for at in positions {
                let logical = if at < query.in_place {
                    start + at
                } else {
                    self.layer.sight.path[query.path + start + at - query.limit]
                };
                let values = self.values(logical / PAGE).add(logical % PAGE * WIDTH);
                let e = L::splat(self.scores[n * SPLIT + at]);
                for c in 0..C {
                    let v: L = E::load(values.add((chunk + c) * PAGE * WIDTH));
                    sums[c] = v.fma(e, sums[c]);
                }
            }
            for c in 0..C {
                sums[c].store(result.add(c * WIDTH));
            }
        }
    }
}

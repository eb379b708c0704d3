//! Up to six queries against some pages of one split.

#![allow(clippy::needless_range_loop, reason = "queries index several arrays")]

use super::band::{Common, Query};
use super::{SPLIT, drafted_slots};
use crate::cache::{Element, PAGE};
use crate::lanes::{Lanes, WIDTH, prefetch_level2};
use crate::math::exp;
use std::ops::Range;

/// N queries of a band.
pub(super) struct Tile<'t, 'a, E, const N: usize> {
    pub common: &'t Common<'a, E>,
    pub queries: &'t [Query; N],
    /// [N][256] scores, then their exponentials.
    pub scores: &'t mut [f32],
    /// [6][tree slots] scores of drafted keys by slot.
    pub drafted: &'t mut [f32],
    /// Number among the tiles of the unit.
    pub number: usize,
}

impl<E: Element, const N: usize> Tile<'_, '_, E, N> {
    /// Vectors of a line of 64 bytes.
    const PER_LINE: usize = 64 / (WIDTH * size_of::<E>());

    #[inline(always)]
    fn smallest(&self, of: impl Fn(&Query) -> usize) -> usize {
        self.queries.iter().map(of).min().unwrap_or(0)
    }

    #[inline(always)]
    fn largest(&self, of: impl Fn(&Query) -> usize) -> usize {
        self.queries.iter().map(of).max().unwrap_or(0)
    }

    #[inline(always)]
    fn keys(&self, logical: usize) -> *const E {
        let Common { layer, unit, text, .. } = self.common;
        layer.cache.keys(layer.pages[text.pages.start + logical] as usize, layer.layer, unit.kv_head)
    }

    /// The values behind a page's keys.
    #[inline(always)]
    fn values_behind(&self, keys: *const E) -> *const E {
        keys.wrapping_add(self.common.layer.cache.shape().head_dim * PAGE)
    }

    /// Scores of some pages of the split, as far as they lie in place.
    ///
    /// # Safety
    /// As [`super::attend`], on a machine that has `L`; the same holds for all that follow.
    #[inline(always)]
    pub unsafe fn score<L: Lanes>(&mut self, pages: Range<usize>) {
        let first = self.smallest(|query| query.from) / PAGE;
        let in_place = self.largest(|query| query.in_place);
        let pages = pages.start.max(first)..pages.end.min(in_place.div_ceil(PAGE));
        let to = self.scores.as_mut_ptr().wrapping_add(pages.start * PAGE);
        // SAFETY: passed on; there are 256 scores per query.
        unsafe { self.score_pages::<L>(pages, to, SPLIT, true) };
    }

    /// Scores of whole pages, 16 lanes each, to `to[query][slot]` with rows of `stride`. Lanes that a query does not see
    /// get values too, which nobody reads. `in_place`: of pages of the split, which are asked for ahead of time; else of
    /// pages of the text.
    #[inline(always)]
    unsafe fn score_pages<L: Lanes>(&self, pages: Range<usize>, to: *mut f32, stride: usize, in_place: bool) {
        let (mut page, mut to) = (pages.start, to);
        // SAFETY: passed on; `to` has room for 16 values per page and query.
        unsafe {
            while page < pages.end {
                let left = pages.end - page;
                let done = match (N, L::SCORE_PAGES) {
                    (1, _) if left >= 4 => self.score_some::<L, 4>(page, to, stride, in_place),
                    (2 | 3, _) if left >= 2 => self.score_some::<L, 2>(page, to, stride, in_place),
                    (4.., 2..) if left >= 2 => self.score_some::<L, 2>(page, to, stride, in_place),
                    _ => self.score_some::<L, 1>(page, to, stride, in_place),
                };
                page += done;
                to = to.add(done * PAGE);
            }
        }
    }

    /// P pages from `page` on.
    #[inline(always)]
    unsafe fn score_some<L: Lanes, const P: usize>(
        &self,
        page: usize,
        to: *mut f32,
        stride: usize,
        in_place: bool,
    ) -> usize {
        let (mut pages, mut soon) = ([std::ptr::null::<E>(); P], [std::ptr::null::<E>(); P]);
        let Common { layer, own, next, cold, tiles, .. } = self.common;
        let cold = *cold && self.number == 0;
        let (tiles, mut turn) = if cold { (1, 0) } else { (*tiles, self.number) };
        let mut asks = false;
        for p in 0..P {
            if in_place {
                pages[p] = own[page + p];
                // Values are as many lines as keys, or a few more.
                soon[p] = if cold { self.values_behind(pages[p]) } else { next[page + p] };
                asks |= !soon[p].is_null();
            } else {
                pages[p] = self.keys(page + p);
            }
        }
        // SAFETY: each page holds head_dim · 16 keys, each query head_dim values.
        unsafe {
            let mut sums = [[L::splat(0.0); P]; N];
            for d in 0..layer.cache.shape().head_dim {
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
            let scale = L::splat(layer.scale);
            for n in 0..N {
                for p in 0..P {
                    sums[n][p].mul(scale).store(to.add(n * stride + p * PAGE));
                }
            }
        }
        P
    }

    /// Between the scores in place and the values: scores of drafted keys, exponentials, and what single queries see
    /// before the pages that all of them see.
    ///
    /// # Safety
    /// As [`Tile::score`].
    #[inline(always)]
    pub unsafe fn soften<L: Lanes>(&mut self) {
        let chunks = self.common.layer.partials.padded_dim / WIDTH;
        let begin = self.whole_pages().start * PAGE;
        // SAFETY: passed on; results hold `chunks` vectors.
        unsafe {
            if self.queries.iter().any(|query| query.in_place < query.visible) {
                self.score_drafted::<L>();
            }
            for n in 0..N {
                self.softmax::<L>(n);
            }
            for query in self.queries {
                for chunk in 0..chunks {
                    L::splat(0.0).store(query.result.add(chunk * WIDTH));
                }
            }
            for n in 0..N {
                let Query { from, visible, .. } = self.queries[n];
                self.weigh_single::<L>(n, from..visible.min(begin));
            }
        }
    }

    /// Keys that are not in place: all drafted pages by slot, then each query picks its path.
    #[inline(always)]
    unsafe fn score_drafted<L: Lanes>(&mut self) {
        let Common { layer, unit, text, .. } = self.common;
        let slots = drafted_slots(text);
        let drafted = self.drafted.as_mut_ptr();
        // SAFETY: `drafted` holds QUERIES rows of `slots.len()` values.
        unsafe { self.score_pages::<L>(slots.start / PAGE..slots.end / PAGE, drafted, slots.len(), false) };
        let start = unit.split * SPLIT;
        for (n, query) in self.queries.iter().enumerate() {
            for at in query.in_place.max(query.from)..query.visible {
                let slot = layer.sight.path[query.path + start + at - query.limit];
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
            let to = result.add(self.common.layer.partials.padded_dim);
            to.write(largest);
            to.add(1).write(sum.sum());
        }
    }

    /// Pages of the split that all queries see whole, in place.
    #[inline(always)]
    fn whole_pages(&self) -> Range<usize> {
        let begin = self.largest(|query| query.from).div_ceil(PAGE);
        begin..(self.smallest(|query| query.in_place) / PAGE).max(begin)
    }

    /// o += e·v of those of `pages` that all queries see whole.
    ///
    /// # Safety
    /// As [`Tile::score`].
    #[inline(always)]
    pub unsafe fn weigh<L: Lanes>(&mut self, pages: Range<usize>) {
        let whole = self.whole_pages();
        let chunks = self.common.layer.partials.padded_dim / WIDTH;
        // SAFETY: results hold `chunks` vectors, scores 256 values, pages `chunks` · 16 vectors.
        unsafe {
            for page in pages.start.max(whole.start)..pages.end.min(whole.end) {
                let values = self.values_behind(self.common.own[page]);
                let next = self.common.next[page];
                let soon = if next.is_null() { None } else { Some(self.values_behind(next)) };
                let mut chunk = 0;
                while chunk < chunks {
                    let left = chunks - chunk;
                    chunk += match (N, L::SCORE_PAGES) {
                        // Few queries wait for memory, which likes to be read front to back.
                        (4.., 2..) if left >= 2 => self.weigh_page::<L, 2>(page, chunk, values, soon),
                        _ => self.weigh_page::<L, 1>(page, chunk, values, soon),
                    };
                }
            }
        }
    }

    /// o += e·v of what single queries see behind the pages that all of them see.
    ///
    /// # Safety
    /// As [`Tile::score`].
    #[inline(always)]
    pub unsafe fn weigh_rest<L: Lanes>(&self) {
        let end = self.whole_pages().end * PAGE;
        for n in 0..N {
            // SAFETY: passed on.
            unsafe { self.weigh_single::<L>(n, end..self.queries[n].visible) };
        }
    }

    /// One page for all queries, C vectors of dimensions from `chunk` on: enough accumulators to hide the latency of an
    /// addition, and each weight is broadcast once for all of them.
    #[inline(always)]
    unsafe fn weigh_page<L: Lanes, const C: usize>(
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
            let mut turn = self.number;
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
                        turn = self.common.tiles;
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

    /// Some positions for one query alone, four vectors of dimensions at a time.
    #[inline(always)]
    unsafe fn weigh_single<L: Lanes>(&self, n: usize, positions: Range<usize>) {
        let chunks = self.common.layer.partials.padded_dim / WIDTH;
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
        let start = self.common.unit.split * SPLIT;
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
                    self.common.layer.sight.path[query.path + start + at - query.limit]
                };
                let values = self.values_behind(self.keys(logical / PAGE)).add(logical % PAGE * WIDTH);
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

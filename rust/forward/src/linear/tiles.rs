//! Which rows are computed together, and what is fetched ahead meanwhile. Neither can change a result.

use crate::lanes::{prefetch_level2, prefetch_once};

/// Some rows of activations, with one panel.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// First row.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
    /// Number of this tile among `tiles`.
    index: usize,
    tiles: usize,
}

/// Cuts `rows` into equal tiles of at most `most`, and runs each with each panel; blocks of `at_once` panels share a pass
/// over the rows.
#[inline(always)]
pub(super) fn for_tiles(
    panels: usize,
    rows: usize,
    most: usize,
    at_once: usize,
    mut work: impl FnMut(usize, Tile),
) {
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

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Distance of the non-temporal hint.
const AHEAD: usize = 2048;

/// What a tile asks for ahead of time. The processor hides about 100 ns times what its reorder window holds: with few
/// rows that is enough to stream, with many it isn't, and memory time would add to arithmetic.
#[derive(Clone, Copy)]
pub(super) struct Prefetch {
    address: *const u8,
    /// Bytes to go on per line of weights used.
    step: usize,
    /// Into level 2 instead of "once".
    level2: bool,
}

impl Tile {
    /// Few rows: 2 KiB ahead in the same stream. Many: the next panel, spread evenly over the tiles of this one.
    #[inline(always)]
    pub(super) fn hint(&self, panel: *const u8, next: *const u8, bytes: usize) -> Prefetch {
        if self.tiles == 1 && self.rows <= 4 {
            return Prefetch { address: panel.wrapping_add(AHEAD), step: LINE, level2: false };
        }
        let address = next.wrapping_add(bytes / self.tiles * self.index);
        Prefetch { address, step: LINE / self.tiles, level2: true }
    }
}

impl Prefetch {
    /// To be called for each line of weights that is used.
    #[inline(always)]
    pub(super) fn line(&mut self) {
        if self.level2 {
            prefetch_level2(self.address)
        } else {
            prefetch_once(self.address)
        }
        self.address = self.address.wrapping_add(self.step);
    }
}

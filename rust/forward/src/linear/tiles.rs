//! Which rows are computed together, and what is fetched ahead meanwhile. Neither can change a result.

use crate::lanes::prefetch_level2;

/// Some rows of activations, with one panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    /// The panel.
    pub panel: usize,
    /// First row.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
    /// Number of this tile among `tiles`.
    index: usize,
    tiles: usize,
}

/// Each panel with all rows, cut into equal tiles; blocks of panels share a pass over the rows.
pub(super) struct Tiles {
    panels: usize,
    rows: usize,
    tiles: usize,
    /// Panels of a block.
    at_once: usize,
    block: usize,
    index: usize,
    panel: usize,
}

impl Tiles {
    /// `rows` in tiles of at most `most`, blocks of `at_once` panels.
    #[inline(always)]
    pub(super) fn new(panels: usize, rows: usize, most: usize, at_once: usize) -> Self {
        Self { panels, rows, tiles: rows.div_ceil(most), at_once, block: 0, index: 0, panel: 0 }
    }
}

impl Iterator for Tiles {
    type Item = Tile;

    #[inline(always)]
    fn next(&mut self) -> Option<Tile> {
        if self.panel == (self.block + self.at_once).min(self.panels) {
            self.index += 1;
            if self.index == self.tiles {
                (self.index, self.block) = (0, self.panel);
            }
            self.panel = self.block;
        }
        if self.panel == self.panels {
            return None;
        }
        let Self { rows, tiles, index, panel, .. } = *self;
        self.panel += 1;
        let (first, end) = (rows * index / tiles, rows * (index + 1) / tiles);
        Some(Tile { panel, first, rows: end - first, index, tiles })
    }
}

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// How far ahead of one row's own stream of f32 lines come.
pub(crate) const AHEAD_OF_FLOATS: usize = 3 << 10;
/// The same where a line has more work.
pub(crate) const AHEAD: usize = 8 << 10;

/// What a tile asks for ahead of time, always into level 2, whose queue is longer than the miss buffers of level 1: the
/// non-temporal hint instead costs one row of quantised weights 15 to 25 %.
#[derive(Clone, Copy)]
pub(super) struct Prefetch {
    address: *const u8,
    /// Bytes to go on per line of weights used.
    step: usize,
}

impl Tile {
    /// One row: `ahead` bytes on in the same stream. More: the next panel, spread evenly over the tiles of this one.
    #[inline(always)]
    pub(super) fn hint(&self, panel: *const u8, bytes: usize, ahead: usize) -> Prefetch {
        if self.tiles == 1 && self.rows == 1 {
            return Prefetch::stream(panel.wrapping_add(ahead));
        }
        let address = panel.wrapping_add(bytes + bytes / self.tiles * self.index);
        Prefetch { address, step: LINE / self.tiles }
    }
}

impl Tile {
    /// `bytes` from `address` on, spread evenly over the tiles and the `lines` of each.
    #[inline(always)]
    pub(super) fn spread(&self, address: *const u8, bytes: usize, lines: usize) -> Prefetch {
        let share = bytes / self.tiles;
        // Where there is no line, nothing is asked for.
        let step = share.checked_div(lines).unwrap_or(0);
        Prefetch { address: address.wrapping_add(share * self.index), step }
    }
}

impl Prefetch {
    /// Line by line from `address` on.
    #[inline(always)]
    pub(super) fn stream(address: *const u8) -> Self {
        Self { address, step: LINE }
    }

    /// To be called for each line of weights that is used.
    #[inline(always)]
    pub(super) fn line(&mut self) {
        prefetch_level2(self.address);
        self.address = self.address.wrapping_add(self.step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_meets_every_panel_once() {
        for (panels, rows, most, at_once) in
            [(1, 1, 1, 1), (3, 5, 4, 1), (7, 33, 8, 3), (8, 512, 16, 8), (5, 40, 6, 2), (9, 7, 6, 4)]
        {
            let mut seen = vec![0; panels * rows];
            for tile in Tiles::new(panels, rows, most, at_once) {
                assert!(tile.rows <= most && tile.rows + 1 >= rows / tile.tiles);
                for row in tile.first..tile.first + tile.rows {
                    seen[tile.panel * rows + row] += 1;
                }
            }
            assert!(seen.iter().all(|&count| count == 1));
        }
        let order: Vec<_> = Tiles::new(3, 2, 1, 2).map(|t| (t.panel, t.first)).collect();
        assert_eq!(order, [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (2, 1)]);
    }
}

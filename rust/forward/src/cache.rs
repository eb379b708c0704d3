//! Keys and values in pages of 16 tokens.
//!
//! One page holds, for each layer and each kv head, the keys `[head_dim][16]` and then the values
//! `[head_dim / 16][16 tokens][16]`: sixteen scores come out as lanes, and both are read front to back. Pages are
//! outermost, so that memory is touched as texts grow, and a page is one piece.

use crate::lanes::WIDTH;
use crate::memory::Memory;
use draftwood_base::{Error, Result};

/// Tokens of a page; the lanes of a vector.
pub const PAGE: usize = WIDTH;

/// Sizes of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Layers of the model.
    pub layers: usize,
    /// Key-value heads of a layer.
    pub kv_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
}

impl CacheShape {
    /// Dimensions of a head in whole vectors.
    pub fn padded_dim(self) -> usize {
        self.head_dim.next_multiple_of(WIDTH)
    }

    /// Keys and values of one head in one page.
    fn head_values(self) -> usize {
        (self.head_dim + self.padded_dim()) * PAGE
    }

    /// f32 values from one page to the next.
    fn page_values(self) -> usize {
        let values = self.layers * self.kv_heads * self.head_values();
        // Pages a multiple of 64 KiB apart would fall on the same sets of the level-2 cache.
        const SETS: usize = (64 << 10) / 4;
        if values.is_multiple_of(SETS) { values + self.head_values() } else { values }
    }

    /// Bytes of one page.
    pub fn page_bytes(self) -> usize {
        self.page_values() * 4
    }
}

/// The memory of all pages.
#[derive(Debug)]
pub struct Cache {
    shape: CacheShape,
    pages: usize,
    memory: Memory,
}

impl Cache {
    /// `pages` pages; physical memory comes with their first use.
    ///
    /// # Errors
    /// When the system has no address space for it.
    pub fn new(shape: CacheShape, pages: usize) -> Result<Self> {
        Ok(Self { shape, pages, memory: Memory::zeroed(pages.saturating_mul(shape.page_bytes()))? })
    }

    /// Its sizes.
    pub fn shape(&self) -> CacheShape {
        self.shape
    }

    /// Number of pages.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Writes one value to every slot. Tests fill with NaN what no row may read.
    pub fn fill(&mut self, value: f32) {
        // SAFETY: the whole mapping, which `&mut self` owns.
        let all = unsafe {
            std::slice::from_raw_parts_mut(self.memory.as_ptr().cast::<f32>(), self.memory.bytes() / 4)
        };
        all.fill(value);
    }

    /// Keys of one page: `[head_dim][16]`.
    ///
    /// # Panics
    /// If the page does not exist.
    #[inline(always)]
    pub fn keys(&self, page: usize, layer: usize, head: usize) -> *mut f32 {
        assert!(page < self.pages, "page {page} of {}", self.pages);
        let at =
            page * self.shape.page_values() + (layer * self.shape.kv_heads + head) * self.shape.head_values();
        self.memory.as_ptr().cast::<f32>().wrapping_add(at)
    }

    /// Values of one page: `[head_dim / 16][16][16]`.
    #[inline(always)]
    pub fn values(&self, page: usize, layer: usize, head: usize) -> *mut f32 {
        self.keys(page, layer, head).wrapping_add(self.shape.head_dim * PAGE)
    }

    /// Stores the key of one head in a slot.
    ///
    /// # Safety
    /// Nobody else uses that slot of that head meanwhile.
    pub unsafe fn store_key(&self, slot: usize, layer: usize, head: usize, key: &[f32]) {
        let to = self.keys(slot / PAGE, layer, head).wrapping_add(slot % PAGE);
        for (d, &value) in key[..self.shape.head_dim].iter().enumerate() {
            // SAFETY: d < head_dim, inside the page; the slot is ours by the caller's word.
            unsafe { to.add(d * PAGE).write(value) };
        }
    }

    /// Stores the value of one head in a slot; dimensions of the padding too.
    ///
    /// # Safety
    /// As [`Cache::store_key`].
    pub unsafe fn store_value(&self, slot: usize, layer: usize, head: usize, value: &[f32]) {
        let to = self.values(slot / PAGE, layer, head).wrapping_add(slot % PAGE * WIDTH);
        for (chunk, values) in value[..self.shape.padded_dim()].chunks_exact(WIDTH).enumerate() {
            // SAFETY: chunk < padded_dim / 16, inside the page; the slot is ours by the caller's word.
            unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to.add(chunk * PAGE * WIDTH), WIDTH) };
        }
    }

    /// Copies whole rows (all layers and heads) between slots. All sources are read before the first is written, since
    /// slots of a tree overlap their targets.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a slot outside the cache; nothing is then written.
    ///
    /// # Cost
    /// Two strided passes over 2 · layers · kv_heads · head_dim values per row.
    pub fn copy_rows(&mut self, sources: &[i32], destinations: &[i32]) -> Result<()> {
        let slots = self.pages * PAGE;
        let slot = |&s: &i32| {
            let refuse = || Error::invalid("a cache slot", format!("0 … {}", slots - 1), s, "");
            usize::try_from(s).ok().filter(|&s| s < slots).ok_or_else(refuse)
        };
        let sources = sources.iter().map(slot).collect::<Result<Vec<_>>>()?;
        let destinations = destinations.iter().map(slot).collect::<Result<Vec<_>>>()?;
        if sources.len() != destinations.len() {
            return Err(Error::invalid("moves", "as many sources as destinations", sources.len(), ""));
        }
        let mut rows = Vec::new();
        for &source in &sources {
            self.visit_row(source, |value| rows.push(*value));
        }
        let mut rows = rows.into_iter();
        for &destination in &destinations {
            self.visit_row(destination, |value| *value = rows.next().unwrap_or_default());
        }
        Ok(())
    }

    /// Every value of a slot, in one order.
    fn visit_row(&mut self, slot: usize, mut visit: impl FnMut(&mut f32)) {
        let CacheShape { layers, kv_heads, head_dim, .. } = self.shape;
        for (layer, head) in (0..layers).flat_map(|layer| (0..kv_heads).map(move |head| (layer, head))) {
            let keys = self.keys(slot / PAGE, layer, head).wrapping_add(slot % PAGE);
            let values = self.values(slot / PAGE, layer, head).wrapping_add(slot % PAGE * WIDTH);
            for d in 0..head_dim {
                // SAFETY: both addresses lie inside the page, which `&mut self` owns.
                unsafe {
                    visit(&mut *keys.add(d * PAGE));
                    visit(&mut *values.add(d / WIDTH * PAGE * WIDTH + d % WIDTH));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_move_even_onto_each_other() {
        let shape = CacheShape { layers: 2, kv_heads: 3, head_dim: 20 };
        let mut cache = Cache::new(shape, 3).unwrap();
        let key = |slot: usize, layer: usize, head: usize| -> Vec<f32> {
            (0..32)
                .map(|d| if d < 20 { (slot * 1000 + layer * 100 + head * 30 + d) as f32 } else { 0.0 })
                .collect()
        };
        for (slot, layer, head) in
            (0..48).flat_map(|s| (0..2).flat_map(move |l| (0..3).map(move |h| (s, l, h))))
        {
            // SAFETY: one thread.
            unsafe {
                cache.store_key(slot, layer, head, &key(slot, layer, head));
                cache.store_value(slot, layer, head, &key(slot, layer, head));
            }
        }
        let mut owner: Vec<usize> = (0..48).collect();
        let (from, to) = ([17, 18, 19, 40], [16, 17, 18, 3]);
        cache.copy_rows(&from, &to).unwrap();
        for (&f, &t) in from.iter().zip(&to) {
            owner[t as usize] = f as usize;
        }
        for (slot, &owner) in owner.iter().enumerate() {
            let mut seen = Vec::new();
            cache.visit_row(slot, |v| seen.push(*v));
            let expected: Vec<f32> = (0..2)
                .flat_map(|l| (0..3).flat_map(move |h| (0..20).map(move |d| (l, h, d))))
                .flat_map(|(l, h, d)| [key(owner, l, h)[d]; 2])
                .collect();
            assert_eq!(seen, expected, "slot {slot}");
        }
        assert!(cache.copy_rows(&[0], &[48]).unwrap_err().to_string().contains("0 … 47"));
        assert!(cache.copy_rows(&[-1], &[4]).is_err());
        assert!(cache.copy_rows(&[1, 2], &[4]).is_err());
    }
}

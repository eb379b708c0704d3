//! Keys and values in pages of 16 tokens.
//!
//! One page holds, for each layer and each kv head, the keys `[head_dim][16]` and then the values
//! `[head_dim / 16][16 tokens][16]`: sixteen scores come out as lanes, and both are read front to back. Pages are
//! outermost, so that memory is touched as texts grow, and a page is one piece.

use crate::lanes::{Lanes, WIDTH};
use crate::memory::Memory;
use draftwood_base::{Error, Result};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Tokens of a page; the lanes of a vector.
pub const PAGE: usize = WIDTH;

/// In which bits keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheType {
    /// As they were computed.
    #[default]
    F32,
    /// Rounded to IEEE halves, to nearest, ties to even: half the bytes. A value of 65520 and more becomes NaN, and so do
    /// the logits of every row that sees its token; never infinity, which a softmax could pass over in silence.
    F16,
}

/// A number as a cache keeps it.
pub trait Element: Copy + Default {
    /// Its type.
    const TYPE: CacheType;
    /// Sixteen of them, widened exactly.
    ///
    /// # Safety
    /// As [`Lanes`].
    unsafe fn load<L: Lanes>(from: *const Self) -> L;
    /// Rounds `values`.
    fn store(values: &[f32; WIDTH]) -> [Self; WIDTH];
}

impl Element for f32 {
    const TYPE: CacheType = CacheType::F32;
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L {
        // SAFETY: passed on to the caller.
        unsafe { L::load(from) }
    }
    #[inline(always)]
    fn store(values: &[f32; WIDTH]) -> [f32; WIDTH] {
        *values
    }
}

impl Element for f16 {
    const TYPE: CacheType = CacheType::F16;
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L {
        // SAFETY: passed on to the caller.
        unsafe { L::load_f16(from.cast()) }
    }
    #[inline(always)]
    fn store(values: &[f32; WIDTH]) -> [f16; WIDTH] {
        let mut rounded = [f16::ZERO; WIDTH];
        rounded.convert_from_f32_slice(values);
        rounded.map(|value| if value.is_infinite() { f16::NAN } else { value })
    }
}

/// Sizes of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Layers of the model.
    pub layers: usize,
    /// Key-value heads of a layer.
    pub kv_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
    /// How keys and values are kept.
    pub stored: CacheType,
}

impl CacheShape {
    /// Bytes of a number.
    fn bytes(self) -> usize {
        match self.stored {
            CacheType::F32 => 4,
            CacheType::F16 => 2,
        }
    }

    /// Dimensions of a head in whole vectors.
    pub fn padded_dim(self) -> usize {
        self.head_dim.next_multiple_of(WIDTH)
    }

    /// Keys and values of one head in one page.
    fn head_values(self) -> usize {
        (self.head_dim + self.padded_dim()) * PAGE
    }

    /// Numbers from one page to the next.
    fn page_values(self) -> usize {
        let values = self.layers * self.kv_heads * self.head_values();
        // Pages a multiple of 64 KiB apart would fall on the same sets of the level-2 cache.
        const SETS: usize = 64 << 10;
        if (values * self.bytes()).is_multiple_of(SETS) { values + self.head_values() } else { values }
    }

    /// Bytes of one page.
    pub fn page_bytes(self) -> usize {
        self.page_values() * self.bytes()
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

    /// The same beside a page that nobody may touch.
    #[cfg(test)]
    pub(crate) fn guarded(shape: CacheShape, pages: usize, end: bool) -> Self {
        Self { shape, pages, memory: Memory::guarded(pages * shape.page_bytes(), end) }
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
        match self.shape.stored {
            CacheType::F32 => self.fill_with(value),
            CacheType::F16 => self.fill_with(f16::from_f32(value)),
        }
    }

    fn fill_with<E: Element>(&mut self, value: E) {
        let count = self.memory.bytes() / size_of::<E>();
        // SAFETY: the whole mapping, which `&mut self` owns; any bits are numbers.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr().cast::<E>(), count) }.fill(value);
    }

    /// Keys of one page: `[head_dim][16]`.
    ///
    /// # Panics
    /// If the page does not exist, or holds another type.
    #[inline(always)]
    pub fn keys<E: Element>(&self, page: usize, layer: usize, head: usize) -> *mut E {
        assert!(page < self.pages && self.shape.stored == E::TYPE, "page {page} of {}", self.pages);
        let at =
            page * self.shape.page_values() + (layer * self.shape.kv_heads + head) * self.shape.head_values();
        self.memory.as_ptr().cast::<E>().wrapping_add(at)
    }

    /// Values of one page: `[head_dim / 16][16][16]`.
    #[inline(always)]
    pub fn values<E: Element>(&self, page: usize, layer: usize, head: usize) -> *mut E {
        self.keys::<E>(page, layer, head).wrapping_add(self.shape.head_dim * PAGE)
    }

    /// Stores the key of one head in a slot; `key` is padded to whole vectors.
    ///
    /// # Safety
    /// Nobody else uses that slot of that head meanwhile.
    pub unsafe fn store_key(&self, slot: usize, layer: usize, head: usize, key: &[f32]) {
        // SAFETY: passed on to the caller.
        unsafe {
            match self.shape.stored {
                CacheType::F32 => self.store_key_as::<f32>(slot, layer, head, key),
                CacheType::F16 => self.store_key_as::<f16>(slot, layer, head, key),
            }
        }
    }

    unsafe fn store_key_as<E: Element>(&self, slot: usize, layer: usize, head: usize, key: &[f32]) {
        let to = self.keys::<E>(slot / PAGE, layer, head).wrapping_add(slot % PAGE);
        for (chunk, values) in key[..self.shape.padded_dim()].as_chunks::<WIDTH>().0.iter().enumerate() {
            let first = chunk * WIDTH;
            for (i, value) in E::store(values).into_iter().take(self.shape.head_dim - first).enumerate() {
                // SAFETY: first + i < head_dim, inside the page; the slot is ours by the caller's word.
                unsafe { to.add((first + i) * PAGE).write(value) };
            }
        }
    }

    /// Stores the value of one head in a slot; dimensions of the padding too.
    ///
    /// # Safety
    /// As [`Cache::store_key`].
    pub unsafe fn store_value(&self, slot: usize, layer: usize, head: usize, value: &[f32]) {
        // SAFETY: passed on to the caller.
        unsafe {
            match self.shape.stored {
                CacheType::F32 => self.store_value_as::<f32>(slot, layer, head, value),
                CacheType::F16 => self.store_value_as::<f16>(slot, layer, head, value),
            }
        }
    }

    unsafe fn store_value_as<E: Element>(&self, slot: usize, layer: usize, head: usize, value: &[f32]) {
        let to = self.values::<E>(slot / PAGE, layer, head).wrapping_add(slot % PAGE * WIDTH);
        for (chunk, values) in value[..self.shape.padded_dim()].as_chunks::<WIDTH>().0.iter().enumerate() {
            let to = to.wrapping_add(chunk * PAGE * WIDTH).cast::<[E; WIDTH]>();
            // SAFETY: chunk < padded_dim / 16, inside the page; the slot is ours by the caller's word.
            unsafe { to.write_unaligned(E::store(values)) };
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
        match self.shape.stored {
            CacheType::F32 => self.copy_rows_of::<f32>(&sources, &destinations),
            CacheType::F16 => self.copy_rows_of::<f16>(&sources, &destinations),
        }
        Ok(())
    }

    fn copy_rows_of<E: Element>(&mut self, sources: &[usize], destinations: &[usize]) {
        let mut rows = Vec::new();
        for &source in sources {
            self.visit_row(source, |value: &mut E| rows.push(*value));
        }
        let mut rows = rows.into_iter();
        for &destination in destinations {
            self.visit_row(destination, |value: &mut E| *value = rows.next().unwrap_or_default());
        }
    }

    /// Every number of a slot, in one order.
    fn visit_row<E: Element>(&mut self, slot: usize, mut visit: impl FnMut(&mut E)) {
        let CacheShape { layers, kv_heads, head_dim, .. } = self.shape;
        for (layer, head) in (0..layers).flat_map(|layer| (0..kv_heads).map(move |head| (layer, head))) {
            let keys = self.keys::<E>(slot / PAGE, layer, head).wrapping_add(slot % PAGE);
            let values = self.values::<E>(slot / PAGE, layer, head).wrapping_add(slot % PAGE * WIDTH);
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
        rows_move::<f32>();
        rows_move::<f16>();
    }

    fn rows_move<E: Element + Into<f32>>() {
        let shape = CacheShape { layers: 2, kv_heads: 3, head_dim: 20, stored: E::TYPE };
        let mut cache = Cache::new(shape, 3).unwrap();
        let key = |slot: usize, layer: usize, head: usize| -> Vec<f32> {
            (0..32)
                .map(|d| if d < 20 { (slot * 300 + layer * 90 + head * 30 + d) as f32 / 8.0 } else { 0.0 })
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
            cache.visit_row(slot, |v: &mut E| seen.push((*v).into()));
            let expected: Vec<f32> = (0..2)
                .flat_map(|l| (0..3).flat_map(move |h| (0..20).map(move |d| (l, h, d))))
                .flat_map(|(l, h, d)| [key(owner, l, h)[d]; 2])
                .map(|v| E::store(&[v; WIDTH])[0].into())
                .collect();
            assert_eq!(seen, expected, "slot {slot}");
        }
        assert!(cache.copy_rows(&[0], &[48]).unwrap_err().to_string().contains("0 … 47"));
        assert!(cache.copy_rows(&[-1], &[4]).is_err());
        assert!(cache.copy_rows(&[1, 2], &[4]).is_err());
    }

    #[test]
    fn halves_round_to_nearest_and_overflow_to_nan() {
        for (value, expected) in [
            (1.0 + 1.0 / 2048.0, 1.0),
            (1.0 + 3.0 / 2048.0, 1.0 + 2.0 / 1024.0),
            (65519.9, 65504.0),
            (-65519.9, -65504.0),
            (1e-8, 0.0),
            (3e-8, 2f32.powi(-24)),
            (-0.0, -0.0),
        ] {
            assert_eq!(
                f16::store(&[value; WIDTH]).map(|h| h.to_f32().to_bits()),
                [f32::to_bits(expected); WIDTH]
            );
        }
        for value in [65520.0, -65520.0, 1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            assert!(f16::store(&[value; WIDTH]).iter().all(|h| h.is_nan()), "{value}");
        }
    }
}

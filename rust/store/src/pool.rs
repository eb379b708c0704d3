//! The page pool: who holds a page, and which pages are free.

use draftwood_base::PageId;
use std::ops::Range;

/// A page is used while a table refers to it or something pins it, free otherwise.
#[derive(Debug, Clone, Copy, Default)]
struct Holders {
    tables: u32,
    pins: u32,
}

#[derive(Debug)]
pub(crate) struct Pool {
    holders: Vec<Holders>,
    /// One bit per page, set when free; ordered, so that neighbours can be found.
    free: Vec<u64>,
    free_count: u32,
}

impl Pool {
    /// A pool of `pages` pages, page 0 included, which is never free.
    pub fn new(pages: u32) -> Self {
        let mut free = vec![0; (pages as usize).div_ceil(64)];
        for page in 1..pages as usize {
            free[page / 64] |= 1 << (page % 64);
        }
        Self { holders: vec![Holders::default(); pages as usize], free, free_count: pages - 1 }
    }

    /// Pages of the pool, without page 0.
    pub fn total(&self) -> u32 {
        self.holders.len() as u32 - 1
    }

    pub fn free(&self) -> u32 {
        self.free_count
    }

    /// Tables that refer to `page`.
    pub fn owners(&self, page: PageId) -> u32 {
        self.holders[page.index()].tables
    }

    /// A free page for one table: the neighbour of `after` if it can be had, else one at `home`, else the highest
    /// one, because homes are given out from below.
    pub fn take(&mut self, after: Option<PageId>, home: Range<u32>) -> Option<PageId> {
        let next = after.map(|page| page.0 + 1).filter(|&page| self.is_free(page));
        let page = next.or_else(|| self.first_free(home)).or_else(|| self.last_free())?;
        self.free[page as usize / 64] &= !(1 << (page % 64));
        self.free_count -= 1;
        self.holders[page as usize].tables = 1;
        Some(PageId(page))
    }

    /// One more table refers to `page`.
    pub fn share(&mut self, page: PageId) {
        debug_assert!(!self.is_free(page.0));
        self.holders[page.index()].tables += 1;
    }

    /// One table less refers to `page`.
    pub fn release(&mut self, page: PageId) {
        self.holders[page.index()].tables -= 1;
        self.free_if_unheld(page);
    }

    /// Keeps `page` from being freed until `unpin`.
    pub fn pin(&mut self, page: PageId) {
        debug_assert!(!self.is_free(page.0));
        self.holders[page.index()].pins += 1;
    }

    pub fn unpin(&mut self, page: PageId) {
        self.holders[page.index()].pins -= 1;
        self.free_if_unheld(page);
    }

    fn free_if_unheld(&mut self, page: PageId) {
        let Holders { tables, pins } = self.holders[page.index()];
        if tables + pins == 0 {
            debug_assert!(!self.is_free(page.0));
            self.free[page.index() / 64] |= 1 << (page.0 % 64);
            self.free_count += 1;
        }
    }

    fn is_free(&self, page: u32) -> bool {
        self.free.get(page as usize / 64).is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    fn first_free(&self, range: Range<u32>) -> Option<u32> {
        let mut page = range.start;
        while page < range.end {
            let rest = self.free.get(page as usize / 64)? >> (page % 64);
            if rest != 0 {
                return Some(page + rest.trailing_zeros()).filter(|&found| found < range.end);
            }
            page = (page / 64 + 1) * 64;
        }
        None
    }

    fn last_free(&self) -> Option<u32> {
        let word = self.free.iter().rposition(|&word| word != 0)?;
        Some(word as u32 * 64 + self.free[word].ilog2())
    }

    #[cfg(test)]
    pub fn holders_of(&self, page: PageId) -> (u32, u32, bool) {
        let Holders { tables, pins } = self.holders[page.index()];
        (tables, pins, self.is_free(page.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_first_then_home_then_the_highest() {
        let mut pool = Pool::new(201);
        assert_eq!((pool.total(), pool.free(), pool.is_free(0)), (200, 200, false));
        let mut take = |after: Option<u32>, home| pool.take(after.map(PageId), home).unwrap().0;
        assert_eq!(take(None, 60..70), 60);
        assert_eq!(take(Some(60), 0..0), 61);
        assert_eq!(take(Some(60), 60..70), 62, "61 is taken");
        assert_eq!(take(Some(61), 63..64), 63, "62 is taken");
        assert_eq!(take(None, 62..64), 200, "the home is full");
        assert_eq!(take(Some(200), 0..1), 199, "page 0 is never handed out");
        for _ in 6..200 {
            assert!(pool.take(None, 0..0).is_some());
        }
        assert_eq!((pool.take(None, 0..500), pool.free()), (None, 0));
        pool.release(PageId(7));
        assert_eq!(pool.take(None, 0..0), Some(PageId(7)));
    }

    #[test]
    fn a_page_is_free_when_neither_table_nor_pin_holds_it() {
        let mut pool = Pool::new(2);
        let page = pool.take(None, 0..0).unwrap();
        pool.share(page);
        pool.pin(page);
        pool.release(page);
        pool.release(page);
        assert_eq!((pool.owners(page), pool.free()), (0, 0));
        pool.unpin(page);
        assert_eq!(pool.free(), 1);
    }
}

//! Copy-on-write of shared partial pages, when a sequence appends to them.

use crate::Store;
use crate::reserve::{Open, Part};
use draftwood_base::{PageId, Result};

/// A partial page with several owners, at least one of which appends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedTail {
    page: PageId,
    appending: u32,
    longest: u32,
    longest_part: u32,
}

impl Store {
    /// Lists the shared partial pages of the step. Per page, the longest of its owners may append in place if all of
    /// them append.
    pub(crate) fn find_shared_tails(&mut self, group: usize) {
        let Open { parts, tails, .. } = &mut self.open;
        tails.clear();
        for (number, part) in parts.iter().enumerate() {
            if part.len % self.config.page_size == 0 {
                continue;
            }
            let page = *self.sequences.get(part.record).tables[group].last().expect("a row has a page");
            if self.pool.owners(page) == 1 {
                continue;
            }
            match tails.iter_mut().find(|tail| tail.page == page) {
                Some(tail) => {
                    tail.appending += 1;
                    if part.len > tail.longest {
                        (tail.longest, tail.longest_part) = (part.len, number as u32);
                    }
                }
                None => tails.push(SharedTail {
                    page,
                    appending: 1,
                    longest: part.len,
                    longest_part: number as u32,
                }),
            }
        }
        for tail in tails.iter_mut() {
            if tail.appending < self.pool.owners(tail.page) {
                tail.longest_part = u32::MAX;
            }
        }
    }

    /// Copy-on-write of the last page of a part, unless it may append in place.
    pub(crate) fn unshare_tail(&mut self, part: usize, group: usize) -> Result<()> {
        let Part { record, len, .. } = self.open.parts[part];
        let (page_size, groups) = (self.config.page_size, self.config.groups.len());
        if len % page_size == 0 {
            return Ok(());
        }
        let shared = *self.sequences.get(record).tables[group].last().expect("a row has a page");
        let Some(tail) = self.open.tails.iter().find(|tail| tail.page == shared) else { return Ok(()) };
        if tail.longest_part == part as u32 {
            return Ok(());
        }
        let at = (len / page_size) as usize;
        let own = self.take_page(record, group, at)?;
        self.sequences.get_mut(record).tables[group][at] = own;
        self.pool.pin(shared);
        self.pool.release(shared);
        self.open.originals[part * groups + group] = Some(shared);
        for offset in 0..len % page_size {
            let [from, to] = [shared, own].map(|page| self.slot_in(&[page], offset));
            self.copies[group].push(from, to);
        }
        self.counts.rows_copied_on_write += u64::from(len % page_size);
        Ok(())
    }
}

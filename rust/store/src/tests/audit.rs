//! The store's own invariants, recounted from its tables.

use crate::Store;
use draftwood_base::PageId;
use std::collections::{BTreeMap, BTreeSet};

impl Store {
    /// Panics unless reference counts, pins, free pages, table lengths and bookings are what the tables say.
    pub(super) fn audit(&self) {
        let page_size = self.config.page_size;
        let mut tables: BTreeMap<PageId, u32> = BTreeMap::new();
        let mut pages_of: BTreeMap<u32, BTreeSet<PageId>> = BTreeMap::new();
        for &(id, record) in self.sequences.live() {
            let sequence = self.sequences.get(record);
            let part = sequence.part.map(|part| self.open.parts[part as usize]);
            let rows = sequence.len + part.map_or(0, |part| part.chain + part.drafted);
            for table in &sequence.tables {
                assert_eq!(
                    table.len() as u32,
                    rows.div_ceil(page_size),
                    "pages of {rows} rows of sequence {id}"
                );
                assert_eq!(BTreeSet::from_iter(table).len(), table.len(), "sequence {id} holds a page twice");
                for (index, &page) in table.iter().enumerate() {
                    *tables.entry(page).or_default() += 1;
                    pages_of.entry(sequence.family).or_default().insert(page);
                    let written = part.is_some() && (index as u32 + 1) * page_size > sequence.len;
                    assert!(!written || self.pool.owners(page) == 1, "page {page} is shared and written");
                }
            }
        }
        let mut pins: BTreeMap<PageId, u32> = BTreeMap::new();
        let originals = self.open.originals.iter().copied().flatten();
        originals
            .chain(self.pending.pins().iter().copied())
            .for_each(|page| *pins.entry(page).or_default() += 1);
        let mut free = 0;
        for page in (0..=self.total()).map(PageId) {
            let counted = [&tables, &pins].map(|count| count.get(&page).copied().unwrap_or(0));
            let is_free = counted == [0, 0] && page.0 != 0;
            assert_eq!(
                self.pool.holders_of(page),
                (counted[0], counted[1], is_free),
                "holders of page {page}"
            );
            free += u32::from(is_free);
        }
        assert_eq!(free, self.pool.free());
        assert!(!tables.contains_key(&PageId(0)) && !pins.contains_key(&PageId(0)), "page 0 was handed out");
        self.audit_bookings(&pages_of);
    }

    fn audit_bookings(&self, pages_of: &BTreeMap<u32, BTreeSet<PageId>>) {
        let mut booked = 0;
        for (number, family) in
            self.bookings.families.iter().enumerate().filter(|(_, family)| family.live > 0)
        {
            let pages = self.pages_for_shared(family.capacity, family.width, family.shared);
            let held = pages_of.get(&(number as u32)).map_or(0, BTreeSet::len);
            assert!(held as u32 <= pages, "a family that booked {pages} pages holds {held}");
            assert_eq!(family.live as usize + family.idle.len(), family.width as usize);
            booked += pages;
        }
        assert_eq!((booked, self.total() - booked), (self.bookings.booked(), self.bookable()));
    }
}

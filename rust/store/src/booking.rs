//! Admission: pages that families may use, whether they hold them yet or not.

use std::ops::Range;

/// A request: a sequence and all its forks.
#[derive(Debug, Default)]
pub(crate) struct Family {
    /// Most rows of each sequence, drafted ones included.
    pub capacity: u32,
    /// Most sequences at once.
    pub width: u32,
    /// Sequences now; 0 marks an unused entry.
    pub live: u32,
    /// Sequences that a commit under examination would leave.
    pub live_after: u32,
    /// Records of the sequences to come.
    pub idle: Vec<u32>,
    /// Page numbers that no other family prefers; empty when no gap was wide enough.
    home: Range<u32>,
    /// Rows at the beginning of each sequence that all of them share, and never give up.
    pub shared: u32,
    /// Pages of the home for each page table of the first sequence, and for each of a fork.
    lane_pages: [u32; 2],
    booked: u32,
}

/// What a family asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub capacity: u32,
    pub width: u32,
    pub shared: u32,
}

#[derive(Debug)]
pub(crate) struct Bookings {
    pub families: Vec<Family>,
    unused: Vec<u32>,
    /// Homes in rising order.
    homes: Vec<Range<u32>>,
    booked: u32,
    total: u32,
}

impl Bookings {
    pub fn new(total: u32) -> Self {
        Self { families: Vec::new(), unused: Vec::new(), homes: Vec::new(), booked: 0, total }
    }

    /// Pages booked by all families.
    pub fn booked(&self) -> u32 {
        self.booked
    }

    /// Pages that a new family may book.
    pub fn bookable(&self) -> u32 {
        self.total - self.booked
    }

    /// Books `pages ≤ bookable()` pages for a new family and returns its number.
    pub fn open(&mut self, wanted: Wanted, pages: u32, lane_pages: [u32; 2]) -> u32 {
        debug_assert!(pages <= self.bookable());
        self.booked += pages;
        let home = self.find_home(pages);
        let number = self.unused.pop().unwrap_or_else(|| {
            self.families.push(Family::default());
            self.families.len() as u32 - 1
        });
        let family = &mut self.families[number as usize];
        let Wanted { capacity, width, shared } = wanted;
        (family.capacity, family.width, family.shared, family.booked) = (capacity, width, shared, pages);
        (family.home, family.lane_pages) = (home, lane_pages);
        number
    }

    /// Gives the pages of a family back.
    pub fn close(&mut self, number: u32) {
        let family = &mut self.families[number as usize];
        self.booked -= std::mem::take(&mut family.booked);
        let home = std::mem::take(&mut family.home);
        self.homes.retain(|other| *other != home);
        self.unused.push(number);
    }

    /// The part of a family's home for the page table of one of `groups` groups.
    pub fn lane(&self, number: u32, lane: u32, group: u32, groups: u32) -> Range<u32> {
        let Family { home, lane_pages: [first, fork], .. } = &self.families[number as usize];
        if home.is_empty() {
            return 0..0;
        }
        match lane.checked_sub(1) {
            None => home.start + group * first..home.start + (group + 1) * first,
            Some(lane) => {
                let start = home.start + groups * first + (lane * groups + group) * fork;
                start..start + fork
            }
        }
    }

    /// The lowest gap between homes that holds `pages` pages.
    fn find_home(&mut self, pages: u32) -> Range<u32> {
        let (mut start, mut at) = (1, 0);
        while at < self.homes.len() && self.homes[at].start - start < pages {
            start = self.homes[at].end;
            at += 1;
        }
        if start + pages > self.total + 1 {
            return 0..0;
        }
        self.homes.insert(at, start..start + pages);
        start..start + pages
    }
}

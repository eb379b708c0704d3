//! Records of the live sequences.

use draftwood_base::{Error, PageId, Result, SequenceId};

/// One sequence. Records are recycled with their tables, so that forking allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    pub family: u32,
    /// Which of its family's sequences this is; chooses its part of the home.
    pub lane: u32,
    /// Committed rows.
    pub len: u32,
    /// Its part of the open reservation.
    pub part: Option<u32>,
    /// [groups] page tables: `⌈len / P⌉` pages, and the reserved ones while a reservation is open.
    pub tables: Vec<Vec<PageId>>,
}

#[derive(Debug, Default)]
pub(crate) struct Sequences {
    records: Vec<Sequence>,
    /// Records that belong to no family.
    unused: Vec<u32>,
    /// Id and record of each live sequence; ids only rise, so the list is sorted.
    live: Vec<(SequenceId, u32)>,
    next_id: u32,
}

impl Sequences {
    /// Adds `width` records with room for `pages` pages per table to `idle`, lane 0 last.
    pub fn provide(&mut self, family: u32, width: u32, groups: usize, pages: u32, idle: &mut Vec<u32>) {
        for lane in (0..width).rev() {
            let record = self.unused.pop().unwrap_or_else(|| {
                self.records.push(Sequence { tables: vec![Vec::new(); groups], ..Sequence::default() });
                self.records.len() as u32 - 1
            });
            let sequence = &mut self.records[record as usize];
            (sequence.family, sequence.lane) = (family, lane);
            for table in &mut sequence.tables {
                table.reserve(pages as usize);
            }
            idle.push(record);
        }
        // `live` and `unused` hold at most one entry per record.
        self.live.reserve(self.records.len() - self.live.len());
        self.unused.reserve(self.records.len() - self.unused.len());
    }

    /// Takes back the records of a family that has ended.
    pub fn take_back(&mut self, idle: &mut Vec<u32>) {
        self.unused.append(idle);
    }

    /// Makes a record live under the next id.
    pub fn enter(&mut self, record: u32) -> SequenceId {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        self.live.push((id, record));
        id
    }

    /// Ends the life of `id`.
    pub fn leave(&mut self, id: SequenceId) {
        if let Ok(at) = self.live.binary_search_by_key(&id, |entry| entry.0) {
            self.live.remove(at);
        }
    }

    /// Whether `count` more ids can be given out; ids are never used twice.
    pub fn check_ids(&self, count: u32) -> Result<()> {
        match self.next_id.checked_add(count) {
            Some(_) => Ok(()),
            None => Err(Error::Internal("all 2³² sequence ids are used up".into())),
        }
    }

    pub fn live(&self) -> &[(SequenceId, u32)] {
        &self.live
    }

    pub fn find(&self, id: SequenceId) -> Option<u32> {
        self.live.binary_search_by_key(&id, |entry| entry.0).ok().map(|at| self.live[at].1)
    }

    pub fn get(&self, record: u32) -> &Sequence {
        &self.records[record as usize]
    }

    pub fn get_mut(&mut self, record: u32) -> &mut Sequence {
        &mut self.records[record as usize]
    }
}

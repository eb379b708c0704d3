//! What the store counts.

/// Pages now, and rows that executors were asked to copy so far. A row counts once per group; its bytes are the
/// executor's to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Pages of the pool, without page 0.
    pub total: u32,
    /// Pages that nothing holds.
    pub free: u32,
    /// Pages that the open families may come to use.
    pub booked: u32,
    /// Live sequences.
    pub sequences: u32,
    /// Rows copied because a sequence appended to a page that it shared.
    pub rows_copied_on_write: u64,
    /// Rows moved to the pages of forks, where a fork's text leaves that of its siblings.
    pub rows_forked: u64,
    /// Rows moved within a sequence, from their place in the tree to their position.
    pub rows_compacted: u64,
}

//! Which sequence owns which cache slot. No tensor bytes, no tokens, no models: an executor owns the memory, this crate
//! owns the addresses.
//!
//! A cache is `pages` pages of `page_size` rows; row `o` of page `p` is the slot `p · page_size + o`. Page 0 is scratch
//! for padded rows, is never handed out and counts in no statistic. A sequence holds one page table per cache group:
//! its row with the logical index `i` lies in page `table[i / page_size]`, at offset `i % page_size`.
//!
//! One decoding step is
//!
//! ```text
//! reservation = store.reserve(wants)          rows behind each sequence: known chain, then drafted nodes
//!               executor runs store.copies(), then the forward
//! committed   = store.commit(reservation, paths, closed)
//!               executor runs store.moves()
//!               store.acknowledge()           or store.moves_failed()
//! ```
//!
//! **A reservation** is an owned value, because it lives across calls from Python. Dropping it rolls it back: a failed
//! forward leaks nothing, and the sequences are as they were. There is one at a time; the next `reserve` rolls back an
//! older one that somebody still holds (a traceback, for example), whose commit is then a typed error.
//!
//! **Forks share pages.** A page in two tables holds equal rows in both, as far as both go. The first append to a
//! shared partial page copies its rows to a page of its own, and the last owner appends in place. Where all owners
//! append in one step the longest of them stays in place, so that what it writes lies behind the rows of the others
//! and a rollback can restore the sharing.
//!
//! **Row moves belong to the store until they are acknowledged.** They are read all before the first is stored (gather,
//! then scatter). A page that is source or target of a pending move stays where it is whoever closes, and nothing can
//! be reserved. If they fail, each sequence falls back to its last row that is certainly in place.
//!
//! **Retraction.** [`Store::retract`] drops the last rows of a sequence: its table gets shorter, and what it shared with
//! others stays with them.
//!
//! **Booking.** A family is a request: a sequence and all its forks, at most `width` of them, each at most `capacity`
//! rows. It books `width · ⌈capacity / page_size⌉` pages per group when it opens, and that is enough at every moment:
//!
//! A family that shares its first `s` rows ([`Store::open_shared`]) books `⌊s / page_size⌋` pages fewer for each but the
//! first, for those pages are in all of its tables or in one.
//! - Between steps each of its sequences holds at most `⌈capacity / page_size⌉` pages.
//! - A reservation keeps the page that a copy came from, but another sequence of the family still holds that page.
//! - A commit closes first and forks then. Sources of moves lie in pages of surviving sources; these and the forks
//!   are at most `width` together.
//! - Nothing takes pages while moves are pending, so pages that outlive their sequence are never missed.
//!
//! So a running family never meets an empty pool; `tests::machine` runs pools without a page to spare. A family also
//! has a home, a range of page numbers that others avoid: tables tend to be runs of neighbours, which an executor can
//! read as a view instead of a gather.
//!
//! ```
//! use draftwood_store::{GroupKind, Paths, Store, StoreConfig, Want};
//!
//! let mut store = Store::new(StoreConfig { pages: 9, page_size: 4, groups: vec![GroupKind::Full] })?;
//! let text = store.open(16, 2)?; // at most 16 rows, at most 2 beams
//!
//! // A prompt of 5 tokens, and behind its last one the draft 0 ─┬─ 1
//! //                                                            └─ 2
//! let reservation = store.reserve(&[Want { sequence: text, chain: 5, drafted: 2 }])?;
//! let mut survivors = Paths::default();
//! survivors.push(text, [0, 2]);
//! survivors.push(text, [0, 1]);
//! let committed = store.commit(reservation, &survivors, &[])?.to_vec();
//! assert_eq!((committed[0].sequence, committed[0].len), (text, 6));
//!
//! // Node 2 moves from row 6 to row 5. The fork shares page 0 and takes rows 4 and 5 to a page of its own.
//! let fork = committed[1].sequence;
//! assert_eq!(store.moves(0).to, [store.slot(text, 0, 5), store.slot(fork, 0, 4), store.slot(fork, 0, 5)]);
//! store.acknowledge();
//! assert_eq!(store.pages(text, 0)[0], store.pages(fork, 0)[0]);
//! # Ok::<(), draftwood_base::Error>(())
//! ```
//!
//! Calls cost O(pages and rows that change), no allocation once the buffers have grown (`tests/allocations.rs`).
#![forbid(unsafe_code)]

mod booking;
mod commit;
mod copy_on_write;
mod moves;
mod paths;
mod pool;
mod prefix;
mod reserve;
mod sequences;
mod stats;
mod store;
#[cfg(test)]
mod tests;

pub use moves::RowMoves;
pub use paths::{Committed, Paths};
pub use reserve::{Reservation, Want};
pub use stats::Stats;
pub use store::{GroupKind, Store, StoreConfig};

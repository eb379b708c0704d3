//! The two scans of SA-IS for texts below 2^31 symbols: the free bit of an entry says whether the suffix before it is the
//! larger one of the two. It is set when an entry is placed, with the text around it at hand, so that of the entries a scan
//! passes only those read the text whose turn it is.

use crate::read_ahead::{self, Before, Scan, read};
use crate::suffix_array::{EMPTY, Symbol};
use crate::two_threads::shared;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// On an entry: the suffix before this one is larger than this one.
pub(crate) const MARK: u32 = 1 << 31;

/// Of the marked entries, upwards.
#[derive(Clone, Copy)]
struct Larger;

impl Scan for Larger {
    const UP: bool = true;

    #[inline(always)]
    fn wanted(self, entry: u32) -> Option<usize> {
        (entry & MARK != 0 && entry != EMPTY).then(|| (entry & !MARK) as usize - 1)
    }

    #[inline(always)]
    fn is_larger<S: Symbol>(self, before: S, here: S) -> bool {
        before >= here
    }
}

/// Of those without a mark, downwards.
#[derive(Clone, Copy)]
struct Smaller;

impl Scan for Smaller {
    const UP: bool = false;

    #[inline(always)]
    fn wanted(self, entry: u32) -> Option<usize> {
        (entry & MARK == 0 && entry > 0).then(|| entry as usize - 1)
    }

    #[inline(always)]
    fn is_larger<S: Symbol>(self, before: S, here: S) -> bool {
        before > here
    }
}

/// From the marked LMS suffixes at the ends of their buckets, places every suffix that is larger than its successor. With
/// `only_smaller` keeps of them those before which a smaller one stands.
pub(crate) fn larger<S: Symbol>(
    text: &[S],
    ends: &[u32],
    heads: &mut [u32],
    sa: &mut [u32],
    only_smaller: bool,
) {
    heads[0] = 0;
    heads[1..].copy_from_slice(&ends[..ends.len() - 1]);
    // The end of the text is smaller than everything, so the last suffix is the first to be placed.
    let last = text.len() - 1;
    let mut place = |sa: &[AtomicU32], at: u32, Before { bucket, is_larger }| {
        let head = &mut heads[bucket];
        sa[*head as usize].store(marked(at, is_larger), Relaxed);
        *head += 1;
    };
    place(shared(sa), last as u32, read(Larger, text, last));
    read_ahead::over(text, sa, Larger, |sa, i, entry, before| {
        let Some(before) = before else { return };
        if only_smaller {
            sa[i].store(EMPTY, Relaxed);
        }
        place(sa, (entry & !MARK) - 1, before);
    });
}

#[inline(always)]
fn marked(at: u32, is_larger: bool) -> u32 {
    at | if is_larger { MARK } else { 0 }
}

/// From the larger suffixes, places every suffix that is smaller than its successor; no entry stays marked. With `collect`
/// also writes the LMS positions, in the order found, to the last `collect` entries.
pub(crate) fn smaller<S: Symbol>(
    text: &[S],
    ends: &[u32],
    tails: &mut [u32],
    sa: &mut [u32],
    collect: Option<usize>,
) {
    tails.copy_from_slice(ends);
    let mut free = sa.len();
    read_ahead::over(text, sa, Smaller, |sa, i, entry, before| {
        if let Some(Before { bucket, is_larger }) = before {
            let tail = &mut tails[bucket];
            *tail -= 1;
            sa[*tail as usize].store(marked(entry - 1, is_larger), Relaxed);
        } else if entry & MARK != 0 {
            if collect.is_none() {
                sa[i].store(entry & !MARK, Relaxed);
            } else if entry != EMPTY {
                // Larger suffixes with a larger one before them are gone: what is marked is smaller itself.
                free -= 1;
                sa[free].store(entry & !MARK, Relaxed);
            }
        }
    });
    debug_assert!(collect.is_none_or(|lms| lms == sa.len() - free));
}

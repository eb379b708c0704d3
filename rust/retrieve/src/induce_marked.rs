//! The two scans of SA-IS for texts below 2^31 symbols: the free bit of an entry says whether the suffix before it is the
//! larger one of the two. It is set when an entry is placed, with the text around it at hand, so that of the entries a scan
//! passes only those read the text whose turn it is.

use crate::prefetch::prefetch;
use crate::suffix_array::{EMPTY, Symbol};

/// On an entry: the suffix before this one is larger than this one.
pub(crate) const MARK: u32 = 1 << 31;
/// Entries looked ahead: the text is read at random, far beyond the caches.
const AHEAD: usize = 32;

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
    let last = text.len() - 1;
    // The end of the text is smaller than everything, so the last suffix is the first to be placed.
    place_larger(text, heads, sa, last);
    for i in 0..sa.len() {
        if let Some(&ahead) = sa.get(i + AHEAD)
            && ahead & MARK != 0
        {
            prefetch(text, (ahead & !MARK) as usize);
        }
        let entry = sa[i];
        if entry & MARK == 0 || entry == EMPTY {
            continue;
        }
        if only_smaller {
            sa[i] = EMPTY;
        }
        place_larger(text, heads, sa, (entry & !MARK) as usize - 1);
    }
}

#[inline(always)]
fn place_larger<S: Symbol>(text: &[S], heads: &mut [u32], sa: &mut [u32], at: usize) {
    let here = text[at];
    let is_larger = at > 0 && text[at - 1] >= here;
    let head = &mut heads[here.bucket()];
    sa[*head as usize] = at as u32 | if is_larger { MARK } else { 0 };
    *head += 1;
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
    for i in (0..sa.len()).rev() {
        if i >= AHEAD && sa[i - AHEAD] & MARK == 0 {
            prefetch(text, sa[i - AHEAD] as usize);
        }
        let entry = sa[i];
        if entry & MARK != 0 {
            if collect.is_none() {
                sa[i] = entry & !MARK;
            } else if entry != EMPTY {
                // Larger suffixes with a larger one before them are gone: what is marked is smaller itself.
                free -= 1;
                sa[free] = entry & !MARK;
            }
        } else if entry > 0 {
            let at = entry as usize - 1;
            let here = text[at];
            let is_larger = at > 0 && text[at - 1] > here;
            let tail = &mut tails[here.bucket()];
            *tail -= 1;
            sa[*tail as usize] = at as u32 | if is_larger { MARK } else { 0 };
        }
    }
    debug_assert!(collect.is_none_or(|lms| lms == sa.len() - free));
}

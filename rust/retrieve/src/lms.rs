//! The suffixes of SA-IS that are smaller than their successor and follow a larger one (LMS): where they are, how the
//! pieces between them are numbered, and back from numbers to places.

use crate::huge_pages;
use crate::prefetch::prefetch;
use crate::suffix_array::{AHEAD, EMPTY, Symbol};
use crate::two_threads::{both, shared};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Least suffixes that are worth a second thread.
const LEAST: usize = 1 << 17;
/// On a name: counted on from the first half's.
const LATER: u32 = 1 << 31;

/// Calls `found` for each LMS position from the right.
pub(crate) fn for_each_lms<S: Symbol>(text: &[S], mut found: impl FnMut(usize)) {
    let mut smaller = false;
    for i in (1..text.len()).rev() {
        let (before, here) = (text[i - 1], text[i]);
        if before > here && smaller {
            found(i);
        }
        smaller = before < here || before == here && smaller;
    }
}

/// The pieces that begin at the LMS positions, by their number in the order of `sorted`, equal ones alike, as a text of its
/// own; and how many numbers there are. None if no two are equal: then the suffixes are sorted as well. `names` has room
/// for half the text.
pub(crate) fn named<S: Symbol>(text: &[S], sorted: &[u32], names: &mut [u32]) -> Option<(Vec<u32>, usize)> {
    // LMS positions are at least two apart, so half the text numbers them. First their pieces' lengths, up to and
    // including the next LMS position; the last piece ends with the text and equals no other.
    names.fill(EMPTY);
    let mut next = text.len();
    for_each_lms(text, |at| {
        names[at / 2] = if next == text.len() { 0 } else { (next - at + 1) as u32 };
        next = at;
    });
    let names = shared(names);
    let (first, second) = sorted.split_at(sorted.len() / 2);
    let piece = |at: u32| (at as usize, names[at as usize / 2].load(Relaxed) as usize);
    // Of the second half's first one; it has a name instead of a length soon.
    let before = first.last().map_or((0, 0), |&at| piece(at));
    let (earlier, later) = both(
        sorted.len() >= LEAST,
        || name(text, first, names, (0, 0), 0),
        || name(text, second, names, before, LATER),
    );
    let count = (earlier + later) as usize;
    if count == sorted.len() {
        return None;
    }
    let mut reduced: Vec<u32> = huge_pages::with_capacity(sorted.len());
    let named = names.iter().map(|name| name.load(Relaxed)).filter(|&name| name != EMPTY);
    reduced.extend(named.map(|name| if name < LATER { name - 1 } else { earlier + (name - LATER) - 1 }));
    Some((reduced, count))
}

/// Numbers the pieces at `sorted` from 1 on, from 0 if the first one is equal to the one `before`; marks what it writes.
/// Returns the last number.
fn name<S: Symbol>(
    text: &[S],
    sorted: &[u32],
    names: &[AtomicU32],
    before: (usize, usize),
    mark: u32,
) -> u32 {
    let (mut count, (mut previous, mut previous_length)) = (0, before);
    for (i, &at) in sorted.iter().enumerate() {
        if let Some(&ahead) = sorted.get(i + AHEAD) {
            prefetch(text, ahead as usize);
            prefetch(names, ahead as usize / 2);
        }
        let (at, name) = (at as usize, &names[at as usize / 2]);
        let length = name.load(Relaxed) as usize;
        let same = length != 0
            && length == previous_length
            && text[at..at + length] == text[previous..previous + length];
        count += u32::from(!same);
        name.store(count | mark, Relaxed);
        (previous, previous_length) = (at, length);
    }
    count
}

/// From the numbers of LMS suffixes to their places in the text.
pub(crate) fn places(of_number: &[u32], sa: &mut [u32]) {
    let sa = shared(sa);
    let (first, second) = sa.split_at(sa.len() / 2);
    let replace = |some: &[AtomicU32]| {
        for (i, one) in some.iter().enumerate() {
            if let Some(ahead) = some.get(i + AHEAD) {
                prefetch(of_number, ahead.load(Relaxed) as usize);
            }
            one.store(of_number[one.load(Relaxed) as usize], Relaxed);
        }
    };
    both(sa.len() >= LEAST, || replace(first), || replace(second));
}

//! Suffix arrays in linear time, for texts of integers.

use crate::huge_pages;
use crate::induce_marked::{self, MARK};
use crate::lms::{self, for_each_lms};
use crate::prefetch::prefetch;

/// A text element: 16 bits where the alphabet allows it, because the sort is bound by reads of the text.
pub(crate) trait Symbol: Copy + Ord + Send + Sync {
    /// The symbol as a bucket number.
    fn bucket(self) -> usize;
}

impl Symbol for u16 {
    #[inline(always)]
    fn bucket(self) -> usize {
        usize::from(self)
    }
}

impl Symbol for u32 {
    #[inline(always)]
    fn bucket(self) -> usize {
        self as usize
    }
}

/// No entry.
pub(crate) const EMPTY: u32 = u32::MAX;
/// Entries looked ahead: the text is read at random, far beyond the caches.
pub(crate) const AHEAD: usize = 32;

/// The starts of all suffixes of `text` in lexicographic order; a suffix that is a prefix of another comes first.
/// All symbols are below `symbols`.
///
/// SA-IS (Nong, Zhang, Chan 2009): suffixes that are smaller than their successor and follow a larger one (LMS) are
/// sorted first, by renaming the pieces between them and recursing; the order of all others follows in two scans.
/// Time O(n + symbols), memory 4 bytes per symbol and at most 2 more for the recursion.
///
/// # Panics
/// If the text has 2^32 − 1 symbols or more, or a symbol is out of range.
pub(crate) fn suffix_array<S: Symbol>(text: &[S], symbols: usize) -> Vec<u32> {
    assert!(text.len() < EMPTY as usize, "a text of {} symbols needs more than 32 bits", text.len());
    let mut sa = huge_pages::filled(text.len(), 0);
    sort(text, symbols, &mut sa, text.len() < MARK as usize);
    sa
}

/// With `marked`, the text is short enough for [`induce_marked`].
fn sort<S: Symbol>(text: &[S], symbols: usize, sa: &mut [u32], marked: bool) {
    let n = text.len();
    if n < 2 {
        sa.fill(0);
        return;
    }
    // ends[c] = number of suffixes that start with c or less.
    let mut ends = vec![0u32; symbols];
    for symbol in text {
        ends[symbol.bucket()] += 1;
    }
    let mut sum = 0;
    for end in &mut ends {
        sum += *end;
        *end = sum;
    }
    let mut cursors = ends.clone();

    sa.fill(EMPTY);
    // Before an LMS suffix stands a larger one.
    let mark = if marked { MARK } else { 0 };
    let mut lms = 0;
    for_each_lms(text, |at| {
        let cursor = &mut cursors[text[at].bucket()];
        *cursor -= 1;
        sa[*cursor as usize] = at as u32 | mark;
        lms += 1;
    });
    induce(text, &ends, &mut cursors, sa, Some(lms), marked);
    if lms > 0 {
        sort_lms(text, sa, lms, marked);
    }
    sa[lms..].fill(EMPTY);
    cursors.copy_from_slice(&ends);
    for i in (0..lms).rev() {
        if i >= AHEAD {
            prefetch(text, sa[i - AHEAD] as usize);
        }
        let at = std::mem::replace(&mut sa[i], EMPTY);
        let cursor = &mut cursors[text[at as usize].bucket()];
        *cursor -= 1;
        sa[*cursor as usize] = at | mark;
    }
    induce(text, &ends, &mut cursors, sa, None, marked);
}

/// From the LMS suffixes at the ends of their buckets, all others; with `collect` the LMS ones alone, in the last entries.
fn induce<S: Symbol>(
    text: &[S],
    ends: &[u32],
    cursors: &mut [u32],
    sa: &mut [u32],
    collect: Option<usize>,
    marked: bool,
) {
    if marked {
        induce_marked::larger(text, ends, cursors, sa, collect.is_some());
        induce_marked::smaller(text, ends, cursors, sa, collect);
    } else {
        induce_larger(text, ends, cursors, sa);
        induce_smaller(text, ends, cursors, sa, collect);
    }
}

/// From the LMS suffixes at the ends of their buckets, places every suffix that is larger than its successor.
fn induce_larger<S: Symbol>(text: &[S], ends: &[u32], heads: &mut [u32], sa: &mut [u32]) {
    heads[0] = 0;
    heads[1..].copy_from_slice(&ends[..ends.len() - 1]);
    let last = text.len() - 1;
    // The end of the text is smaller than everything, so the last suffix is the first to be placed.
    sa[heads[text[last].bucket()] as usize] = last as u32;
    heads[text[last].bucket()] += 1;
    for i in 0..sa.len() {
        if let Some(&ahead) = sa.get(i + AHEAD) {
            prefetch(text, ahead as usize);
        }
        let at = sa[i];
        if at == EMPTY || at == 0 {
            continue;
        }
        let (before, here) = (text[at as usize - 1], text[at as usize]);
        if before > here || before == here && (i as u32) < heads[here.bucket()] {
            let head = &mut heads[before.bucket()];
            sa[*head as usize] = at - 1;
            *head += 1;
        }
    }
}

/// From the larger suffixes, places every suffix that is smaller than its successor. With `collect` also writes the
/// LMS positions, in the order found, to the last `collect` entries.
fn induce_smaller<S: Symbol>(
    text: &[S],
    ends: &[u32],
    tails: &mut [u32],
    sa: &mut [u32],
    collect: Option<usize>,
) {
    tails.copy_from_slice(ends);
    let mut free = sa.len();
    for i in (0..sa.len()).rev() {
        if i >= AHEAD {
            prefetch(text, sa[i - AHEAD] as usize);
        }
        let at = sa[i];
        if at == EMPTY || at == 0 {
            continue;
        }
        let (before, here) = (text[at as usize - 1], text[at as usize]);
        let smaller = i as u32 >= tails[here.bucket()];
        if before < here || before == here && smaller {
            let tail = &mut tails[before.bucket()];
            *tail -= 1;
            sa[*tail as usize] = at - 1;
        } else if smaller && before > here && collect.is_some() {
            free -= 1;
            sa[free] = at;
        }
    }
    debug_assert!(collect.is_none_or(|lms| lms == sa.len() - free));
}

/// Sorts the LMS suffixes, whose pieces stand sorted in the last `lms` entries of `sa`, into its first entries.
fn sort_lms<S: Symbol>(text: &[S], sa: &mut [u32], lms: usize, marked: bool) {
    let n = text.len();
    let (names, sorted) = sa.split_at_mut(n - lms);
    let Some((mut reduced, count)) = lms::named(text, sorted, &mut names[..n.div_ceil(2)]) else {
        sa.copy_within(n - lms.., 0);
        return;
    };
    sort(&reduced, count, &mut sa[..lms], marked);
    let mut i = lms;
    for_each_lms(text, |at| {
        i -= 1;
        reduced[i] = at as u32;
    });
    lms::places(&reduced, &mut sa[..lms]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_comparison<S: Symbol>(text: &[S]) -> Vec<u32> {
        let mut sa: Vec<u32> = (0..text.len() as u32).collect();
        sa.sort_by(|&a, &b| text[a as usize..].cmp(&text[b as usize..]));
        sa
    }

    /// As for a text of 2^31 symbols and more.
    fn unmarked<S: Symbol>(text: &[S], symbols: usize) -> Vec<u32> {
        let mut sa = vec![0; text.len()];
        sort(text, symbols, &mut sa, false);
        sa
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]
        #[test]
        fn equals_a_comparison_sort(
            seeds in prop::collection::vec((any::<u16>(), 0usize..20), 0..40), alphabet in 1u16..300,
        ) {
            let mut text = Vec::new();
            for (seed, copied) in seeds {
                text.push(seed % alphabet);
                let from = seed as usize % text.len();
                (from..from + copied).for_each(|i| text.push(text[i]));
            }
            let wide: Vec<u32> = text.iter().map(|&c| u32::from(c)).collect();
            let expected = by_comparison(&text);
            prop_assert_eq!(&suffix_array(&text, alphabet.into()), &expected);
            prop_assert_eq!(&suffix_array(&wide, alphabet.into()), &expected);
            prop_assert_eq!(&unmarked(&text, alphabet.into()), &expected);
        }
    }

    #[test]
    fn deep_recursions() {
        // Fibonacci and Thue-Morse words repeat on every scale; equal symbols have no LMS position at all.
        let (mut a, mut b) = (vec![0u16], vec![0u16, 1]);
        for _ in 0..15 {
            (a, b) = (b.clone(), [b, a].concat());
        }
        let morse: Vec<u16> = (0..4096u32).map(|i| (i.count_ones() & 1) as u16).collect();
        for text in [b, morse, vec![7; 1000], (0..500).collect(), (0..500).rev().collect()] {
            let expected = by_comparison(&text);
            assert_eq!(suffix_array(&text, 600), expected);
            assert_eq!(unmarked(&text, 600), expected);
        }
    }

    /// Sorted, by the order of the suffixes that follow.
    fn check<S: Symbol>(text: &[S], sa: &[u32]) {
        let mut rank = vec![0; text.len() + 1];
        for (i, &at) in (1..).zip(sa) {
            rank[at as usize] = i;
        }
        assert!(sa.len() == text.len() && rank[..text.len()].iter().all(|&rank| rank > 0), "a permutation");
        let key = |at: u32| (text[at as usize], rank[at as usize + 1]);
        assert!(sa.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
    }

    /// Long enough for all that a second thread does, in the recursion too.
    #[test]
    fn two_threads() {
        let mut seed = 7u64;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for alphabet in [2, 40, 5000] {
            let mut text: Vec<u16> = Vec::new();
            while text.len() < 1 << 20 {
                let (fresh, copied) = (draw(30), draw(30) as usize);
                text.extend((0..=fresh).map(|_| (draw(alphabet) * draw(alphabet) / alphabet) as u16));
                let from = draw(text.len() as u64) as usize;
                text.extend_from_within(from..text.len().min(from + copied));
            }
            check(&text, &suffix_array(&text, alphabet as usize));
            let wide: Vec<u32> = text.iter().map(|&symbol| u32::from(symbol)).collect();
            check(&wide, &suffix_array(&wide, alphabet as usize));
            check(&text, &unmarked(&text, alphabet as usize));
        }
    }
}

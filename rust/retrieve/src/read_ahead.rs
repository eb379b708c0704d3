//! A second thread that reads the text for a scan of SA-IS before the scan comes there, since a scan reads it at random.
//! Worth 5 to 11 % of a build of 50M tokens in four pairs on one machine.

use crate::prefetch::prefetch;
use crate::suffix_array::{AHEAD, Symbol};
use crate::two_threads::shared;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

/// Entries between two looks at how far the other thread is.
const BLOCK: usize = 4096;
/// Entries that are known before the scan reads them, at most: what the threads share stays in their caches.
const KNOWN: usize = 8 * BLOCK;
/// Least entries that are worth a thread.
const LEAST: usize = 1 << 18;

/// The symbol that stands before a suffix, and whether the suffix that begins with it is larger than its successor.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    pub(crate) bucket: usize,
    pub(crate) is_larger: bool,
}

/// One scan: which entries it reads the text for, and what it wants to know there. Functions of the entry alone, so that
/// whoever answers them, the answer is the same.
pub(crate) trait Scan: Copy + Send + Sync {
    /// From the first entry to the last, or back.
    const UP: bool;
    /// The position whose symbol the entry asks for.
    fn wanted(self, entry: u32) -> Option<usize>;
    /// Whether the suffix that begins with `here`, behind `before`, is to be marked.
    fn is_larger<S: Symbol>(self, before: S, here: S) -> bool;
}

/// What stands at `at`, read by whoever asks.
#[inline(always)]
pub(crate) fn read<S: Symbol>(scan: impl Scan, text: &[S], at: usize) -> Before {
    let here = text[at];
    Before { bucket: here.bucket(), is_larger: at > 0 && scan.is_larger(text[at - 1], here) }
}

/// Answers by entry: each cell holds an entry in its low half and what stands before it in the other. A cell that was
/// written for another place is told by its entry, so the threads need no order between them.
struct Answers {
    cells: Vec<AtomicU64>,
    /// Entries that the scan has passed, and those that the reader has.
    passed: AtomicUsize,
    answered: AtomicUsize,
}

const IS_LARGER: u64 = 1 << 63;

impl Answers {
    fn tell(&self, number: usize, entry: u32, Before { bucket, is_larger }: Before) {
        let mark = if is_larger { IS_LARGER } else { 0 };
        self.cells[number % KNOWN].store(mark | (bucket as u64) << 32 | u64::from(entry), Relaxed);
    }

    #[inline(always)]
    fn ask(&self, number: usize, entry: u32) -> Option<Before> {
        let cell = self.cells[number % KNOWN].load(Relaxed);
        (cell as u32 == entry).then_some(Before {
            bucket: (cell >> 32 & 0x7FFF_FFFF) as usize,
            is_larger: cell & IS_LARGER != 0,
        })
    }
}

/// Says at the end of a scan, or of a panic in it, that nothing more is wanted.
struct End<'a>(&'a Answers);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.passed.store(usize::MAX, Relaxed);
    }
}

/// Calls `each` for every entry of `sa` in the order of the scan, with what stands before those that it wants to know of.
/// `each` may write to entries that the scan has not reached.
pub(crate) fn over<S: Symbol, K: Scan>(
    text: &[S],
    sa: &mut [u32],
    scan: K,
    mut each: impl FnMut(&[AtomicU32], usize, u32, Option<Before>),
) {
    let sa = shared(sa);
    let two = sa.len() >= LEAST && thread::available_parallelism().is_ok_and(|threads| threads.get() > 1);
    let cells = if two { KNOWN } else { 0 };
    let answers = Answers {
        cells: (0..cells).map(|_| AtomicU64::new(0)).collect(),
        passed: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
    };
    thread::scope(|scope| {
        let _end = End(&answers);
        // Without a thread the scan reads for itself.
        if two {
            let _ = thread::Builder::new().spawn_scoped(scope, || answer(text, sa, scan, &answers));
        }
        for first in (0..sa.len()).step_by(BLOCK) {
            let block = first..sa.len().min(first + BLOCK);
            answers.passed.store(first, Relaxed);
            if answers.answered.load(Relaxed) >= block.end {
                for number in block {
                    let at = place::<K>(sa.len(), number);
                    let entry = sa[at].load(Relaxed);
                    let before = scan
                        .wanted(entry)
                        .map(|wanted| answers.ask(number, entry).unwrap_or_else(|| read(scan, text, wanted)));
                    each(sa, at, entry, before);
                }
            } else {
                for number in block {
                    let entry = alone(text, sa, scan, number);
                    let before = scan.wanted(entry).map(|at| read(scan, text, at));
                    each(sa, place::<K>(sa.len(), number), entry, before);
                }
            }
        }
    });
}

/// The entry of that number, whose text was asked for [`AHEAD`] numbers ago.
#[inline(always)]
fn alone<S: Symbol, K: Scan>(text: &[S], sa: &[AtomicU32], scan: K, number: usize) -> u32 {
    if number + AHEAD < sa.len()
        && let Some(at) = scan.wanted(sa[place::<K>(sa.len(), number + AHEAD)].load(Relaxed))
    {
        prefetch(text, at);
    }
    sa[place::<K>(sa.len(), number)].load(Relaxed)
}

/// Reads the text for all entries that are known some time before the scan reaches them.
fn answer<S: Symbol, K: Scan>(text: &[S], sa: &[AtomicU32], scan: K, answers: &Answers) {
    let mut first = 0;
    while first < sa.len() {
        let passed = answers.passed.load(Relaxed);
        if passed == usize::MAX {
            return;
        }
        if first <= passed {
            first = passed + BLOCK;
        }
        if first + BLOCK > passed + KNOWN {
            spin_loop();
            continue;
        }
        let block = first.min(sa.len())..sa.len().min(first + BLOCK);
        for number in block.clone() {
            let entry = alone(text, sa, scan, number);
            if let Some(at) = scan.wanted(entry) {
                answers.tell(number, entry, read(scan, text, at));
            }
        }
        answers.answered.store(block.end, Relaxed);
        first = block.end;
    }
}

#[inline(always)]
fn place<K: Scan>(len: usize, number: usize) -> usize {
    if K::UP { number } else { len - 1 - number }
}

//! What this machine gives the kernels: the two sides of the roofline, measured as the kernels use them.
//!
//! Bandwidth: huge pages touched first by the thread that reads them, one stream per thread cut into pieces that late
//! threads lose, 64 bytes a load, the kernels' prefetch hints. Arithmetic: a kernel over one panel that stays in cache.

use crate::lanes::{Lanes, WIDTH, prefetch_level2, prefetch_once};
use crate::linear::tiles::{AHEAD, AHEAD_OF_FLOATS};
use crate::linear::{Outputs, Rows, multiply};
use crate::machine::{Kernel, Machine};
use crate::memory::{Memory, Shared};
use crate::panels::{Layout, PANEL, Panels};
use crate::quantise::{BLOCK, Block, quantise};
use draftwood_base::pool::{Pool, Team};
use draftwood_base::{Error, Result};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const LINE: usize = 64;
/// What threads take at once.
const UNIT: usize = 64 << 10;
/// Distances of hints, those of the kernels among them; the best is what memory can give.
const HINTS: [Hint; 4] =
    [Hint::Once(2 << 10), Hint::Level2(AHEAD_OF_FLOATS), Hint::Level2(AHEAD), Hint::None];
const PASSES: usize = 12;
const MOST_THREADS: usize = 1 << 10;

/// Bytes per second of reading `bytes` of memory with `threads` threads: the best of twelve passes, four with each of
/// the hints that kernels use and four without.
///
/// 8 last-level caches or more give the speed of memory; as many bytes as a model has give the floor of that model, part
/// of which stays in the caches.
///
/// # Errors
/// `InvalidArgument` for no threads or too many, less than a cache line per thread, or more memory than there is.
pub fn read_bandwidth(threads: usize, bytes: usize) -> Result<f64> {
    let lines = bytes / LINE;
    let most = lines.min(MOST_THREADS);
    if threads == 0 || threads > most {
        let hint = "a thread needs at least one cache line of 64 bytes";
        return Err(Error::invalid("threads", format!("1 … {most}"), threads, hint));
    }
    let pool = Pool::new(threads);
    let memory = Memory::zeroed(lines * LINE)?;
    let floats = lines * WIDTH;
    let start = memory.as_ptr().cast::<f32>();
    // SAFETY: the mapping holds so many floats, it is zeroed, and nobody else has it.
    let all = Shared::new(unsafe { std::slice::from_raw_parts_mut(start, floats) });
    let unit = UNIT / size_of::<f32>();
    let pieces = floats.div_ceil(unit);
    let of = |unit_range: std::ops::Range<usize>| {
        let (from, to) = (unit_range.start * unit, (unit_range.end * unit).min(floats));
        (from, to - from)
    };
    pool.run(|team| {
        let (from, len) = of(pieces * team.index() / threads..pieces * (team.index() + 1) / threads);
        // SAFETY: threads have pieces of their own.
        unsafe { all.write(from, len) }.fill(1.0);
    });
    let machine = Machine::get();
    let mut best = 0.0_f64;
    for pass in 0..PASSES {
        let hint = HINTS[pass % HINTS.len()];
        let seconds = timed(&pool, |team| {
            team.share(pieces, |units| {
                let (from, len) = of(units);
                // SAFETY: nobody writes any more.
                let words = unsafe { all.read(from, len) };
                black_box(machine.run(Sum { words, hint }));
            });
        });
        best = best.max((lines * LINE) as f64 / seconds);
    }
    Ok(best)
}

/// Multiply-adds per second of the kernel for a layout with `threads` threads, everything in cache: the best over the
/// numbers of rows that it has register tiles for.
///
/// # Errors
/// `InvalidArgument` for no threads or too many.
pub fn multiply_rate(threads: usize, layout: Layout) -> Result<f64> {
    const COLUMNS: usize = 512;
    const REPEATS: usize = 5;
    const MOST_CALLS: usize = 1 << 14;
    /// Long beside the rows that each repetition makes, short beside a time slice.
    const LEAST_SECONDS: f64 = 5e-4;
    if threads == 0 || threads > MOST_THREADS {
        return Err(Error::invalid("threads", format!("1 … {MOST_THREADS}"), threads, ""));
    }
    let pool = Pool::new(threads);
    let mut panels = Panels::zeroed(layout, PANEL, COLUMNS)?;
    // Small positive values in every type: as halves and floats they are subnormal, which costs nothing here.
    let row: Vec<u8> = (0..layout.row_bytes(COLUMNS)).map(|i| (i * 7 % 60) as u8).collect();
    panels.fill_blocks(&Pool::new(1), &Some, &|_, to| {
        to.copy_from_slice(&row);
        Ok(())
    })?;
    let mut best = 0.0_f64;
    for count in [4, 6, 8, 12, 16] {
        let mut calls = 1;
        while calls < MOST_CALLS && timed(&pool, |_| repeat(&panels, count, calls)) < LEAST_SECONDS {
            calls *= 2;
        }
        for _ in 0..REPEATS {
            let seconds = timed(&pool, |_| repeat(&panels, count, calls));
            let products = threads * calls * count * PANEL * COLUMNS;
            best = best.max(products as f64 / seconds);
        }
    }
    Ok(best)
}

/// Multiplies one panel `calls` times with `count` rows of this thread's own.
fn repeat(panels: &Panels, count: usize, calls: usize) {
    let columns = panels.columns;
    let floats: Vec<f32> = (0..count * columns).map(|i| (i % 97) as f32 - 48.0).collect();
    let mut blocks = vec![Block::default(); floats.len() / BLOCK];
    assert!(quantise(Machine::get(), &floats, &mut blocks), "finite activations");
    let mut y = vec![0.0; count * PANEL];
    let rows = if panels.layout.is_quantised() {
        Rows::blocks(blocks.as_ptr(), columns / BLOCK, count)
    } else {
        Rows::floats(floats.as_ptr(), columns, count)
    };
    for _ in 0..calls {
        let out = Outputs { start: y.as_mut_ptr(), stride: PANEL };
        // SAFETY: rows and outputs are as long as they say, and this thread's.
        unsafe { multiply(Machine::get(), black_box(panels), 0..1, rows, out) };
    }
    black_box(&y);
}

/// Seconds from the moment at which all threads are ready to the end of the last one.
fn timed(pool: &Pool, work: impl Fn(&mut Team<'_>) + Sync) -> f64 {
    let (base, first, last) = (Instant::now(), AtomicU64::new(u64::MAX), AtomicU64::new(0));
    let now = || base.elapsed().as_nanos() as u64;
    pool.run(|team| {
        team.meet();
        first.fetch_min(now(), Ordering::Relaxed);
        work(team);
        last.fetch_max(now(), Ordering::Relaxed);
    });
    last.into_inner().saturating_sub(first.into_inner()).max(1) as f64 * 1e-9
}

#[derive(Clone, Copy)]
enum Hint {
    Once(usize),
    Level2(usize),
    None,
}

/// The sum of whole cache lines.
struct Sum<'a> {
    words: &'a [f32],
    hint: Hint,
}

impl Kernel for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> f32 {
        const CHAINS: usize = 4;
        // SAFETY: the machine has the instruction set of `L`, and each load lies inside `words`.
        unsafe {
            let mut sums = [L::splat(0.0); CHAINS];
            let mut line = self.words.as_ptr();
            let lines = self.words.len() / WIDTH;
            for _ in 0..lines / CHAINS {
                for sum in &mut sums {
                    match self.hint {
                        Hint::Once(ahead) => prefetch_once(line.wrapping_byte_add(ahead).cast()),
                        Hint::Level2(ahead) => prefetch_level2(line.wrapping_byte_add(ahead).cast()),
                        Hint::None => {}
                    }
                    *sum = sum.add(L::load(line));
                    line = line.wrapping_add(WIDTH);
                }
            }
            for sum in &mut sums[..lines % CHAINS] {
                *sum = sum.add(L::load(line));
                line = line.wrapping_add(WIDTH);
            }
            let [a, b, c, d] = sums;
            a.add(b).add(c.add(d)).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read() {
        for machine in Machine::all() {
            for lines in [0, 1, 3, 4, 5, 100] {
                let words: Vec<f32> = (0..lines * WIDTH).map(|i| (i % 61) as f32).collect();
                let expected: f32 = words.iter().sum();
                for hint in HINTS {
                    assert_eq!(machine.run(Sum { words: &words, hint }), expected, "{lines}");
                }
            }
        }
    }

    #[test]
    fn any_number_of_threads_up_to_the_lines() {
        for threads in [1, 2, 3, 7, 100] {
            let bandwidth = read_bandwidth(threads, 64 * 100 + 3).unwrap();
            assert!(bandwidth.is_finite() && bandwidth > 0.0, "{threads}");
        }
        for (threads, bytes) in [(0, 6400), (101, 6400), (1, 0), (2000, 1 << 20)] {
            assert!(matches!(read_bandwidth(threads, bytes), Err(Error::InvalidArgument(_))), "{threads}");
        }
    }

    #[test]
    fn the_reading_and_the_products_are_not_optimised_away() {
        let bandwidth = read_bandwidth(1, 8 << 20).unwrap();
        assert!(bandwidth < 2e12, "one thread cannot read {bandwidth} bytes per second");
        for layout in Layout::ALL {
            let rate = multiply_rate(1, layout).unwrap();
            assert!((1e6..2e12).contains(&rate), "{layout:?}: {rate}");
        }
        assert!(multiply_rate(0, Layout::F32).is_err());
    }
}

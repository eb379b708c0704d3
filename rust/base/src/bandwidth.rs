//! How fast memory is read: the floor under every step that streams weights.

use crate::{Error, Result};
use std::sync::Barrier;
use std::time::Instant;

const LINE: usize = 16;
const PASSES: usize = 3;

/// Bytes per second of reading `buffer` once with `threads` threads, each on its own contiguous piece; the best of three
/// passes, so that a short interruption does not count as slow memory.
///
/// The buffer should be 8 last-level caches or more, and already written to (untouched pages are all one zero page).
/// Its pages are the caller's choice; huge ones are read up to 23 % faster, as the weights of a careful engine lie.
///
/// # Errors
/// `Invalid` for no threads, or for a buffer that does not give every thread a cache line.
pub fn read_bandwidth(buffer: &[f32], threads: usize) -> Result<f64> {
    let lines = buffer.len() / LINE;
    if threads == 0 || threads > lines {
        let hint = "a thread needs at least one cache line of 64 bytes";
        return Err(Error::invalid("threads", format!("1 … {lines}"), threads, hint));
    }
    let piece = lines.div_ceil(threads) * LINE;
    let mut best = 0.0_f64;
    for _ in 0..PASSES {
        best = best.max(size_of_val(buffer) as f64 / one_pass(buffer, piece)?);
    }
    Ok(best)
}

/// Seconds from the moment at which all threads are ready to the end of the last one.
fn one_pass(buffer: &[f32], piece: usize) -> Result<f64> {
    let pieces: Vec<_> = buffer.chunks(piece).collect();
    let ready = Barrier::new(pieces.len());
    let spans: Vec<_> = std::thread::scope(|scope| {
        let ready = &ready;
        let handles: Vec<_> = pieces
            .iter()
            .map(|words| {
                scope.spawn(move || {
                    ready.wait();
                    let start = Instant::now();
                    std::hint::black_box(sum(words));
                    (start, Instant::now())
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().ok()).collect()
    });
    let mut ends = spans.into_iter().flatten();
    let stopped = || Error::Internal("a thread of the bandwidth probe stopped".to_owned());
    let (mut first, mut last) = ends.next().ok_or_else(stopped)?;
    for (start, end) in ends {
        (first, last) = (first.min(start), last.max(end));
    }
    Ok((last - first).as_secs_f64().max(1e-9))
}

/// The sum of all words' bits. Integer sums may be reordered, so the compiler makes the plain loop as wide as its target's
/// vectors; a sum of floats would stay one addition after the other.
fn sum(words: &[f32]) -> u32 {
    words.iter().fold(0, |total, word| total.wrapping_add(word.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read() {
        for len in [0, 1, 15, 16, 17, 64, 1000] {
            let words: Vec<f32> = (0..len).map(|i| f32::from_bits(i * i + (i << 24))).collect();
            let expected = words.iter().fold(0, |total: u32, word| total.wrapping_add(word.to_bits()));
            assert_eq!(sum(&words), expected, "{len}");
        }
    }

    #[test]
    fn any_number_of_threads_up_to_the_lines() {
        let buffer = vec![1.0; LINE * 100 + 3];
        for threads in [1, 2, 3, 7, 99, 100] {
            let bandwidth = read_bandwidth(&buffer, threads).unwrap();
            assert!(bandwidth.is_finite() && bandwidth > 0.0, "{threads}");
        }
        for threads in [0, 101] {
            assert!(matches!(read_bandwidth(&buffer, threads), Err(Error::InvalidArgument(_))), "{threads}");
        }
    }

    #[test]
    fn the_reading_is_not_optimised_away() {
        let buffer = vec![1.0; 8 << 20];
        let bandwidth = read_bandwidth(&buffer, 1).unwrap();
        assert!(bandwidth < 2e12, "one thread cannot read {bandwidth} bytes per second");
    }
}

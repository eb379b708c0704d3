//! Rates of the linear kernels on one thread: multiply-adds per cycle with everything in cache, and the share of the read
//! bandwidth when weights come from memory. Run with `cargo bench -p draftwood-forward --bench linear [-- LAYOUT…]`.
#![allow(clippy::print_stdout, missing_docs, reason = "a program that prints a table")]

use draftwood_base::pool::Pool;
use draftwood_forward::Machine;
use draftwood_forward::linear::{Form, Outputs, Rows, multiply, round};
use draftwood_forward::panels::{Layout, PANEL, Panels};
use draftwood_forward::quantise::{BLOCK, Block, quantise};
use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

const ROWS: [usize; 5] = [1, 4, 8, 12, 16];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let layouts = Layout::ALL.into_iter().filter(|l| wanted.is_empty() || wanted.contains(&format!("{l:?}")));
    let ghz = clock();
    println!("{ghz:.2} GHz; rows of x: {ROWS:?}");
    for layout in layouts {
        let rows = 20_000_000 / layout.row_bytes(1536);
        let time = (0..5).map(|_| repacked(layout, rows, 1536).1).fold(f64::INFINITY, f64::min);
        println!("{layout:?}: repacked at {:.2} s per 100 MB", time / 0.2e9);
        let mut machines: Vec<_> = Machine::all().into_iter().skip(1).collect();
        if layout.is_quantised() {
            machines.extend(machines.clone().into_iter().map(Machine::with_float_activations));
        }
        if matches!(layout, Layout::F16 | Layout::BF16) && Machine::get().with_pairs().pairs() {
            machines.push(Machine::get().with_pairs());
        }
        for machine in machines {
            let small = matrix(layout, PANEL, 512);
            let rates = ROWS.map(|n| in_cache(machine, &small, n) / ghz);
            print!("{:5} {:16} MAC/cycle", format!("{layout:?}"), machine.name());
            rates.iter().for_each(|rate| print!(" {rate:6.1}"));
            let large = matrix(layout, 96_000_000 / layout.row_bytes(1536), 1536);
            let floor = bandwidth(&large);
            let times = ROWS.map(|n| streaming(machine, &large, n));
            print!("; {floor:.0} GB/s, share of R(n)");
            for ((n, time), rate) in ROWS.into_iter().zip(times).zip(rates) {
                let memory = large.bytes() as f64 / floor;
                let arithmetic = (large.rows * large.columns * n) as f64 / (rate * ghz);
                print!(" {:3.0}%", 100.0 * memory.max(arithmetic) / time);
            }
            print!("; t(n)/t(1) {:.2?}", times.map(|t| t / times[0]));
            println!("; 512 rows {:.1} MAC/cycle", many(machine, &large) / ghz);
        }
    }
}

/// Cycles per nanosecond, from a chain of additions.
fn clock() -> f64 {
    let time = best(9, || {
        let mut x = black_box(1u64);
        for _ in 0..20_000 {
            for _ in 0..10 {
                x = black_box_add(x);
            }
        }
        black_box(x);
    });
    200_000.0 / time
}

/// One addition that the compiler cannot fold with its neighbours.
#[inline(always)]
fn black_box_add(mut x: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: adds 1 to a register.
    unsafe {
        std::arch::asm!("add {0}, 1", inout(reg) x, options(pure, nomem, nostack));
    }
    x
}

/// Least time of a call, in nanoseconds.
fn best(rounds: usize, mut work: impl FnMut()) -> f64 {
    (0..rounds)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_nanos() as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn matrix(layout: Layout, rows: usize, columns: usize) -> Panels {
    repacked(layout, rows, columns).0
}

/// A matrix, and the nanoseconds that one thread took to repack it.
fn repacked(layout: Layout, rows: usize, columns: usize) -> (Panels, f64) {
    let mut panels = Panels::zeroed(layout, rows, columns).unwrap();
    let row: Vec<u8> = (0..layout.row_bytes(columns)).map(|i| (i * 7 % 60) as u8).collect();
    let time = best(1, || {
        let fill = panels.fill_blocks(&Pool::new(1), &Some, &|_, to| {
            to.copy_from_slice(&row);
            Ok(())
        });
        fill.unwrap();
    });
    (panels, time)
}

struct Activations {
    floats: Vec<f32>,
    blocks: Vec<Block>,
    halves: Vec<u16>,
    y: Vec<f32>,
}

impl Activations {
    fn new(n: usize, rows: usize, columns: usize) -> Self {
        let floats: Vec<f32> = (0..n * columns).map(|i| (i % 97) as f32 - 48.0).collect();
        let mut blocks = vec![Block::default(); floats.len() / BLOCK];
        assert!(quantise(Machine::get(), &floats, &mut blocks));
        let mut halves = vec![0; floats.len()];
        let pairs = Machine::get().with_pairs();
        if pairs.pairs() {
            round(pairs, &floats, &mut halves);
        }
        Self { floats, blocks, halves, y: vec![0.0; n * rows.next_multiple_of(PANEL)] }
    }

    fn multiply(&mut self, machine: Machine, weights: &Panels, panels: Range<usize>, n: usize) {
        let columns = weights.columns;
        let rows = match machine.form(weights.layout) {
            Form::Blocks => Rows::blocks(self.blocks.as_ptr(), columns / BLOCK, n),
            Form::Floats => Rows::floats(self.floats.as_ptr(), columns, n),
            Form::Halves => Rows::halves(self.halves.as_ptr(), columns, n),
        };
        let y = Outputs { start: self.y.as_mut_ptr(), stride: weights.rows.next_multiple_of(PANEL) };
        // SAFETY: rows and outputs are as long as they say.
        unsafe { multiply(machine, weights, panels, rows, y) };
    }
}

/// Multiply-adds per nanosecond.
fn in_cache(machine: Machine, weights: &Panels, n: usize) -> f64 {
    let mut x = Activations::new(n, PANEL, weights.columns);
    let calls = 2000 / n;
    let time = best(9, || (0..calls).for_each(|_| x.multiply(machine, black_box(weights), 0..1, n)));
    (calls * PANEL * weights.columns * n) as f64 / time
}

/// Parts of a matrix that are timed one by one, each long out of cache when its turn comes again: on a busy machine most
/// of them run undisturbed, a whole pass does not.
const PARTS: usize = 64;

/// Nanoseconds of a pass over a matrix in memory: parts times the lower quartile of a part.
fn pass(weights: &Panels, mut part: impl FnMut(Range<usize>)) -> f64 {
    let count = weights.count() / PARTS;
    let mut times: Vec<_> =
        (0..3 * PARTS).map(|i| best(1, || part(i % PARTS * count..(i % PARTS + 1) * count))).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 4] / count as f64 * weights.count() as f64
}

fn streaming(machine: Machine, weights: &Panels, n: usize) -> f64 {
    let mut x = Activations::new(n, weights.rows, weights.columns);
    pass(weights, |panels| x.multiply(machine, weights, panels, n))
}

/// Multiply-adds per nanosecond of 512 rows, as a prompt has them.
fn many(machine: Machine, weights: &Panels) -> f64 {
    const N: usize = 512;
    let panels = 8.min(weights.count());
    let mut x = Activations::new(N, weights.rows, weights.columns);
    let time = best(40, || x.multiply(machine, weights, 0..panels, N));
    (panels * PANEL * weights.columns * N) as f64 / time
}

/// GB/s of a plain sum over the matrix.
fn bandwidth(weights: &Panels) -> f64 {
    let panel = weights.layout.panel_bytes(weights.columns) / 8;
    let time = pass(weights, |panels| {
        // SAFETY: the panels lie one after the other, in whole words.
        let words = unsafe {
            let start = weights.panel(panels.start).cast::<u64>();
            std::slice::from_raw_parts(start, panel * panels.len())
        };
        let sums = words.as_chunks::<16>().0.iter().fold([0u64; 16], |mut sums, chunk| {
            sums.iter_mut().zip(chunk).for_each(|(sum, word)| *sum ^= word);
            sums
        });
        black_box(sums);
    });
    weights.bytes() as f64 / time
}

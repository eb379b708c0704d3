//! No attention touches a byte outside its inputs: cache pages, queries and results lie at pages that nobody may touch.

use super::merge::MergeRows;
use super::{Layer, Partials, SPLIT, Scratch, attend, units};
use crate::activations::{Activations, Forms};
use crate::cache::{Cache, CacheShape, CacheType};
use crate::guarded::Guarded;
use crate::lanes::WIDTH;
use crate::machine::Machine;
use crate::memory::Shared;
use crate::sight::{Limits, Sight};
use draftwood_tree::StepRows;

const HEADS: usize = 6;

/// A shared view of guarded values.
fn shared(memory: &Guarded, len: usize) -> Shared<f32> {
    // SAFETY: so many values are there, and this test has one thread.
    Shared::new(unsafe { std::slice::from_raw_parts_mut(memory.start.cast::<f32>(), len) })
}

fn value(i: usize) -> f32 {
    ((i * 37 + i / 11) % 101) as f32 / 50.0 - 1.0
}

/// Attention of the last `rows` rows of a text of `length` tokens, whose last page is the cache's last one, or whose
/// first page is its first.
fn attended(
    machine: Machine,
    (head_dim, stored): (usize, CacheType),
    (length, rows): (usize, usize),
    window: Option<usize>,
    (threads, end): (usize, bool),
) -> Vec<f32> {
    let shape = CacheShape { layers: 1, kv_heads: 2, head_dim, stored };
    let count = length.div_ceil(16);
    // Pages that nothing belongs to lie away from the guard.
    let pages: Vec<i32> = (0..count as i32).map(|page| if end { page + 1 } else { page }).collect();
    let cache = Cache::guarded(shape, count + 1, end);
    let padded = shape.padded_dim();
    for (position, head) in (0..length).flat_map(|p| (0..2).map(move |h| (p, h))) {
        let slot = pages[position / 16] as usize * 16 + position % 16;
        let row: Vec<f32> = (0..padded)
            .map(|d| if d < head_dim { value(position * 64 + head * 7 + d) } else { 0.0 })
            .collect();
        // SAFETY: one thread.
        unsafe {
            cache.store_key(slot, 0, head, &row);
            cache.store_value(slot, 0, head, &row);
        }
    }
    let context = length - rows;
    let ints = |n: usize, of: &dyn Fn(usize) -> usize| (0..n).map(|i| of(i) as i32).collect::<Vec<i32>>();
    let positions = ints(rows, &|i| context + i);
    let parents: Vec<i32> = (0..rows as i32).map(|i| i - 1).collect();
    let slots = ints(rows, &|i| pages[(context + i) / 16] as usize * 16 + (context + i) % 16);
    let (tokens, ends, page_ends) = (vec![0; rows], [0, rows as i32], [0, count as i32]);
    let mut masks = vec![0; rows];
    masks[rows - 1] = 1;
    let table_at = Guarded::new(&pages, end);
    // SAFETY: the copy of the table.
    let page_table = unsafe { std::slice::from_raw_parts(table_at.start.cast::<i32>(), pages.len()) };
    let plan = StepRows {
        tokens: &tokens,
        positions: &positions,
        parents: &parents,
        slots: &slots,
        row_offsets: &ends,
        chain: &[rows as i32],
        context: &[context as i32],
        page_offsets: &page_ends,
        pages: page_table,
        masks: &masks,
        mask_words: 1,
        head_rows: &[],
    };
    let mut sight = Sight::default();
    sight.plan(&plan, Limits { vocab: 1, positions: 1 << 20, pages: count + 1 }).unwrap();
    let queries: Vec<f32> =
        (0..rows * HEADS * padded).map(|i| if i % padded < head_dim { value(i + 5) } else { 0.0 }).collect();
    let queries_at = Guarded::new(&queries, end);
    let split_count = (length - 1) / SPLIT + 1;
    let size = rows * HEADS * split_count * Partials::stride(padded);
    let partials_at = Guarded::new(&vec![f32::NAN; size], end);
    let partials = Partials {
        buffer: shared(&partials_at, size),
        first_row: 0,
        heads: HEADS,
        splits: split_count,
        padded_dim: padded,
    };
    let layer = Layer {
        sight: &sight,
        pages: page_table,
        cache: &cache,
        layer: 0,
        queries: shared(&queries_at, queries.len()),
        heads: HEADS,
        scale: 0.3,
        window,
        partials,
    };
    let (mut list, mut scratch) = (Vec::new(), Scratch::default());
    units(&sight, 0..rows, (2, HEADS / 2), window, threads, &mut list);
    // SAFETY: everything is there, one thread.
    unsafe { attend(machine, layer, &list, 0..list.len(), &mut scratch) };
    let (width, stride) = (HEADS * head_dim, (HEADS * head_dim).next_multiple_of(WIDTH));
    let to_at = Guarded::new(&vec![f32::NAN; rows * stride], end);
    // SAFETY: so many values are there, and this test has one thread.
    let floats = unsafe { std::slice::from_raw_parts_mut(to_at.start.cast::<f32>(), rows * stride) };
    let to = Activations::new((floats, &mut [], &mut []));
    let forms = Forms::of(machine, []);
    let merge =
        MergeRows { partials, sight: &sight, window, together: 1, head_dim, to, forms, stride, items: 0..0 };
    // SAFETY: partial results are complete, one thread.
    machine.run_blocks(unsafe { merge.of(0..rows * HEADS) });
    // SAFETY: written just now.
    let rows_of = |row| unsafe { to.floats.read(row * stride, width) };
    (0..rows).flat_map(rows_of).copied().collect()
}

#[test]
fn nothing_is_touched_outside() {
    for shape in [(16, CacheType::F32), (20, CacheType::F32), (64, CacheType::F16), (24, CacheType::F16)] {
        for (text, window) in [
            ((1, 1), None),
            ((16, 3), None),
            ((17, 17), None),
            ((250, 7), Some(9)),
            ((300, 8), None),
            ((530, 3), Some(300)),
        ] {
            for machine in Machine::all() {
                let at_end = attended(machine, shape, text, window, (1, true));
                assert!(at_end.iter().all(|v| v.is_finite()));
                assert!(at_end == attended(machine, shape, text, window, (2, false)), "{shape:?} {text:?}");
                assert!(
                    at_end == attended(Machine::get(), shape, text, window, (3, true)),
                    "{shape:?} {text:?}"
                );
            }
        }
    }
}

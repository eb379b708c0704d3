//! Plans of one or several texts, as the session would make them, on pages in any order.

use super::Random;
use draftwood_base::Result;
use draftwood_forward::{Embedded, Executor};
use draftwood_tree::StepRows;

/// A text in a cache: its pages and how many rows are stored.
#[derive(Clone)]
pub struct Text {
    pub pages: Vec<i32>,
    pub context: usize,
}

/// Rows of one text for one step: a chain and, below its last token, a tree (parent of node i+1 by index of node).
#[derive(Clone)]
pub struct Part<'a> {
    pub text: &'a Text,
    pub chain: Vec<i32>,
    pub nodes: Vec<(usize, i32)>,
}

/// Runs the parts as one step and returns the logits of every row, part by part.
pub fn forward(executor: &mut Executor, parts: &[Part<'_>]) -> Vec<Vec<Vec<f32>>> {
    let vocab = executor.model().spec.vocab;
    let logits = with_plan(parts, |plan| {
        let mut logits = vec![0.0; plan.tokens.len() * vocab];
        executor.forward(plan, &mut logits, None).unwrap();
        logits
    });
    let mut rows = logits.chunks(vocab).map(<[f32]>::to_vec);
    parts.iter().map(|p| rows.by_ref().take(p.chain.len() + p.nodes.len()).collect()).collect()
}

/// Runs the parts as one step, some rows as vectors, and returns the logits of all rows.
pub fn forward_embedded(
    executor: &mut Executor,
    parts: &[Part<'_>],
    embedded: Embedded<'_>,
) -> Result<Vec<Vec<f32>>> {
    let vocab = executor.model().spec.vocab;
    with_plan(parts, |plan| {
        let mut logits = vec![0.0; plan.tokens.len() * vocab];
        executor.forward_embedded(plan, embedded, &mut logits, None)?;
        Ok(logits.chunks(vocab).map(<[f32]>::to_vec).collect())
    })
}

/// Runs the parts as one step and returns the best token and the first fault of every row.
pub fn forward_best(executor: &mut Executor, parts: &[Part<'_>]) -> Vec<[i32; 2]> {
    with_plan(parts, |plan| executor.forward_best(plan, None).unwrap().as_chunks().0.to_vec())
}

fn with_plan<T>(parts: &[Part<'_>], run: impl FnOnce(&StepRows<'_>) -> T) -> T {
    let words = parts.iter().map(|p| (p.nodes.len() + 1).div_ceil(32)).max().unwrap_or(1);
    let mut arrays: [Vec<i32>; 5] = Default::default();
    let (mut row_offsets, mut page_offsets, mut chains, mut contexts) = (vec![0], vec![0], vec![], vec![]);
    let mut pages = Vec::new();
    for part in parts {
        let [tokens, positions, parents, slots, masks] = &mut arrays;
        let root = part.text.context + part.chain.len() - 1;
        let mut paths: Vec<Vec<usize>> = vec![vec![0]];
        for (i, &token) in part.chain.iter().enumerate() {
            tokens.push(token);
            positions.push((part.text.context + i) as i32);
            let mut mask = vec![0; words];
            mask[0] = i32::from(i + 1 == part.chain.len());
            masks.extend(mask);
        }
        for (i, &(parent, token)) in part.nodes.iter().enumerate() {
            let mut path = paths[parent].clone();
            path.push(i + 1);
            tokens.push(token);
            positions.push((root + path.len() - 1) as i32);
            let mut mask = vec![0u32; words];
            path.iter().for_each(|&node| mask[node / 32] |= 1 << (node % 32));
            masks.extend(mask.into_iter().map(|m| m as i32));
            paths.push(path);
        }
        for logical in part.text.context..part.text.context + part.chain.len() + part.nodes.len() {
            slots.push(part.text.pages[logical / 16] * 16 + (logical % 16) as i32);
            parents.push(-1);
        }
        pages.extend(&part.text.pages);
        row_offsets.push(tokens.len() as i32);
        page_offsets.push(pages.len() as i32);
        chains.push(part.chain.len() as i32);
        contexts.push(part.text.context as i32);
    }
    let [tokens, positions, parents, slots, masks] = &arrays;
    let head_rows: Vec<i32> = (0..tokens.len() as i32).collect();
    let plan = StepRows {
        tokens,
        positions,
        parents,
        slots,
        row_offsets: &row_offsets,
        chain: &chains,
        context: &contexts,
        page_offsets: &page_offsets,
        pages: &pages,
        masks,
        mask_words: words,
        head_rows: &head_rows,
    };
    run(&plan)
}

/// Pages for `rows` rows, in random order, taken from `free`.
pub fn text(random: &mut Random, free: &mut Vec<i32>, rows: usize) -> Text {
    let pages = (0..rows.div_ceil(16)).map(|_| free.swap_remove(random.below(free.len()))).collect();
    Text { pages, context: 0 }
}

/// A random tree of `count` nodes below a root.
pub fn tree(random: &mut Random, count: usize, vocab: usize) -> Vec<(usize, i32)> {
    (0..count).map(|i| (random.below(i + 1), random.below(vocab) as i32)).collect()
}

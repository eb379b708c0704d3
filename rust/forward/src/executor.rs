//! A model with its cache and its working memory.

use crate::attention::{Partials, SPLIT, Scratch, Unit};
use crate::cache::{Cache, CacheShape, CacheType};
use crate::embedded::Embedded;
use crate::lanes::WIDTH;
use crate::machine::Machine;
use crate::model::{GATED, Model};
use crate::quantise::{BLOCK, Block};
use crate::sight::{Limits, Sight};
use crate::step::{Buffers, FEW, Step};
use draftwood_base::pool::Pool;
use draftwood_base::{Error, Result};
use draftwood_logits::Scan;
use draftwood_tree::StepRows;
use std::sync::Arc;

/// Vocabulary rows that one thread computes at a time: they stay in its cache until they are read.
pub(crate) const HEAD_TILE: usize = 768;
/// Rows whose attention is computed between two barriers: bounds the memory of partial results.
pub(crate) const ROWS_AT_ONCE: usize = 64;
/// Of working memory for partial results of attention, which grow with rows and context.
const PARTIAL_BYTES: usize = 64 << 20;

/// Runs plans on a model. Everything it computes for a row depends on nothing but the tokens that the row sees.
pub struct Executor {
    model: Arc<Model>,
    machine: Machine,
    pool: Arc<Pool>,
    cache: Option<Cache>,
    stored: CacheType,
    sight: Sight,
    memory: Memory,
}

/// Working memory, sized by the largest step so far.
#[derive(Default)]
struct Memory {
    rows: usize,
    residual: Vec<f32>,
    normed: Inputs,
    queries: Vec<f32>,
    attended: Inputs,
    gated: Inputs,
    turns: Vec<f32>,
    partials: Vec<f32>,
    units: Vec<Unit>,
    threads: Vec<PerThread>,
    best: Vec<i32>,
}

/// Inputs of a matrix: floats, the same quantised, and as bf16 where that is wanted at all.
type Inputs = (Vec<f32>, Vec<Block>, Vec<u16>);

fn resize((floats, blocks, halves): &mut Inputs, machine: Machine, rows: usize, stride: usize) {
    floats.resize(rows * stride, 0.0);
    blocks.resize(rows * stride.div_ceil(BLOCK), Block::default());
    if machine.pairs() {
        halves.resize(rows * stride, 0);
    }
}

fn slices((floats, blocks, halves): &mut Inputs) -> (&mut [f32], &mut [Block], &mut [u16]) {
    (floats, blocks, halves)
}

/// What each thread has for itself.
#[derive(Default)]
pub(crate) struct PerThread {
    /// Outputs of a matrix before they go where they belong.
    pub outputs: Vec<f32>,
    /// Normed rows, when each thread computes its own.
    pub normed: Vec<f32>,
    /// The same, quantised.
    pub blocks: Vec<Block>,
    /// The same as bf16.
    pub halves: Vec<u16>,
    /// A normed head.
    pub head: Vec<f32>,
    pub attention: Scratch,
    /// The largest logit of each read row among the tiles of this thread.
    pub best: Vec<Scan>,
}

impl Executor {
    /// An executor without a cache; [`Executor::allocate`] makes one.
    ///
    /// With [`Executor::set_pool`] later steps run on another pool.
    pub fn new(model: Arc<Model>, machine: Machine, pool: Arc<Pool>) -> Self {
        let (sight, memory) = (Sight::default(), Memory::default());
        Self { model, machine, pool, cache: None, stored: CacheType::F32, sight, memory }
    }

    /// The same with keys and values kept in another type from the next [`Executor::allocate`] on.
    pub fn with_cache_type(self, stored: CacheType) -> Self {
        Self { stored, ..self }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The kernels that it runs.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Runs later steps on `pool`.
    pub fn set_pool(&mut self, pool: Arc<Pool>) {
        self.pool = pool;
    }

    /// Sizes of its cache.
    pub fn cache_shape(&self) -> CacheShape {
        let spec = &self.model.spec;
        CacheShape {
            layers: spec.layers.len(),
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            stored: self.stored,
        }
    }

    /// Makes the cache anew: `pages` pages of 16 tokens. Rows cached before are forgotten.
    ///
    /// # Errors
    /// When the system has no address space for it.
    pub fn allocate(&mut self, pages: usize) -> Result<()> {
        self.cache = None;
        self.cache = Some(Cache::new(self.cache_shape(), pages)?);
        Ok(())
    }

    /// The cache.
    ///
    /// # Errors
    /// Before [`Executor::allocate`].
    pub fn cache(&mut self) -> Result<&mut Cache> {
        self.cache.as_mut().ok_or_else(no_cache)
    }

    /// Frees the cache.
    pub fn close(&mut self) {
        self.cache = None;
        self.memory = Memory::default();
    }

    /// Copies cache rows; see [`Cache::copy_rows`].
    ///
    /// # Errors
    /// For slots outside the cache.
    pub fn apply(&mut self, sources: &[i32], destinations: &[i32]) -> Result<()> {
        self.cache()?.copy_rows(sources, destinations)
    }

    /// Computes all rows of a plan, stores their keys and values, and writes the logits [R', V] of `plan.head_rows`; with
    /// `hidden` also their last hidden states [R', hidden], the input of the head.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a plan that does not fit the model or the cache, or outputs of another size;
    /// nothing is then computed.
    ///
    /// # Cost
    /// All weights are read once. No allocation once a step of that size has run.
    pub fn forward(
        &mut self,
        plan: &StepRows<'_>,
        logits: &mut [f32],
        hidden: Option<&mut [f32]>,
    ) -> Result<()> {
        self.forward_embedded(plan, Embedded::default(), logits, hidden)
    }

    /// The same with vectors in the place of some tokens' embeddings, see [`Executor::embed`]. A row whose vector is the
    /// embedding of its token has the same bits as without.
    ///
    /// # Errors
    /// As [`Executor::forward`]; for vectors that do not fit the plan and the model.
    pub fn forward_embedded(
        &mut self,
        plan: &StepRows<'_>,
        embedded: Embedded<'_>,
        logits: &mut [f32],
        hidden: Option<&mut [f32]>,
    ) -> Result<()> {
        self.compute(plan, embedded, Some(logits), hidden)
    }

    /// Writes the embeddings [n, hidden] of `tokens`: what a row begins with, before a learned position is added.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a token that does not exist, or an output of another size.
    pub fn embed(&self, tokens: &[i32], to: &mut [f32]) -> Result<()> {
        let spec = &self.model.spec;
        let is_token = |&token: &i32| usize::try_from(token).is_ok_and(|token| token < spec.vocab);
        if let Some(token) = tokens.iter().find(|token| !is_token(token)) {
            return Err(Error::invalid("a token", format!("from 0 to below {}", spec.vocab), token, ""));
        }
        if to.len() != tokens.len() * spec.hidden {
            let expected = format!("{} rows of {} values", tokens.len(), spec.hidden);
            return Err(Error::invalid("embeddings", expected, format!("{} values", to.len()), ""));
        }
        for (&token, row) in tokens.iter().zip(to.chunks_exact_mut(spec.hidden.max(1))) {
            self.model.embed(token as usize, row);
        }
        Ok(())
    }

    /// The same without logits, for greedy choices: of each row that is read the token of its largest logit (ties to the
    /// lowest id; −1 if all are −inf), and the first token whose logit is NaN or +inf, or −1: [R'][2]. Logits are looked
    /// at a tile at a time, in the cache of the thread that computed them, and never stored.
    ///
    /// # Errors
    /// As [`Executor::forward`].
    pub fn forward_best(&mut self, plan: &StepRows<'_>, hidden: Option<&mut [f32]>) -> Result<&[i32]> {
        self.compute(plan, Embedded::default(), None, hidden)?;
        let Memory { threads, best, .. } = &mut self.memory;
        best.clear();
        for row in 0..plan.head_rows.len() {
            let scans = threads[..self.pool.threads()].iter().map(|thread| thread.best[row]);
            let scan = scans.fold(NOTHING, better);
            let token = if scan.value == f32::NEG_INFINITY { -1 } else { scan.token as i32 };
            best.extend([token, scan.fault.map_or(-1, |token| token as i32)]);
        }
        Ok(best)
    }

    fn compute(
        &mut self,
        plan: &StepRows<'_>,
        embedded: Embedded<'_>,
        logits: Option<&mut [f32]>,
        hidden: Option<&mut [f32]>,
    ) -> Result<()> {
        let spec = &self.model.spec;
        let cache = self.cache.as_ref().ok_or_else(no_cache)?;
        // A table of positions ends; angles do not.
        let positions = if spec.learned_positions { spec.context } else { usize::MAX >> 16 };
        let limits = Limits { vocab: spec.vocab, positions, pages: cache.pages() };
        self.sight.plan(plan, limits)?;
        embedded.check(plan.tokens.len(), spec.hidden)?;
        let read = plan.head_rows.len();
        let size = |what: &str, per_row: usize, got: usize| {
            if got == read * per_row {
                return Ok(());
            }
            Err(Error::invalid(what, format!("{read} rows of {per_row} values"), format!("{got} values"), ""))
        };
        if let Some(logits) = &logits {
            size("logits", spec.vocab, logits.len())?;
        }
        if let Some(hidden) = &hidden {
            size("hidden", spec.hidden, hidden.len())?;
        }
        if plan.tokens.is_empty() {
            return Ok(());
        }
        let longest = self.sight.rows.iter().map(|row| row.position).max().unwrap_or(0);
        let splits = longest / SPLIT + 1;
        self.memory.reserve(&self.model, self.machine, plan.tokens.len(), splits, self.pool.threads());
        let memory = &mut self.memory;
        let step = Step::new(&self.model, self.machine, plan, embedded, &self.sight, cache, splits);
        let buffers = Buffers::new(memory.slices(), logits, hidden);
        // SAFETY: the buffers were sized for this plan just now, and live until the step is over.
        unsafe { step.run(&self.pool, &buffers) };
        Ok(())
    }
}

/// Rows whose attention is computed together: [`ROWS_AT_ONCE`], or as few as keep their partial results within
/// [`PARTIAL_BYTES`], but never fewer than eight.
pub(crate) fn rows_at_once(heads: usize, splits: usize, padded_dim: usize) -> usize {
    let row = heads * splits * Partials::stride(padded_dim) * size_of::<f32>();
    (PARTIAL_BYTES / row).clamp(8, ROWS_AT_ONCE)
}

/// Of a row nothing was seen yet.
pub(crate) const NOTHING: Scan = Scan { token: 0, value: f32::NEG_INFINITY, fault: None };

/// Of two scans of different parts of a row that of the whole, whichever part comes first.
pub(crate) fn better(a: Scan, b: Scan) -> Scan {
    let fault = match (a.fault, b.fault) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let best = if b.value > a.value || (b.value == a.value && b.token < a.token) { b } else { a };
    Scan { fault, ..best }
}

fn no_cache() -> Error {
    Error::Internal("forward or apply was called without a cache; call allocate first".into())
}

/// Mutable parts of the working memory.
pub(crate) struct Slices<'a> {
    pub residual: &'a mut [f32],
    pub normed: (&'a mut [f32], &'a mut [Block], &'a mut [u16]),
    pub queries: &'a mut [f32],
    pub attended: (&'a mut [f32], &'a mut [Block], &'a mut [u16]),
    pub gated: (&'a mut [f32], &'a mut [Block], &'a mut [u16]),
    pub turns: &'a mut [f32],
    pub partials: &'a mut [f32],
    pub units: &'a mut Vec<Unit>,
    pub threads: &'a mut [PerThread],
}

impl Memory {
    fn reserve(&mut self, model: &Model, machine: Machine, rows: usize, splits: usize, threads: usize) {
        let spec = &model.spec;
        let padded = |n: usize| n.next_multiple_of(WIDTH);
        let head = padded(spec.head_dim);
        let partials =
            rows.min(rows_at_once(spec.heads, splits, head)) * spec.heads * splits * Partials::stride(head);
        if self.partials.len() < partials {
            self.partials.resize(partials, 0.0);
        }
        if rows <= self.rows && threads <= self.threads.len() {
            return;
        }
        let rows = rows.max(self.rows);
        self.rows = rows;
        self.residual.resize(rows * padded(spec.hidden), 0.0);
        resize(&mut self.normed, machine, rows, padded(spec.hidden));
        self.queries.resize(rows * spec.heads * head, 0.0);
        resize(&mut self.attended, machine, rows, padded(spec.heads * spec.head_dim));
        resize(&mut self.gated, machine, rows, spec.feed_forward.next_multiple_of(GATED));
        self.turns.resize(spec.ropes.len() * rows * spec.head_dim, 0.0);
        self.threads.resize_with(threads.max(self.threads.len()), PerThread::default);
        let widest = (rows * head.max(2 * GATED)).max(rows.min(16) * HEAD_TILE);
        for thread in &mut self.threads {
            thread.outputs.resize(widest, 0.0);
            thread.best.resize(rows, NOTHING);
            thread.head.resize(head, 0.0);
            thread.normed.resize(FEW * padded(spec.hidden), 0.0);
            if machine.pairs() {
                thread.halves.resize(FEW * padded(spec.hidden), 0);
            }
            thread.blocks.resize(FEW * padded(spec.hidden).div_ceil(BLOCK), Block::default());
        }
    }

    fn slices(&mut self) -> Slices<'_> {
        Slices {
            residual: &mut self.residual,
            normed: slices(&mut self.normed),
            queries: &mut self.queries,
            attended: slices(&mut self.attended),
            gated: slices(&mut self.gated),
            turns: &mut self.turns,
            partials: &mut self.partials,
            units: &mut self.units,
            threads: &mut self.threads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_results_of_long_texts_stay_small() {
        assert_eq!(rows_at_once(9, 32, 64), 64); // SmolLM2's whole context
        assert_eq!(rows_at_once(32, 128, 128), 28); // 32k
        assert_eq!(rows_at_once(64, 4096, 128), 8); // 1M
    }

    #[test]
    fn parts_of_a_row_in_any_order_are_the_row() {
        // Ties go to the lowest id, the first fault is told, and nothing above −inf stays nothing.
        let scan = |token, value, fault| Scan { token, value, fault };
        let parts = [scan(3, 1.0, Some(9)), scan(20, 2.0, None), scan(11, 2.0, Some(12)), NOTHING];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let row = order.into_iter().map(|i| parts[i]).fold(NOTHING, better);
            assert_eq!((row.token, row.value, row.fault), (11, 2.0, Some(9)));
        }
        assert_eq!(better(NOTHING, NOTHING).value, f32::NEG_INFINITY);
    }
}

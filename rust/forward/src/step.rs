//! One forward step as one parallel region: all threads run this program and meet at barriers.

use crate::attention::{self, Attend, Partials, Unit, merge::Merge};
use crate::cache::Cache;
use crate::environment;
use crate::executor::{BLOCK, HEAD_TILE, PerThread, Slices};
use crate::lanes::WIDTH;
use crate::linear::{self, Outputs, Rows};
use crate::machine::Machine;
use crate::memory::Shared;
use crate::model::{GATED, Layer, Model};
use crate::panels::{PANEL, Panels};
use crate::pointwise::{RmsNorm, SwiGlu};
use crate::rope;
use crate::sight::Sight;
use draftwood_base::pool::{Pool, Team};
use draftwood_tree::StepRows;
use std::ops::Range;

/// Up to so many rows, each thread norms all of them for itself: less work than a barrier.
pub(crate) const FEW: usize = 3;

/// What a step reads.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a> {
    model: &'a Model,
    machine: Machine,
    plan: &'a StepRows<'a>,
    sight: &'a Sight,
    cache: &'a Cache,
    splits: usize,
    rows: usize,
    /// Padded sizes.
    hidden: usize,
    head: usize,
    attended: usize,
    gated: usize,
}

/// What a step writes, shared by its threads.
pub(crate) struct Buffers {
    residual: Shared<f32>,
    normed: Shared<f32>,
    queries: Shared<f32>,
    attended: Shared<f32>,
    gated: Shared<f32>,
    turns: Shared<f32>,
    partials: Shared<f32>,
    units: Shared<Vec<Unit>>,
    threads: Shared<PerThread>,
    logits: Shared<f32>,
    last_hidden: Option<Shared<f32>>,
}

impl Buffers {
    pub fn new(slices: Slices<'_>, logits: &mut [f32], last_hidden: Option<&mut [f32]>) -> Self {
        Self {
            residual: Shared::new(slices.residual),
            normed: Shared::new(slices.normed),
            queries: Shared::new(slices.queries),
            attended: Shared::new(slices.attended),
            gated: Shared::new(slices.gated),
            turns: Shared::new(slices.turns),
            partials: Shared::new(slices.partials),
            units: Shared::new(std::slice::from_mut(slices.units)),
            threads: Shared::new(slices.threads),
            logits: Shared::new(logits),
            last_hidden: last_hidden.map(Shared::new),
        }
    }
}

/// One thread's view of a step.
struct Worker<'a, 'b, 't> {
    step: Step<'a>,
    buffers: &'b Buffers,
    team: &'b mut Team<'t>,
    own: &'b mut PerThread,
}

impl<'a> Step<'a> {
    pub fn new(
        model: &'a Model,
        machine: Machine,
        plan: &'a StepRows<'a>,
        sight: &'a Sight,
        cache: &'a Cache,
        splits: usize,
    ) -> Self {
        let spec = &model.spec;
        let padded = |n: usize| n.next_multiple_of(WIDTH);
        Self {
            model,
            machine,
            plan,
            sight,
            cache,
            splits,
            rows: plan.tokens.len(),
            hidden: padded(spec.hidden),
            head: padded(spec.head_dim),
            attended: padded(spec.heads * spec.head_dim),
            gated: spec.feed_forward.next_multiple_of(GATED),
        }
    }

    /// # Safety
    /// The buffers are sized for the plan, which `sight` has checked, and nobody else uses them.
    pub unsafe fn run(self, pool: &Pool, buffers: &Buffers) {
        pool.run(|team| {
            environment::with_default(|| {
                // SAFETY: each thread has its own entry.
                let own = unsafe { &mut buffers.threads.write(team.index(), 1)[0] };
                Worker { step: self, buffers, team, own }.run();
            });
        });
    }
}

/// Safety of all `unsafe` below: every buffer is written by one thread per part (`Team::share` gives each unit to one
/// thread), and parts that others wrote are read only after `Team::meet`.
impl Worker<'_, '_, '_> {
    fn run(&mut self) {
        self.embed();
        self.team.meet();
        let step = self.step;
        for (number, layer) in step.model.layers.iter().enumerate() {
            let normed = self.norm(0..step.rows, |row| row, &layer.attention_norm);
            self.project(number, layer, normed);
            self.team.meet();
            self.attend(number);
            let attended = self.rows(self.buffers.attended, step.attended, step.rows);
            self.add_to_residual(&layer.output, attended);
            self.team.meet();
            let normed = self.norm(0..step.rows, |row| row, &layer.feed_forward_norm);
            self.gate(&layer.gate_up, normed);
            self.team.meet();
            let gated = self.rows(self.buffers.gated, step.gated, step.rows);
            self.add_to_residual(&layer.down, gated);
            self.team.meet();
        }
        self.read();
    }

    fn rows(&self, buffer: Shared<f32>, stride: usize, count: usize) -> Rows {
        Rows { start: buffer.at(0, count * stride), stride, count }
    }

    /// Embeddings of the tokens, and the turns of their positions.
    fn embed(&mut self) {
        let Step { model, plan, sight, hidden, .. } = self.step;
        let (residual, turns) = (self.buffers.residual, self.buffers.turns);
        let head_dim = model.spec.head_dim;
        self.team.share(self.step.rows, |rows| {
            for row in rows {
                // SAFETY: the row is ours.
                let (to, turns) =
                    unsafe { (residual.write(row * hidden, hidden), turns.write(row * head_dim, head_dim)) };
                model.embedding.read_row(plan.tokens[row] as usize, to);
                to[model.spec.hidden..].fill(0.0);
                rope::fill(sight.rows[row].position, &model.frequencies, turns);
            }
        });
    }

    /// Norms the residual rows `row_of(0..count)`. Few rows: each thread all of them, into memory of its own, without a
    /// barrier; many: each thread a part.
    fn norm(&mut self, count: Range<usize>, row_of: impl Fn(usize) -> usize, weight: &[f32]) -> Rows {
        let Step { machine, hidden, model, .. } = self.step;
        let residual = self.buffers.residual;
        let norm = |index: usize, to: &mut [f32]| {
            // SAFETY: the residual is complete, and not written before the next barrier.
            let x = unsafe { residual.read(row_of(index) * hidden, hidden) };
            let epsilon = model.spec.norm_epsilon as f32;
            machine.run(RmsNorm { x, weight, to, count: model.spec.hidden, epsilon });
        };
        if count.len() <= FEW {
            let own = &mut self.own.normed[..count.len() * hidden];
            own.chunks_exact_mut(hidden).enumerate().for_each(|(index, to)| norm(index, to));
            return Rows { start: own.as_ptr(), stride: hidden, count: count.len() };
        }
        let normed = self.buffers.normed;
        self.team.share(count.len(), |rows| {
            for index in rows {
                // SAFETY: the row is ours.
                norm(index, unsafe { normed.write(index * hidden, hidden) });
            }
        });
        self.team.meet();
        self.rows(normed, hidden, count.len())
    }

    /// q, k and v, head by head: q and k are turned, k and v go straight into the cache.
    fn project(&mut self, number: usize, layer: &Layer, x: Rows) {
        let Step { model, machine, plan, cache, head, rows, .. } = self.step;
        let (heads, kv_heads, head_dim) = (model.spec.heads, model.spec.kv_heads, model.spec.head_dim);
        let (queries, turns) = (self.buffers.queries, self.buffers.turns);
        let panels = head / PANEL;
        let own = &mut self.own.outputs;
        self.team.share(heads + 2 * kv_heads, |units| {
            for unit in units {
                let outputs = &mut own[..rows * head];
                let y = Outputs { start: outputs.as_mut_ptr(), stride: head };
                // SAFETY: x is complete, `outputs` is ours and holds all rows.
                unsafe { linear::multiply(machine, &layer.qkv, unit * panels..(unit + 1) * panels, x, y) };
                for (row, values) in outputs.chunks_exact_mut(head).enumerate() {
                    if unit < heads + kv_heads {
                        // SAFETY: turns were complete before the first layer.
                        let turns = unsafe { turns.read(row * head_dim, head_dim) };
                        rope::rotate(&mut values[..head_dim], turns);
                    }
                    let slot = plan.slots[row] as usize;
                    // SAFETY: this head of this row is ours, and rows have slots of their own.
                    unsafe {
                        if unit < heads {
                            queries.write((row * heads + unit) * head, head).copy_from_slice(values);
                        } else if unit < heads + kv_heads {
                            cache.store_key(slot, number, unit - heads, values);
                        } else {
                            cache.store_value(slot, number, unit - heads - kv_heads, values);
                        }
                    }
                }
            }
        });
    }

    /// Attention, in blocks of rows.
    fn attend(&mut self, number: usize) {
        let Step { model, plan, sight, cache, head, rows, splits, machine, .. } = self.step;
        let heads = model.spec.heads;
        let Buffers { attended, partials, queries, .. } = *self.buffers;
        for first_row in (0..rows).step_by(BLOCK) {
            let block = first_row..(first_row + BLOCK).min(rows);
            if self.team.index() == 0 && (number == 0 || rows > BLOCK) {
                // SAFETY: one thread writes the list, before the barrier.
                let units = unsafe { &mut self.buffers.units.write(0, 1)[0] };
                attention::units(sight, block.clone(), model.spec.kv_heads, units);
            }
            if number == 0 || rows > BLOCK {
                self.team.meet();
            }
            // SAFETY: the list is complete and not written before the next barrier.
            let units = unsafe { &self.buffers.units.read(0, 1)[0] };
            let partials = Partials { buffer: partials, first_row, heads, splits, padded_dim: head };
            let scale = 1.0 / (model.spec.head_dim as f32).sqrt();
            let layer = attention::Layer {
                sight,
                pages: plan.pages,
                cache,
                layer: number,
                queries,
                heads,
                scale,
                partials,
            };
            let scratch = &mut self.own.attention;
            self.team.share(units.len(), |range| {
                for unit in &units[range] {
                    // SAFETY: queries and keys are complete, the unit is ours.
                    machine.run(unsafe { Attend::new(layer, unit, scratch) });
                }
            });
            self.team.meet();
            let (head_dim, stride) = (model.spec.head_dim, self.step.attended);
            self.team.share(block.len() * heads, |items| {
                for item in items {
                    let (row, head) = (first_row + item / heads, item % heads);
                    let position = sight.rows[row].position;
                    let at = row * stride + head * head_dim;
                    // SAFETY: partial results are complete, and this head of this row is ours.
                    machine
                        .run(unsafe { Merge::new(partials, (row, head), position, head_dim, attended, at) });
                }
            });
            self.team.meet();
        }
    }

    /// residual += W·x.
    fn add_to_residual(&mut self, weights: &Panels, x: Rows) {
        let Step { machine, hidden, .. } = self.step;
        const WIDE: usize = 2;
        let residual = self.buffers.residual;
        let own = &mut self.own.outputs;
        self.team.share(weights.count().div_ceil(WIDE), |units| {
            for unit in units {
                let panels = unit * WIDE..((unit + 1) * WIDE).min(weights.count());
                let width = panels.len() * PANEL;
                let outputs = &mut own[..x.count * width];
                let y = Outputs { start: outputs.as_mut_ptr(), stride: width };
                let at = panels.start * PANEL;
                // SAFETY: x is complete, `outputs` is ours and holds all rows.
                unsafe { linear::multiply(machine, weights, panels, x, y) };
                for (row, outputs) in outputs.chunks_exact(width).enumerate() {
                    // SAFETY: these columns are ours.
                    let to = unsafe { residual.write(row * hidden + at, width) };
                    to.iter_mut().zip(outputs).for_each(|(to, y)| *to += y);
                }
            }
        });
    }

    /// silu(gate) · up.
    fn gate(&mut self, weights: &Panels, x: Rows) {
        let Step { machine, gated: stride, .. } = self.step;
        let gated = self.buffers.gated;
        let own = &mut self.own.outputs;
        const PANELS: usize = 2 * GATED / PANEL;
        self.team.share(weights.count() / PANELS, |units| {
            for unit in units {
                let outputs = &mut own[..x.count * 2 * GATED];
                let y = Outputs { start: outputs.as_mut_ptr(), stride: 2 * GATED };
                // SAFETY: x is complete, `outputs` is ours and holds all rows.
                unsafe { linear::multiply(machine, weights, unit * PANELS..(unit + 1) * PANELS, x, y) };
                for (row, outputs) in outputs.chunks_exact(2 * GATED).enumerate() {
                    let (gate, up) = outputs.split_at(GATED);
                    // SAFETY: these columns are ours.
                    let to = unsafe { gated.write(row * stride + unit * GATED, GATED) };
                    machine.run(SwiGlu { gate, up, to });
                }
            }
        });
    }

    /// Logits of the rows that are read.
    fn read(&mut self) {
        let Step { model, machine, plan, .. } = self.step;
        let (vocab, hidden) = (model.spec.vocab, model.spec.hidden);
        let read = plan.head_rows;
        let x = self.norm(0..read.len(), |index| read[index] as usize, &model.final_norm);
        if let Some(to) = self.buffers.last_hidden
            && self.team.index() == 0
        {
            for index in 0..read.len() {
                // SAFETY: x is complete; the first thread alone writes here.
                unsafe {
                    let from = std::slice::from_raw_parts(x.start.add(index * x.stride), hidden);
                    to.write(index * hidden, hidden).copy_from_slice(from);
                }
            }
        }
        let weights = model.head();
        let logits = self.buffers.logits;
        let own = &mut self.own.outputs;
        const PANELS: usize = HEAD_TILE / PANEL;
        self.team.share(weights.count().div_ceil(PANELS), |tiles| {
            for tile in tiles {
                let panels = tile * PANELS..((tile + 1) * PANELS).min(weights.count());
                let at = panels.start * PANEL;
                let width = (panels.len() * PANEL).min(vocab - at);
                let stride = panels.len() * PANEL;
                let at_once = own.len() / stride;
                for first in (0..x.count).step_by(at_once) {
                    let count = at_once.min(x.count - first);
                    let rows = Rows { start: x.start.wrapping_add(first * x.stride), count, ..x };
                    let y = Outputs { start: own.as_mut_ptr(), stride };
                    // SAFETY: x is complete, `own` holds `at_once` rows.
                    unsafe { linear::multiply(machine, weights, panels.clone(), rows, y) };
                    for (row, values) in own.chunks_exact(stride).take(count).enumerate() {
                        // SAFETY: these columns are ours.
                        let to = unsafe { logits.write((first + row) * vocab + at, width) };
                        to.copy_from_slice(&values[..width]);
                    }
                }
            }
        });
    }
}

//! One forward step as one parallel region: all threads run this program and meet at barriers.

use crate::activations::{Activations, Forms};
use crate::attention::{self, Partials, Unit, merge::MergeRows};
use crate::cache::Cache;
use crate::embedded::Embedded;
use crate::environment;
use crate::executor::{HEAD_TILE, NOTHING, PerThread, ROWS_AT_ONCE, Slices, better};
use crate::gate::Gate;
use crate::lanes::WIDTH;
use crate::linear::{self, Outputs, Rows};
use crate::machine::Machine;
use crate::memory::Shared;
use crate::model::{GATED, Layer, Linear, Model, Norm};
use crate::panels::PANEL;
use crate::pointwise::{LayerNorm, RmsNorm};
use crate::quantise::BLOCK;
use crate::rope;
use crate::sight::Sight;
use draftwood_base::Token;
use draftwood_base::pool::{Pool, Team};
use draftwood_logits::Scan;
use draftwood_tree::StepRows;

/// Up to so many rows, each thread norms all of them for itself: less work than a barrier.
pub(crate) const FEW: usize = 3;

/// What a step reads.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a> {
    model: &'a Model,
    machine: Machine,
    plan: &'a StepRows<'a>,
    embedded: Embedded<'a>,
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
    normed: Activations,
    queries: Shared<f32>,
    attended: Activations,
    gated: Activations,
    turns: Shared<f32>,
    partials: Shared<f32>,
    units: Shared<Vec<Unit>>,
    threads: Shared<PerThread>,
    /// None where the best tokens are all that is wanted.
    logits: Option<Shared<f32>>,
    last_hidden: Option<Shared<f32>>,
}

impl Buffers {
    pub fn new(slices: Slices<'_>, logits: Option<&mut [f32]>, last_hidden: Option<&mut [f32]>) -> Self {
        Self {
            residual: Shared::new(slices.residual),
            normed: Activations::new(slices.normed),
            queries: Shared::new(slices.queries),
            attended: Activations::new(slices.attended),
            gated: Activations::new(slices.gated),
            turns: Shared::new(slices.turns),
            partials: Shared::new(slices.partials),
            units: Shared::new(std::slice::from_mut(slices.units)),
            threads: Shared::new(slices.threads),
            logits: logits.map(Shared::new),
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
        embedded: Embedded<'a>,
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
            embedded,
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

    fn forms<'m>(self, matrices: impl IntoIterator<Item = &'m Linear>) -> Forms {
        Forms::of_linear(self.machine, matrices)
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
            let forms = step.forms(&layer.qkv);
            let normed = self.norm(step.rows, |row| row, &layer.attention_norm, forms);
            self.project(number, layer, normed);
            self.team.meet();
            self.attend(number, step.forms([&layer.output]));
            let attended = self.buffers.attended.rows(step.attended, step.rows);
            self.add_to_residual(&layer.output, attended);
            self.team.meet();
            let forms = step.forms([&layer.gate_up]);
            let normed = self.norm(step.rows, |row| row, &layer.feed_forward_norm, forms);
            self.activate(&layer.gate_up, normed, step.forms([&layer.down]));
            self.team.meet();
            let gated = self.buffers.gated.rows(step.gated, step.rows);
            self.add_to_residual(&layer.down, gated);
            self.team.meet();
        }
        self.read();
    }

    /// Embeddings of the tokens, or the vectors in their place, and the turns of their positions.
    fn embed(&mut self) {
        let Step { model, plan, embedded, sight, hidden, .. } = self.step;
        let (residual, turns) = (self.buffers.residual, self.buffers.turns);
        let (head_dim, all) = (model.spec.head_dim, self.step.rows);
        self.team.share(all, |rows| {
            for row in rows {
                let position = sight.rows[row].position;
                // SAFETY: the row is ours.
                let to = unsafe { residual.write(row * hidden, hidden) };
                let (to, padding) = to.split_at_mut(model.spec.hidden);
                match embedded.of(row, to.len()) {
                    Some(vector) => to.copy_from_slice(vector),
                    None => model.embed(plan.tokens[row] as usize, to),
                }
                model.add_position(position, to);
                padding.fill(0.0);
                for (rope, frequencies) in model.frequencies.iter().enumerate() {
                    // SAFETY: as above.
                    let turns = unsafe { turns.write((rope * all + row) * head_dim, head_dim) };
                    rope::fill(position, frequencies, turns);
                }
            }
        });
    }

    /// Norms the residual rows `row_of(0..count)`, in the forms that matrices want. Few rows: each thread all of
    /// them, into memory of its own, without a barrier; many: each thread a part.
    fn norm(&mut self, count: usize, row_of: impl Fn(usize) -> usize, norm: &Norm, forms: Forms) -> Rows {
        let Step { machine, hidden, model, .. } = self.step;
        let residual = self.buffers.residual;
        let own = (&mut self.own.normed[..], &mut self.own.blocks[..], &mut self.own.halves[..]);
        let few = count <= FEW;
        let to = if few { Activations::new(own) } else { self.buffers.normed };
        let norm_row = |index: usize| {
            // SAFETY: the residual is complete, and not written before the next barrier; the row `index` of `to` is ours.
            unsafe {
                let x = residual.read(row_of(index) * hidden, hidden);
                let row = to.floats.write(index * hidden, hidden);
                let (count, epsilon) = (model.spec.hidden, model.spec.norm_epsilon as f32);
                match norm {
                    Norm::Rms { weight } => machine.run(RmsNorm { x, weight, to: row, count, epsilon }),
                    Norm::Layer { weight, bias } => {
                        machine.run(LayerNorm { x, weight, bias, to: row, count, epsilon });
                    }
                }
                to.convert(forms, index, hidden, 0, model.spec.hidden);
            }
        };
        if few {
            (0..count).for_each(norm_row);
        } else {
            self.team.share(count, |rows| rows.for_each(norm_row));
            self.team.meet();
        }
        to.rows(hidden, count)
    }

    /// q, k and v, head by head: q and k are normed and turned, k and v go straight into the cache.
    fn project(&mut self, number: usize, layer: &Layer, x: Rows) {
        let Step { model, machine, plan, cache, head, rows, .. } = self.step;
        let (heads, kv_heads, head_dim) = (model.spec.heads, model.spec.kv_heads, model.spec.head_dim);
        let (queries, turns) = (self.buffers.queries, self.buffers.turns);
        let panels = head / PANEL;
        let rope = model.spec.layers[number].rope;
        let epsilon = model.spec.norm_epsilon as f32;
        let PerThread { outputs: own, head: normed, .. } = &mut *self.own;
        self.team.share(heads + 2 * kv_heads, |units| {
            for unit in units {
                let outputs = &mut own[..rows * head];
                let y = Outputs { start: outputs.as_mut_ptr(), stride: head };
                let (which, index) = match unit {
                    _ if unit < heads => (0, unit),
                    _ if unit < heads + kv_heads => (1, unit - heads),
                    _ => (2, unit - heads - kv_heads),
                };
                let Linear { weights, bias } = &layer.qkv[which];
                // SAFETY: x is complete, `outputs` is ours and holds all rows.
                unsafe { linear::multiply(machine, weights, index * panels..(index + 1) * panels, x, y) };
                let bias = bias.as_ref().map(|bias| &bias[index * head..(index + 1) * head]);
                let norm = layer.head_norms.as_ref().and_then(|norms| norms.get(which));
                for (row, mut values) in outputs.chunks_exact_mut(head).enumerate() {
                    if let Some(bias) = bias {
                        add(values, bias);
                    }
                    if let Some(weight) = norm {
                        machine.run(RmsNorm { x: values, weight, to: normed, count: head_dim, epsilon });
                        values = normed;
                    }
                    if let Some(rope) = rope.filter(|_| which < 2) {
                        // SAFETY: turns were complete before the first layer.
                        let turns = unsafe { turns.read((rope * rows + row) * head_dim, head_dim) };
                        rope::rotate(&mut values[..head_dim], turns);
                    }
                    let slot = plan.slots[row] as usize;
                    // SAFETY: this head of this row is ours, and rows have slots of their own.
                    unsafe {
                        match which {
                            0 => queries.write((row * heads + index) * head, head).copy_from_slice(values),
                            1 => cache.store_key(slot, number, index, values),
                            _ => cache.store_value(slot, number, index, values),
                        }
                    }
                }
            }
        });
    }

    /// Attention, in blocks of rows.
    fn attend(&mut self, number: usize, forms: Forms) {
        let Step { model, plan, sight, cache, head, rows, splits, machine, .. } = self.step;
        let heads = model.spec.heads;
        let window = model.spec.layers[number].window;
        let same = number > 0 && model.spec.layers[number - 1].window == window;
        let Buffers { attended, partials, queries, .. } = *self.buffers;
        for first_row in (0..rows).step_by(ROWS_AT_ONCE) {
            let block = first_row..(first_row + ROWS_AT_ONCE).min(rows);
            // One block of rows has the list of the layer before, unless the window changes.
            if !same || rows > ROWS_AT_ONCE {
                if self.team.index() == 0 {
                    // SAFETY: one thread writes the list, after the last reader's barrier and before the next.
                    let units = unsafe { &mut self.buffers.units.write(0, 1)[0] };
                    let groups = (model.spec.kv_heads, heads / model.spec.kv_heads);
                    attention::units(sight, block.clone(), groups, window, self.team.threads(), units);
                }
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
                window,
                partials,
            };
            let scratch = &mut self.own.attention;
            self.team.share(units.len(), |range| {
                // SAFETY: queries and keys are complete, the units are ours.
                unsafe { attention::attend(machine, layer, units, range, scratch) };
            });
            self.team.meet();
            let together = heads_of_whole_blocks(heads, model.spec.head_dim);
            let merge = MergeRows {
                partials,
                sight,
                window,
                together,
                head_dim: model.spec.head_dim,
                to: attended,
                forms,
                stride: self.step.attended,
                items: 0..0,
            };
            self.team.share(block.len() * (heads / together), |items| {
                // SAFETY: partial results are complete, and these heads of these rows are ours.
                machine.run_blocks(unsafe { merge.of(items) });
            });
            self.team.meet();
        }
    }

    /// residual += W·x + b.
    fn add_to_residual(&mut self, Linear { weights, bias }: &Linear, x: Rows) {
        let Step { machine, hidden, .. } = self.step;
        let wide = panels_at_once(weights.count(), self.team.threads());
        let residual = self.buffers.residual;
        let own = &mut self.own.outputs;
        self.team.share(weights.count().div_ceil(wide), |units| {
            for unit in units {
                let panels = unit * wide..((unit + 1) * wide).min(weights.count());
                let width = panels.len() * PANEL;
                let outputs = &mut own[..x.count * width];
                let y = Outputs { start: outputs.as_mut_ptr(), stride: width };
                let at = panels.start * PANEL;
                // SAFETY: x is complete, `outputs` is ours and holds all rows.
                unsafe { linear::multiply(machine, weights, panels, x, y) };
                for (row, outputs) in outputs.chunks_exact_mut(width).enumerate() {
                    if let Some(bias) = bias {
                        add(outputs, &bias[at..at + width]);
                    }
                    // SAFETY: these columns are ours.
                    add(unsafe { residual.write(row * hidden + at, width) }, outputs);
                }
            }
        });
    }

    /// activation(gate) · up, or activation(up).
    fn activate(&mut self, Linear { weights, bias }: &Linear, x: Rows, forms: Forms) {
        let Step { machine, model, gated: stride, .. } = self.step;
        let activation = model.spec.activation;
        let gated = self.buffers.gated;
        let own = &mut self.own.outputs;
        let width = if model.spec.gated { 2 * GATED } else { GATED };
        let panels = width / PANEL;
        self.team.share(weights.count() / panels, |units| {
            for unit in units {
                let outputs = &mut own[..x.count * width];
                let y = Outputs { start: outputs.as_mut_ptr(), stride: width };
                // SAFETY: x is complete, `outputs` is ours and holds all rows.
                unsafe { linear::multiply(machine, weights, unit * panels..(unit + 1) * panels, x, y) };
                let bias = bias.as_ref().map(|bias| &bias[unit * width..(unit + 1) * width]);
                let (outputs, place) = ((&*outputs, width), (stride, unit * GATED));
                // SAFETY: these columns are ours.
                machine.run_blocks(unsafe { Gate::new(activation, outputs, bias, (gated, forms), place) });
            }
        });
    }

    /// Logits of the rows that are read.
    fn read(&mut self) {
        let Step { model, machine, plan, .. } = self.step;
        let (vocab, hidden) = (model.spec.vocab, model.spec.hidden);
        let read = plan.head_rows;
        let weights = &model.head;
        let forms = Forms::of(machine, [weights]);
        let x = self.norm(read.len(), |index| read[index] as usize, &model.final_norm, forms);
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
        let logits = self.buffers.logits;
        let (own, best) = (&mut self.own.outputs, &mut self.own.best);
        best[..read.len()].fill(NOTHING);
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
                    let start = x.start.wrapping_add(first * x.stride);
                    let blocks = x.blocks.wrapping_add(first * x.block_stride);
                    let halves = x.halves.wrapping_add(first * x.stride);
                    let rows = Rows { start, blocks, halves, count, ..x };
                    let y = Outputs { start: own.as_mut_ptr(), stride };
                    // SAFETY: x is complete, `own` holds `at_once` rows.
                    unsafe { linear::multiply(machine, weights, panels.clone(), rows, y) };
                    for (row, values) in own.chunks_exact(stride).take(count).enumerate() {
                        let values = &values[..width];
                        if let Some(logits) = logits {
                            // SAFETY: these columns are ours.
                            unsafe { logits.write((first + row) * vocab + at, width) }
                                .copy_from_slice(values);
                        } else {
                            let Scan { token, value, fault } = draftwood_logits::scan(values);
                            let at = at as Token;
                            let scan =
                                Scan { token: at + token, value, fault: fault.map(|token| at + token) };
                            best[first + row] = better(best[first + row], scan);
                        }
                    }
                }
            }
        });
    }
}

/// How many of `count` panels a thread takes at a time: up to four, which share a pass over the activations, but no more
/// than leaves all threads the same work.
fn panels_at_once(count: usize, threads: usize) -> usize {
    let longest = |wide: usize| count.div_ceil(wide).div_ceil(threads) * wide;
    (1..=2 * GATED / PANEL).rev().min_by_key(|&wide| longest(wide)).unwrap_or(1)
}

/// to += from.
fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

/// Fewest heads whose dimensions are whole quantisation blocks, so that one thread has all of a block; all heads if
/// need be.
fn heads_of_whole_blocks(heads: usize, head_dim: usize) -> usize {
    (1..=heads).find(|&n| (n * head_dim).is_multiple_of(BLOCK) && heads.is_multiple_of(n)).unwrap_or(heads)
}

//! A layer's attention inside a step: q, k and v into queries and cache, attention over the pages, merge of splits.

use super::{Buffers, Step, Worker, add};
use crate::activations::Forms;
use crate::attention::{self, Partials, merge::MergeRows};
use crate::executor::{PerThread, rows_at_once};
use crate::linear::{self, Outputs, Rows};
use crate::model::{Layer, Linear};
use crate::panels::PANEL;
use crate::pointwise::RmsNorm;
use crate::quantise::BLOCK;
use crate::rope;

impl Worker<'_, '_, '_> {
    /// q, k and v, head by head: q and k are normed and turned, k and v go straight into the cache.
    pub(super) fn project(&mut self, number: usize, layer: &Layer, x: Rows) {
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
    pub(super) fn attend(&mut self, number: usize, forms: Forms) {
        let Step { model, plan, sight, cache, head, rows, splits, machine, .. } = self.step;
        let heads = model.spec.heads;
        let window = model.spec.layers[number].window;
        let same = number > 0 && model.spec.layers[number - 1].window == window;
        let Buffers { attended, partials, queries, .. } = *self.buffers;
        let at_once = rows_at_once(heads, splits, head);
        for first_row in (0..rows).step_by(at_once) {
            let block = first_row..(first_row + at_once).min(rows);
            // One block of rows has the list of the layer before, unless the window changes.
            if !same || rows > at_once {
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
}

/// Fewest heads whose dimensions are whole quantisation blocks, so that one thread has all of a block; all heads if
/// need be.
fn heads_of_whole_blocks(heads: usize, head_dim: usize) -> usize {
    (1..=heads).find(|&n| (n * head_dim).is_multiple_of(BLOCK) && heads.is_multiple_of(n)).unwrap_or(heads)
}

//! The end of a step: logits of the rows that are read, or their best tokens only, and their last hidden states.

use super::{Step, Worker};
use crate::activations::Forms;
use crate::executor::{HEAD_TILE, NOTHING, better};
use crate::linear::{self, Outputs, Rows};
use crate::panels::PANEL;
use draftwood_base::Token;
use draftwood_logits::Scan;

impl Worker<'_, '_, '_> {
    /// Logits of the rows that are read.
    pub(super) fn read(&mut self) {
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

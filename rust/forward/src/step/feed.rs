//! Matrices of a layer that feed the residual stream.

use super::{Step, Worker, add};
use crate::activations::Forms;
use crate::gate::Gate;
use crate::linear::{self, Outputs, Rows};
use crate::model::{GATED, Linear};
use crate::panels::PANEL;

impl Worker<'_, '_, '_> {
    /// residual += W·x + b.
    pub(super) fn add_to_residual(&mut self, Linear { weights, bias }: &Linear, x: Rows) {
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
    pub(super) fn activate(&mut self, gate_up: &[Linear], x: Rows, forms: Forms) {
        let Step { machine, model, gated: stride, .. } = self.step;
        let activation = model.spec.activation;
        let gated = self.buffers.gated;
        let own = &mut self.own.outputs;
        let width = if model.spec.gated { 2 * GATED } else { GATED };
        let part = width / gate_up.len();
        let panels = part / PANEL;
        self.team.share(stride / GATED, |units| {
            for unit in units {
                let outputs = &mut own[..x.count * width];
                for (number, Linear { weights, bias }) in gate_up.iter().enumerate() {
                    let at = number * part;
                    let y = Outputs { start: outputs[at..].as_mut_ptr(), stride: width };
                    // SAFETY: x is complete, `outputs` is ours and holds all rows.
                    unsafe { linear::multiply(machine, weights, unit * panels..(unit + 1) * panels, x, y) };
                    if let Some(bias) = bias.as_ref().filter(|_| part < width) {
                        let bias = &bias[unit * part..][..part];
                        outputs.chunks_exact_mut(width).for_each(|row| add(&mut row[at..at + part], bias));
                    }
                }
                let together = gate_up.first().filter(|_| part == width);
                let bias = together.and_then(|linear| Some(&linear.bias.as_ref()?[unit * width..][..width]));
                let (outputs, place) = ((&*outputs, width), (stride, unit * GATED));
                // SAFETY: these columns are ours.
                machine.run_blocks(unsafe { Gate::new(activation, outputs, bias, (gated, forms), place) });
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

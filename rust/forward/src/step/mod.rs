//! One forward step as one parallel region: all threads run this program and meet at barriers.

mod attend;
mod feed;
mod head;

use crate::activations::{Activations, Forms};
use crate::attention::Unit;
use crate::cache::Cache;
use crate::embedded::Embedded;
use crate::environment;
use crate::executor::{PerThread, Slices};
use crate::lanes::WIDTH;
use crate::linear::Rows;
use crate::machine::Machine;
use crate::memory::Shared;
use crate::model::{GATED, Linear, Model, Norm};
use crate::pointwise::{LayerNorm, RmsNorm};
use crate::rope;
use crate::sight::Sight;
use draftwood_base::pool::{Pool, Team};
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
            let forms = step.forms(&layer.gate_up);
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
}

/// to += from.
fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

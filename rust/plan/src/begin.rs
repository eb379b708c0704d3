//! Which sequences run in a step, and with how many rows.

use crate::sequence::Sequence;
use crate::session::{Phase, Session};
use draftwood_base::Result;
use draftwood_tree::View;

/// One sequence of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheduled {
    /// Index into `running`.
    pub at: usize,
    /// Tokens of the known chain that are fed.
    pub chunk: u32,
    /// Most nodes of its tree, the root included; 0 when its row is not read because more of the prompt follows.
    pub budget: u32,
    /// Most levels below the root.
    pub max_depth: u32,
    /// Its tree is the chain of its forced tokens.
    pub is_forced: bool,
}

/// Most nodes of a chain of forced tokens: one word of mask bits, which the plan has room for whatever the tree budget.
const FORCED_NODES: u32 = 32;

impl Scheduled {
    pub fn is_read(&self) -> bool {
        self.budget > 0
    }
}

impl Session {
    /// Starts a step: acknowledges the moves of the last one, rolls back a plan that was never committed, ends what was
    /// cancelled, admits what fits, and chooses the rows. Returns the number of sequences in the step.
    ///
    /// # Errors
    /// None in a sound session; a broken invariant is [`draftwood_base::Error::Internal`].
    pub fn begin(&mut self) -> Result<usize> {
        self.phase = Phase::Idle;
        self.store.acknowledge();
        self.drop_ended();
        let before = self.running.len();
        while let Some((_, request)) = self.waiting.front() {
            let (capacity, shared) = (request.capacity(&self.config), request.shared());
            if self.store.pages_for_shared(capacity, request.texts(), shared) > self.store.bookable() {
                break;
            }
            let id = self.store.open_shared(capacity, request.texts(), shared)?;
            if let Some((request, spec)) = self.waiting.pop_front() {
                self.running.push(Sequence::admit(id, request, spec, capacity as usize));
            }
        }
        if (before, self.running.len()) == (0, 1) {
            self.policy.text_begins();
        }
        self.schedule();
        self.wants_drafts =
            self.scheduled.iter().any(|s| s.budget > 1 && !s.is_forced) && self.policy.wants_proposal();
        self.phase = Phase::Begun;
        Ok(self.scheduled.len())
    }

    /// What drafters see: one view per sequence that gets a token in this step.
    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        self.scheduled.iter().filter(|s| s.is_read()).map(|s| {
            let sequence = &self.running[s.at];
            let budget = if s.is_forced { 1 } else { s.budget };
            View {
                sequence: sequence.id,
                tokens: sequence.tokens.as_ref(),
                source: &sequence.spec.source,
                budget,
                max_depth: s.max_depth,
                salt: sequence.spec.salt,
            }
        })
    }

    /// Texts that are being written come first, each with room for a tree; prompts share the rows that are left, so a
    /// long prompt never stops the others.
    fn schedule(&mut self) {
        self.scheduled.clear();
        let (count, config) = (self.running.len(), &self.config);
        let mut rows = config.max_step_rows;
        for prefilling in [false, true] {
            for at in (0..count).map(|i| (self.turn + i) % count) {
                let sequence = &self.running[at];
                let chain = sequence.tokens.len() as u32 - self.store.len(sequence.id);
                if sequence.paused || chain == 0 || rows == 0 || (chain > config.tree_budget) != prefilling {
                    continue;
                }
                let chunk = chain.min(rows);
                rows -= chunk;
                let max_depth = sequence.remaining(config.max_context).saturating_sub(1);
                let is_forced = !sequence.forced().is_empty();
                let most = if is_forced {
                    FORCED_NODES.min(sequence.forced().len() as u32)
                } else {
                    config.tree_budget
                };
                let drafted = if max_depth == 0 { 0 } else { (most - 1).min(rows) };
                let budget = if chunk == chain { 1 + drafted } else { 0 };
                rows -= budget.saturating_sub(1);
                self.scheduled.push(Scheduled { at, chunk, budget, max_depth, is_forced });
            }
        }
        self.scheduled.sort_unstable_by_key(|s| s.at);
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
    }
}

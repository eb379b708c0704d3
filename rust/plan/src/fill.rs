//! From drafts to rows: pruning, reservation, arrays.

use crate::begin::Scheduled;
use crate::session::{Phase, Session};
use draftwood_base::{Error, Result};
use draftwood_store::Want;
use draftwood_tree::{Forest, TreeRef, ancestor_masks, words_for};

impl Session {
    /// Prunes the drafts, chooses what of them is forwarded, reserves the cache slots of the step and writes its rows; `forest` holds one tree per view of
    /// [`Session::views`], or is absent. After an error, or when the plan is not committed, nothing stays reserved.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the forest does not fit the views, [`Error::Internal`] out of order.
    pub fn plan(&mut self, forest: Option<&Forest>) -> Result<()> {
        self.plan_trees(forest, false)
    }

    /// [`Session::plan`] for whoever chooses what is forwarded: all nodes of `forest`, whatever the policy.
    ///
    /// # Errors
    /// As [`Session::plan`].
    pub fn plan_all(&mut self, forest: &Forest) -> Result<()> {
        self.plan_trees(Some(forest), true)
    }

    fn plan_trees(&mut self, forest: Option<&Forest>, all: bool) -> Result<()> {
        if !matches!(self.phase, Phase::Begun) {
            return Err(Error::Internal("plan() must follow begin()".into()));
        }
        self.phase = Phase::Idle;
        let views = self.scheduled.iter().filter(|s| s.is_read()).count();
        if let Some(forest) = forest
            && forest.len() != views
        {
            return Err(Error::invalid("a forest", format!("{views} trees, one per view"), forest.len(), ""));
        }
        self.prune(forest);
        self.was_asked = forest.is_some();
        let known = self.scheduled.iter().map(|s| s.chunk).sum();
        let all = all || self.scheduled.iter().any(|s| s.is_forced);
        self.policy.choose(&self.proposals, known, views as u32, all, &mut self.trees);
        let scratch = &mut self.scratch;
        scratch.wants.clear();
        for (i, s) in self.scheduled.iter().enumerate() {
            let drafted = self.trees.tree(i).len() as u32 - 1;
            scratch.wants.push(Want { sequence: self.running[s.at].id, chain: s.chunk, drafted });
        }
        let reservation = self.store.reserve(&scratch.wants)?;
        self.plan.clear();
        let widest = (0..self.trees.len()).map(|i| self.trees.tree(i).len()).max().unwrap_or(1);
        self.plan.mask_words = words_for(widest);
        for i in 0..self.scheduled.len() {
            self.fill_sequence(i);
        }
        let copies = self.store.copies(0);
        self.plan.copies[0].extend(copies.from.iter().map(|slot| slot.0 as i32));
        self.plan.copies[1].extend(copies.to.iter().map(|slot| slot.0 as i32));
        self.phase = Phase::Planned(reservation);
        Ok(())
    }

    fn fill_sequence(&mut self, i: usize) {
        let Scheduled { at, chunk, .. } = self.scheduled[i];
        let (sequence, tree, plan) = (&self.running[at], self.trees.tree(i), &mut self.plan);
        let context = self.store.len(sequence.id);
        let first = plan.tokens.len() as i32;
        let root = first + chunk as i32 - 1;
        for j in 0..chunk {
            plan.tokens.push(sequence.tokens[(context + j) as usize] as i32);
            plan.positions.push((context + j) as i32);
            plan.parents.push(if j == 0 { -1 } else { first + j as i32 - 1 });
        }
        tree.depths_into(&mut self.scratch.depths);
        for node in 1..tree.len() {
            plan.tokens.push(tree.tokens[node] as i32);
            plan.positions.push((context + chunk - 1 + self.scratch.depths[node]) as i32);
            plan.parents.push(root + tree.parents[node]);
        }
        for j in 0..plan.tokens.len() as u32 - first as u32 {
            plan.slots.push(self.store.slot(sequence.id, 0, context + j).0 as i32);
        }
        self.scratch.mask_bits.clear();
        push_masks(tree, chunk as usize, plan.mask_words, &mut self.scratch.mask_bits, &mut plan.masks);
        if self.scheduled[i].is_read() {
            plan.head_rows.extend(root..root + tree.len() as i32);
        }
        plan.pages.extend(self.store.pages(sequence.id, 0).iter().map(|page| page.0 as i32));
        plan.page_offsets.push(plan.pages.len() as i32);
        plan.row_offsets.push(plan.tokens.len() as i32);
        plan.chain.push(chunk as i32);
        plan.context.push(context as i32);
        plan.requests.push(sequence.request.0 as i32);
    }
}

/// Appends the mask rows of one sequence: none for the chain before the root, ancestor bits from the root on.
fn push_masks(tree: TreeRef<'_>, chunk: usize, words: usize, bits: &mut Vec<u32>, masks: &mut Vec<i32>) {
    bits.resize(tree.len() * words, 0);
    ancestor_masks(tree.parents, words, bits);
    masks.extend(std::iter::repeat_n(0, (chunk - 1) * words));
    masks.extend(bits.iter().map(|&word| word as i32));
}

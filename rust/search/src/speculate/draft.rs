//! The draft: a beam search that guesses, over all beams of a search at once.

use super::Speculation;
use super::nodes::Row;
use super::obey::Rules;
use super::predict::LONGEST;
use draftwood_base::Token;
use draftwood_logits::{RowResult, log_sum_exp, top_k};

/// Most levels of a draft.
const MOST_LEVELS: usize = 64;

impl Speculation {
    /// Marks the nodes that the next step forwards or keeps: all live beams, and below them what a beam search over known
    /// rows and guesses keeps, level by level, while the rows to be forwarded are at most `budget`.
    ///
    /// All B of a level are taken, though the guess says which of them die in the next one: leaving those out for the sake
    /// of depth halves the gain (measured at B = 4), since a lower beam's guess is the worse one.
    ///
    /// Returns the nodes that were looked at, level by level, best first; there is one level of guesses in any case.
    pub(super) fn draft(
        &mut self,
        sums: &[f32],
        budget: usize,
        fresh: RowResult<'_>,
        rules: &mut Rules<'_>,
    ) -> Vec<Vec<u32>> {
        self.epoch += 1;
        let mut level = Vec::new();
        for (&node, &sum) in self.live.iter().zip(sums) {
            if !level.contains(&node) {
                self.nodes.get_mut(node).score = sum;
                level.push(node);
            }
        }
        let depth = self.nodes.get(level[0]).depth;
        let mut rows: usize = level.iter().map(|&node| self.mark_up(node, depth)).sum();
        let mut levels = vec![level];
        self.drafted = 0;
        loop {
            let next = self.expand(&levels[levels.len() - 1], fresh, rules);
            let fits = rows < budget;
            for &node in &next {
                let cost = self.cost(node, depth);
                if fits && rows + cost <= budget {
                    self.mark_up(node, depth);
                    rows += cost;
                    self.drafted += cost as u32;
                }
            }
            let is_last = next.is_empty() || !fits || levels.len() == MOST_LEVELS;
            levels.push(next);
            if is_last {
                return levels;
            }
        }
    }

    /// Marks a node and what is above it; returns how many rows that adds.
    fn mark_up(&mut self, node: u32, depth: u32) -> usize {
        let (mut at, mut rows) = (node, 0);
        while self.nodes.get(at).mark != self.epoch {
            self.nodes.get_mut(at).mark = self.epoch;
            rows += usize::from(!self.nodes.is_known(at));
            if self.nodes.get(at).depth == depth {
                break;
            }
            at = self.nodes.get(at).parent;
        }
        rows
    }

    /// Rows that [`Speculation::mark_up`] would add.
    fn cost(&self, node: u32, depth: u32) -> usize {
        let (mut at, mut rows) = (node, 0);
        while self.nodes.get(at).mark != self.epoch {
            rows += usize::from(!self.nodes.is_known(at));
            if self.nodes.get(at).depth == depth {
                break;
            }
            at = self.nodes.get(at).parent;
        }
        rows
    }

    /// The best B continuations of a level, as a beam search would choose them.
    fn expand(&mut self, level: &[u32], fresh: RowResult<'_>, rules: &mut Rules<'_>) -> Vec<u32> {
        // The row of the last token is never needed.
        if self.nodes.get(level[0]).depth + 1 >= self.limit {
            return Vec::new();
        }
        let mut found: Vec<(f32, usize, Token)> = Vec::new();
        let mut next = Vec::new();
        for (i, &node) in level.iter().enumerate() {
            self.continuations(node, fresh, rules, &mut next);
            let score = self.nodes.get(node).score;
            let goes_on =
                |&&(token, _): &&(Token, f32)| !self.ends.contains(&token) && !self.banned.contains(token);
            found.extend(next.iter().filter(goes_on).map(|&(token, log)| (score + log, i, token)));
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        found.truncate(self.width);
        let child = |&(score, i, token): &(f32, usize, Token)| {
            let child = self.nodes.child(level[i], token);
            self.nodes.get_mut(child).score = score;
            child
        };
        found.iter().map(child).collect()
    }

    /// The likeliest tokens behind a node that the rules allow: what the model says where its row is known, else a guess.
    fn continuations(
        &mut self,
        node: u32,
        fresh: RowResult<'_>,
        rules: &mut Rules<'_>,
        out: &mut Vec<(Token, f32)>,
    ) {
        let values = match self.nodes.get(node).row {
            Row::Unknown => {
                let mut recent = [0; LONGEST];
                let count = self.nodes.context(node, &mut recent);
                self.predictor.predict(&recent[..count], out);
                let RowResult::Full { vocab, .. } = fresh;
                return rules.correct(&self.nodes, node, (self.width, vocab), out);
            }
            Row::Fresh(row) => fresh.row(row as usize),
            Row::Kept(slot) => self.kept.row(slot),
        };
        if let Some(top) = self.tops.get(&node) {
            out.clear();
            return out.extend_from_slice(top);
        }
        let lse = log_sum_exp(values);
        if rules.is_empty() {
            top_k(values, self.width + self.ends.len(), out);
            out.iter_mut().for_each(|(_, value)| *value = (f64::from(*value) - lse) as f32);
        } else {
            rules.best(&self.nodes, node, values, lse, self.width, out);
        }
        out.retain(|(_, value)| *value > f32::NEG_INFINITY);
        let mut recent = [0; 2];
        let count = self.nodes.context(node, &mut recent);
        self.predictor.see(&recent[..count], out);
        self.tops.insert(node, out.clone());
    }
}

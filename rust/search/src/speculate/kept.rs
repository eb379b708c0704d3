//! Logit rows that outlive their forward.

use crate::row::Rows;
use draftwood_logits::RowResult;

/// Whole rows [slots, V], since every rule and every draw may ask for any token.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    values: Vec<f32>,
    free: Vec<u32>,
    vocab: usize,
}

impl Kept {
    /// Keeps a row; returns its slot.
    pub fn keep(&mut self, row: &[f32]) -> u32 {
        self.vocab = row.len();
        if let Some(slot) = self.free.pop() {
            self.values[slot as usize * self.vocab..][..self.vocab].copy_from_slice(row);
            return slot;
        }
        self.values.extend_from_slice(row);
        (self.values.len() / self.vocab - 1) as u32
    }

    pub fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    pub fn row(&self, slot: u32) -> &[f32] {
        &self.values[slot as usize * self.vocab..][..self.vocab]
    }

    /// Rows of a forward, and behind them those that are kept.
    pub fn behind<'a>(&'a self, fresh: RowResult<'a>) -> Rows<'a> {
        Rows::logits(fresh).with_kept(&self.values)
    }
}

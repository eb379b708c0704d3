//! The rows of one step as flat arrays.

use crate::SessionConfig;
use draftwood_tree::{StepRows, words_for};

/// What an executor computes in one forward. Reused from step to step; see [`StepRows`] for the meaning of each array.
#[derive(Debug, Default, Clone)]
pub struct StepPlan {
    pub(crate) tokens: Vec<i32>,
    pub(crate) positions: Vec<i32>,
    pub(crate) parents: Vec<i32>,
    pub(crate) slots: Vec<i32>,
    pub(crate) row_offsets: Vec<i32>,
    pub(crate) chain: Vec<i32>,
    pub(crate) context: Vec<i32>,
    pub(crate) page_offsets: Vec<i32>,
    pub(crate) pages: Vec<i32>,
    pub(crate) masks: Vec<i32>,
    pub(crate) mask_words: usize,
    pub(crate) head_rows: Vec<i32>,
    pub(crate) requests: Vec<i32>,
    pub(crate) copies: [Vec<i32>; 2],
}

impl StepPlan {
    /// Arrays with room for any step of a session whose texts do not share pages; shared ones grow it once more.
    pub(crate) fn with_room(config: &SessionConfig) -> Self {
        let rows = config.max_step_rows as usize;
        let room = || Vec::with_capacity(rows + 1);
        Self {
            tokens: room(),
            positions: room(),
            parents: room(),
            slots: room(),
            row_offsets: room(),
            chain: room(),
            context: room(),
            page_offsets: room(),
            pages: Vec::with_capacity(config.pages as usize),
            masks: Vec::with_capacity(rows * words_for(config.tree_budget as usize)),
            mask_words: 1,
            head_rows: room(),
            requests: room(),
            copies: [Vec::new(), Vec::new()],
        }
    }

    pub(crate) fn clear(&mut self) {
        for array in [
            &mut self.tokens,
            &mut self.positions,
            &mut self.parents,
            &mut self.slots,
            &mut self.row_offsets,
            &mut self.chain,
            &mut self.context,
            &mut self.page_offsets,
            &mut self.pages,
            &mut self.masks,
            &mut self.head_rows,
            &mut self.requests,
        ] {
            array.clear();
        }
        self.copies.iter_mut().for_each(Vec::clear);
        self.row_offsets.push(0);
        self.page_offsets.push(0);
        self.mask_words = 1;
    }

    /// The arrays of the step.
    pub fn rows(&self) -> StepRows<'_> {
        StepRows {
            tokens: &self.tokens,
            positions: &self.positions,
            parents: &self.parents,
            slots: &self.slots,
            row_offsets: &self.row_offsets,
            chain: &self.chain,
            context: &self.context,
            page_offsets: &self.page_offsets,
            pages: &self.pages,
            masks: &self.masks,
            mask_words: self.mask_words,
            head_rows: &self.head_rows,
        }
    }

    /// [S] the request of each sequence: those of one request share what their encoder has read.
    pub fn requests(&self) -> &[i32] {
        &self.requests
    }

    /// Rows to copy before the forward, because a text is about to append to a page that others share: source slots
    /// and destination slots. All sources are read before the first destination is written.
    pub fn copies(&self) -> (&[i32], &[i32]) {
        (&self.copies[0], &self.copies[1])
    }
}

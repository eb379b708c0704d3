//! What each row of a step sees, worked out once per step, not per layer.
//!
//! A row sees one key per position. Up to `limit` the key of position p lies at logical index p, *in place*: the cached
//! text, the known chain, and a branch that happens to be stored first. From there on `path` says at which index.

use crate::cache::PAGE;
use draftwood_base::{Error, Result};
use draftwood_tree::StepRows;
use std::ops::Range;

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct RowSight {
    /// Its position; it sees positions 0..=position.
    pub position: usize,
    /// Positions below it lie in place.
    pub limit: usize,
    /// First entry in [`Sight::path`], of position `limit`.
    pub path: usize,
}

/// One text of the step.
#[derive(Debug, Clone)]
pub struct TextSight {
    /// Its rows.
    pub rows: Range<usize>,
    /// Its page table in `StepRows::pages`.
    pub pages: Range<usize>,
    /// Logical indices of its drafted rows.
    pub tree: Range<usize>,
}

/// All rows of a step. Reused from step to step.
#[derive(Debug, Default)]
pub struct Sight {
    /// [R]
    pub rows: Vec<RowSight>,
    /// [S]
    pub texts: Vec<TextSight>,
    /// Logical indices of keys that are not in place.
    pub path: Vec<usize>,
}

/// What a plan is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Token ids below it exist.
    pub vocab: usize,
    /// Positions below it exist.
    pub positions: usize,
    /// Pages of the cache.
    pub pages: usize,
}

fn index(value: i32, below: usize, what: &str) -> Result<usize> {
    usize::try_from(value).ok().filter(|&v| v < below).ok_or_else(|| {
        Error::invalid(format!("the plan's {what}"), format!("from 0 to below {below}"), value, "")
    })
}

impl Sight {
    /// Works out a plan and checks all of it: what comes after relies on its indices.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a plan that contradicts itself, the model or the cache.
    pub fn plan(&mut self, plan: &StepRows<'_>, limits: Limits) -> Result<()> {
        self.rows.clear();
        self.texts.clear();
        self.path.clear();
        let total = plan.tokens.len();
        let broken = |what: &str, expected: String, got: String| Err(Error::invalid(what, expected, got, ""));
        let lengths = [plan.positions.len(), plan.parents.len(), plan.slots.len()];
        if lengths != [total; 3] || plan.masks.len() != total * plan.mask_words {
            return broken("the plan's arrays", format!("{total} rows each"), format!("{lengths:?}"));
        }
        let texts = plan.chain.len();
        if plan.row_offsets.len() != texts + 1
            || plan.page_offsets.len() != texts + 1
            || plan.context.len() != texts
        {
            return broken(
                "the plan's texts",
                format!("{texts}"),
                format!("{} offsets", plan.row_offsets.len()),
            );
        }
        for text in 0..texts {
            let rows = range(plan.row_offsets, text, total, "rows")?;
            let pages = range(plan.page_offsets, text, plan.pages.len(), "pages")?;
            if rows.start != self.rows.len() {
                return broken(
                    "the plan's rows",
                    "text after text".into(),
                    format!("a gap before row {}", rows.start),
                );
            }
            self.text(plan, text, rows, pages, limits)?;
        }
        if self.rows.len() != total {
            return broken(
                "the plan's rows",
                format!("{total} in all texts"),
                format!("{}", self.rows.len()),
            );
        }
        if plan.head_rows.len() > total {
            return broken(
                "the plan's read rows",
                format!("at most {total}"),
                format!("{}", plan.head_rows.len()),
            );
        }
        plan.head_rows.iter().try_for_each(|&row| index(row, total, "read row").map(drop))
    }

    fn text(
        &mut self,
        plan: &StepRows<'_>,
        text: usize,
        rows: Range<usize>,
        pages: Range<usize>,
        limits: Limits,
    ) -> Result<()> {
        let context = index(plan.context[text], limits.positions, "context")?;
        let chain = index(plan.chain[text], rows.len() + 1, "chain")?;
        if chain == 0 || context + rows.len() > pages.len() * PAGE {
            let expected = "a chain of at least one row, and pages for all rows";
            let got = format!("chain {chain}, {} rows after {context} in {} pages", rows.len(), pages.len());
            return Err(Error::invalid("the plan", expected, got, ""));
        }
        let root = context + chain - 1;
        let own = &plan.pages[pages.clone()];
        own.iter().try_for_each(|&page| index(page, limits.pages, "page").map(drop))?;
        for (j, row) in rows.clone().enumerate() {
            index(plan.tokens[row], limits.vocab, "token")?;
            let slot = index(plan.slots[row], limits.pages * PAGE, "slot")?;
            let logical = context + j;
            let sight = if j < chain {
                RowSight { position: logical, limit: logical + 1, path: self.path.len() }
            } else {
                self.node(&plan.masks[row * plan.mask_words..(row + 1) * plan.mask_words], root, logical)?
            };
            let position = index(plan.positions[row], limits.positions, "position")?;
            if position != sight.position || slot != own[logical / PAGE] as usize * PAGE + logical % PAGE {
                let expected = format!("at position {} and in place of its index {logical}", sight.position);
                let got = format!("position {position}, slot {slot}");
                return Err(Error::invalid(format!("row {row} of the plan"), expected, got, ""));
            }
            self.rows.push(sight);
        }
        self.texts.push(TextSight { tree: context + chain..context + rows.len(), rows, pages });
        Ok(())
    }

    /// A drafted row from its ancestor bits: nodes are stored in topological order, so the set bits, in order, are its
    /// path, one per depth.
    fn node(&mut self, mask: &[i32], root: usize, logical: usize) -> Result<RowSight> {
        let path = self.path.len();
        let (mut depth, mut limit) = (0, root);
        for (word, &bits) in mask.iter().enumerate() {
            let mut bits = bits as u32;
            while bits != 0 {
                let node = word * 32 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if node == depth && self.path.len() == path {
                    limit += 1;
                } else {
                    self.path.push(root + node);
                }
                depth += 1;
            }
        }
        let last =
            self.path.last().filter(|_| self.path.len() > path).copied().unwrap_or(limit.wrapping_sub(1));
        if mask.first().is_none_or(|&bits| bits & 1 == 0) || last != logical {
            return Err(Error::invalid(
                "the plan's masks",
                "from the root to the row itself",
                format!("{mask:x?}"),
                "",
            ));
        }
        Ok(RowSight { position: root + depth - 1, limit, path })
    }
}

fn range(offsets: &[i32], text: usize, end: usize, what: &str) -> Result<Range<usize>> {
    let (from, to) = (index(offsets[text], end + 1, what)?, index(offsets[text + 1], end + 1, what)?);
    if from > to {
        return Err(Error::invalid(
            format!("the plan's {what}"),
            "ascending offsets",
            format!("{from}, {to}"),
            "",
        ));
    }
    Ok(from..to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan<'a>(masks: &'a [i32], positions: &'a [i32], slots: &'a [i32]) -> StepRows<'a> {
        StepRows {
            tokens: &[1, 2, 3, 4, 5],
            positions,
            parents: &[-1, 0, 1, 1, 2],
            slots,
            row_offsets: &[0, 5],
            chain: &[2],
            context: &[15],
            page_offsets: &[0, 2],
            pages: &[3, 1],
            masks,
            mask_words: 1,
            head_rows: &[1, 2, 3, 4],
        }
    }
    const LIMITS: Limits = Limits { vocab: 10, positions: 100, pages: 4 };
    /// Context 15, chain 15 and 16 (root), nodes a (below the root), b (below the root), c (below a).
    const MASKS: [i32; 5] = [0, 0b0001, 0b0011, 0b0101, 0b1011];
    const POSITIONS: [i32; 5] = [15, 16, 17, 17, 18];
    const SLOTS: [i32; 5] = [63, 16, 17, 18, 19];

    #[test]
    fn a_branch_stored_first_is_in_place_and_others_have_a_path() {
        let mut sight = Sight::default();
        sight.plan(&plan(&MASKS, &POSITIONS, &SLOTS), LIMITS).unwrap();
        let rows: Vec<_> = sight.rows.iter().map(|r| (r.position, r.limit)).collect();
        assert_eq!(rows, [(15, 16), (16, 17), (17, 18), (17, 17), (18, 18)]);
        assert_eq!(sight.path, [18, 19]);
        assert_eq!(sight.texts[0].tree, 17..20);
    }

    #[test]
    fn contradictions_are_refused() {
        let mut sight = Sight::default();
        let mut refused = |masks: &[i32], positions: &[i32], slots: &[i32]| {
            assert!(sight.plan(&plan(masks, positions, slots), LIMITS).is_err());
        };
        refused(&[0, 1, 3, 5, 0b1010], &POSITIONS, &SLOTS); // no root
        refused(&[0, 1, 3, 5, 0b11011], &POSITIONS, &SLOTS); // sees a row that is not there
        refused(&MASKS, &[15, 16, 17, 18, 18], &SLOTS);
        refused(&MASKS, &POSITIONS, &[63, 16, 17, 18, 64]);
        refused(&MASKS, &POSITIONS, &[63, 16, 17, 18, -1]);
        refused(&MASKS[..4], &POSITIONS, &SLOTS);
        let limits = [
            Limits { vocab: 5, ..LIMITS },
            Limits { pages: 3, ..LIMITS },
            Limits { positions: 18, ..LIMITS },
        ];
        for limits in limits {
            assert!(sight.plan(&plan(&MASKS, &POSITIONS, &SLOTS), limits).is_err(), "{limits:?}");
        }
        let often = StepRows { head_rows: &[1; 6], ..plan(&MASKS, &POSITIONS, &SLOTS) };
        assert!(sight.plan(&often, LIMITS).is_err());
    }
}

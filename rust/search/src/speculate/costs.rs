//! How many rows pay.
//!
//! A draft of D levels, B rows each, saves steps as long as each level holds the beams that come: with probability h per
//! level a forward gives 1 + h + … + h^(D−1) steps. h is counted in each search, in levels that were forwarded and in the
//! one that is guessed without being forwarded, so a search that drafts nothing learns for free when drafting would pay.
//! What a forward costs by its rows is learned from the times that callers tell, for all searches of an engine.

use super::Budget;

/// What an observation is worth after each further one: about the last fifty count.
const DECAY: f64 = 0.98;
/// Where no other sizes were seen, a row is taken to cost this part of a forward …
const ROW_SHARE: f64 = 0.04;
/// … as if that had been seen as often as this, times the square of rows.
const PRIOR: f64 = 8.0;
/// Steps of more rows read prompts.
const MOST_ROWS: u32 = 96;
/// A step that took so many times the expected was disturbed.
const OUTLIER: f64 = 3.0;
/// Drafting must be better than plain steps by this factor.
const LEAST_GAIN: f64 = 1.03;

/// A line through what steps took by their rows.
#[derive(Debug, Clone, Default)]
pub struct StepCosts {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl StepCosts {
    /// A step of `rows` rows took `seconds`. Long ones and disturbed ones are not learned from.
    pub fn observe(&mut self, rows: u32, seconds: f32) {
        let (x, y) = (f64::from(rows), f64::from(seconds));
        if rows == 0 || rows > MOST_ROWS || y.is_nan() || y <= 0.0 {
            return;
        }
        let expected = self.seconds(x);
        if self.weight > 3.0 && y > OUTLIER * expected {
            return;
        }
        if expected > OUTLIER * y {
            *self = Self::default(); // What was seen before was disturbed.
        }
        for (sum, new) in [
            (&mut self.weight, 1.0),
            (&mut self.x, x),
            (&mut self.y, y),
            (&mut self.xx, x * x),
            (&mut self.xy, x * y),
        ] {
            *sum = *sum * DECAY + new;
        }
    }

    /// Expected seconds of a step; 0 if nothing was seen.
    fn seconds(&self, rows: f64) -> f64 {
        if self.weight == 0.0 {
            return 0.0;
        }
        let (x, y) = (self.x / self.weight, self.y / self.weight);
        // A line through the mean, its slope drawn to the prior where sizes hardly differ.
        let prior = ROW_SHARE * y / (1.0 + ROW_SHARE * x);
        let (spread, rise) = (self.xx - x * self.x, self.xy - y * self.x);
        let slope = ((rise + PRIOR * prior) / (spread + PRIOR)).max(0.0);
        (y + slope * (rows - x)).max(0.1 * y)
    }

    /// The rows that give most beam steps per second, at most `budget.most`, for a search of `width` beams whose guesses
    /// hold the next beams with probability `hit`; `width` if drafts do not pay.
    pub(crate) fn rows(&self, width: usize, hit: f32, budget: Budget<'_>) -> usize {
        if self.weight == 0.0 {
            return budget.most;
        }
        let (hit, searches) = (f64::from(hit), budget.searches.max(1) as f64);
        let rate = |rows: usize| {
            let levels = rows as f64 / width as f64;
            let steps = if hit > 0.999 { levels } else { (1.0 - hit.powf(levels)) / (1.0 - hit) };
            steps / self.seconds(rows as f64 * searches)
        };
        let plain = rate(width) * LEAST_GAIN;
        let sizes = (width + 1..=budget.most).filter(|rows| rows.is_multiple_of(2) || *rows == budget.most);
        let best = sizes.map(|rows| (rate(rows), rows)).max_by(|a, b| a.0.total_cmp(&b.0));
        best.filter(|(best, _)| *best > plain).map_or(width, |(_, rows)| rows)
    }
}

/// How often the guesses of one search held all beams of the next step, lately.
#[derive(Debug, Clone)]
pub(super) struct Hits {
    hits: f32,
    all: f32,
}

impl Default for Hits {
    /// As if of two guesses one had been right: the first step drafts where rows are cheap.
    fn default() -> Self {
        Self { hits: 1.0, all: 2.0 }
    }
}

impl Hits {
    const DECAY: f32 = 0.92;

    pub fn learn(&mut self, hit: bool) {
        self.hits = self.hits * Self::DECAY + f32::from(u8::from(hit));
        self.all = self.all * Self::DECAY + 1.0;
    }

    pub fn rate(&self) -> f32 {
        self.hits / self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(a: f32, b: f32) -> StepCosts {
        let mut costs = StepCosts::default();
        for i in 0..60 {
            let rows = [2, 16, 4, 8][i % 4];
            costs.observe(rows, a + b * rows as f32);
            if i % 9 == 0 {
                costs.observe(rows, 20.0 * (a + b)); // Somebody else had the processor.
            }
        }
        costs
    }

    fn budget(costs: &StepCosts) -> Budget<'_> {
        Budget { most: 16, costs: Some(costs), searches: 1 }
    }

    #[test]
    fn rows_are_drafted_where_they_pay() {
        let flat = learned(0.020, 0.0008);
        assert_eq!(flat.rows(2, 0.95, budget(&flat)), 16);
        assert_eq!(flat.rows(2, 0.0, budget(&flat)), 2);
        let steep = learned(0.010, 0.004);
        assert!((3..14).contains(&steep.rows(2, 0.7, budget(&steep))));
        assert_eq!(steep.rows(4, 0.3, budget(&steep)), 4);
        let unknown = StepCosts::default();
        assert_eq!(unknown.rows(4, 0.1, budget(&unknown)), 16, "nothing is known before the first step");
    }

    #[test]
    fn the_line_is_found_beside_outliers() {
        let costs = learned(0.020, 0.001);
        for rows in [1.0, 2.0, 8.0, 16.0] {
            let want = 0.020 + 0.001 * rows;
            assert!((costs.seconds(rows) - want).abs() < 0.05 * want, "{rows}: {}", costs.seconds(rows));
        }
    }
}

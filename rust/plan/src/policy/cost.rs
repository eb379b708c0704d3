//! What a step costs by its number of rows, learned from the steps themselves.

/// Row counts up to here have a knot each; above there are [`PER_OCTAVE`] of them per doubling.
const EXACT: usize = 32;
const PER_OCTAVE: usize = 4;
const KNOTS: usize = EXACT + PER_OCTAVE * 4;
/// A row beside others is taken to cost so much of a step of one row until something else is seen. On every machine
/// measured it costs more, so a policy that trusts this tries drafts, and learns from the first ones what they cost.
const PRIOR_SLOPE: f32 = 0.02;
/// Largest difference of logarithms that is believed at once.
const CLIP: f32 = 0.25;
/// The same for a first step of its size, which has nothing to be compared with.
const FIRST_CLIP: f32 = 1.4;
/// Before so many observations of a size, each is believed whole.
const FEW: f32 = 4.0;
/// Weight of what is exact.
const UNIT: f32 = 1e6;
const MOST_SEEN: f32 = 48.0;
/// No ratio is believed to be larger: e^10, or smaller, while one row was not seen.
const MOST_LOG_RATIO: f32 = 10.0;
/// How fast the machine is at the moment is an average over about so many steps.
const LEVEL_STEPS: f32 = 8.0;
/// After so many steps what is known about each size counts half.
const FORGET_AFTER: u32 = 256;

/// t(n), the time of a step of n rows.
///
/// Two things are learned at two speeds: how fast the machine is now (`level`, moved by every step), and what n rows
/// cost beside one (a ratio per knot, a property of machine and weights, moved slowly by steps of that size). Attention
/// enters the ratios as a constant per row: its share grows with the text by little per step, so the ratios follow.
/// Of two steps of a size that follow each other the shorter one counts: a stall passes unnoticed, and noise makes all
/// sizes seem shorter alike. What was not seen for long counts less, so a ratio that was measured badly is replaced when its size comes again.
#[derive(Debug, Clone)]
pub(crate) struct CostCurve {
    /// Logarithm of the seconds of one row, or of what stands for it while that was not seen.
    level: f32,
    level_seen: f32,
    knots: [Knot; KNOTS],
    /// Ratio of each knot to one row: never falling, and filled in between the knots that were seen.
    ratios: [f32; KNOTS],
    steps: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Knot {
    log_ratio: f32,
    /// Observations; halved now and then.
    seen: f32,
    /// Logarithm of the seconds of the last one.
    last: f32,
}

impl Default for CostCurve {
    fn default() -> Self {
        let mut curve = Self {
            level: 0.0,
            level_seen: 0.0,
            knots: [Knot::default(); KNOTS],
            ratios: [1.0; KNOTS],
            steps: 0,
        };
        curve.fill();
        curve
    }
}

/// Rows of a knot: 1 … 32, 40, 48, 56, 64, 80, … 512.
fn rows_of(knot: usize) -> usize {
    match knot.checked_sub(EXACT) {
        None => knot + 1,
        Some(above) => {
            let octave = EXACT << (above / PER_OCTAVE);
            octave + octave / PER_OCTAVE * (above % PER_OCTAVE + 1)
        }
    }
}

/// The last knot of at most `rows` rows.
fn knot_below(rows: usize) -> usize {
    if rows <= EXACT {
        return rows.max(1) - 1;
    }
    let octaves = (rows / EXACT).ilog2() as usize;
    let quarter = (rows - (EXACT << octaves)) * PER_OCTAVE / (EXACT << octaves);
    (EXACT - 1 + octaves * PER_OCTAVE + quarter).min(KNOTS - 1)
}

impl CostCurve {
    /// What `rows` rows cost beside one.
    pub fn ratio(&self, rows: u32) -> f32 {
        let rows = rows.max(1) as usize;
        let below = knot_below(rows).min(KNOTS - 2);
        let (x0, x1) = (rows_of(below) as f32, rows_of(below + 1) as f32);
        let (y0, y1) = (self.ratios[below], self.ratios[below + 1]);
        y0 + (y1 - y0) * (rows as f32 - x0) / (x1 - x0)
    }

    /// Seconds of a step of `rows` rows; none before any step was seen.
    pub fn seconds(&self, rows: u32) -> Option<f32> {
        (self.level_seen > 0.0).then(|| self.level.exp() * self.ratio(rows))
    }

    /// Whether a step of about so many rows was seen lately.
    pub fn has_seen(&self, rows: u32) -> bool {
        self.knots[knot_below(rows as usize)].seen > 0.0
    }

    /// Rows of the largest step that was seen.
    pub fn largest(&self) -> u32 {
        self.knots.iter().rposition(|knot| knot.seen > 0.0).map_or(0, |knot| rows_of(knot) as u32)
    }

    /// A step of `rows` rows took so long. Times that are no times are ignored.
    pub fn observe(&mut self, rows: u32, seconds: f32) {
        if rows == 0 || !seconds.is_finite() || seconds <= 0.0 {
            return;
        }
        self.steps += 1;
        if self.steps.is_multiple_of(FORGET_AFTER) {
            self.knots.iter_mut().for_each(|knot| knot.seen *= 0.5);
        }
        let (at, expected, seconds) = (knot_below(rows as usize), self.ratio(rows).ln(), seconds.ln());
        if self.level_seen == 0.0 {
            self.level = seconds - expected;
        }
        let knot = &mut self.knots[at];
        let (first, few) = (knot.seen == 0.0, knot.seen < FEW);
        let last = std::mem::replace(&mut knot.last, seconds);
        let mut error = if first { seconds } else { seconds.min(last) } - self.level - expected;
        if first {
            knot.log_ratio = expected;
            error = error.min(FIRST_CLIP);
        }
        let believed =
            |error: f32, weight: f32, few: bool| if few { error } else { error.clamp(-CLIP, CLIP) } * weight;
        // Far below the mean of a few: what came before was a stall.
        let weight = if few && error < -CLIP { 1.0 } else { 1.0 / (knot.seen + 1.0) };
        let step = believed(error, weight, few);
        knot.log_ratio = (knot.log_ratio + step).clamp(-MOST_LOG_RATIO, MOST_LOG_RATIO);
        knot.seen = (knot.seen + 1.0).min(MOST_SEEN);
        if at == 0 {
            // One row is the unit: what larger steps take stays as it was.
            let unit = self.knots[0].log_ratio;
            self.knots.iter_mut().for_each(|knot| knot.log_ratio -= unit);
            self.level += unit;
        }
        // A size that is new says nothing of the machine.
        let rest = if few { 0.0 } else { error - step };
        self.level += believed(rest, 1.0 / LEVEL_STEPS.min(self.level_seen + 1.0), self.level_seen < FEW);
        self.level_seen = (self.level_seen + 1.0).min(MOST_SEEN);
        self.fill();
    }

    /// The knots that were seen, made monotone by pooling neighbours (isotonic regression), with straight lines between
    /// them and on both sides.
    fn fill(&mut self) {
        // First knot, value and weight of each pool.
        let mut pools = [(0usize, 0.0f32, 0.0f32); KNOTS];
        let mut count = 0;
        for (at, knot) in self.knots.iter().enumerate().filter(|(_, knot)| knot.seen > 0.0) {
            // One row is the unit and gives way to nobody.
            let (mut value, mut weight) = (knot.log_ratio.exp(), if at == 0 { UNIT } else { knot.seen });
            let mut first = at;
            while count > 0 && pools[count - 1].1 > value {
                count -= 1;
                let (start, other, its) = pools[count];
                value = (value * weight + other * its) / (weight + its);
                weight += its;
                first = start;
            }
            pools[count] = (first, value, weight);
            count += 1;
        }
        let prior = |rows: f32| 1.0 + PRIOR_SLOPE * (rows - 1.0);
        let (first, lowest) = pools[..count].first().map_or((0, 1.0), |pool| (pool.0, pool.1));
        let start = lowest / prior(rows_of(first) as f32);
        let (mut knot, mut x0, mut y0, mut pool) = (0, 1.0, start, 0);
        for at in (0..KNOTS).filter(|&at| self.knots[at].seen > 0.0) {
            pool += usize::from(pool + 1 < count && pools[pool + 1].0 <= at);
            let (x1, y1) = (rows_of(at) as f32, pools[pool].1);
            while knot < at {
                self.ratios[knot] = y0 + (y1 - y0) * (rows_of(knot) as f32 - x0) / (x1 - x0);
                knot += 1;
            }
            (self.ratios[at], knot, x0, y0) = (y1, at + 1, x1, y1);
        }
        let slope = if x0 > 1.0 { (y0 - start) / (x0 - 1.0) } else { 0.0 };
        let slope = slope.max(PRIOR_SLOPE * start);
        for at in knot..KNOTS {
            self.ratios[at] = y0 + slope * (rows_of(at) as f32 - x0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn knots_cover_all_row_counts() {
        assert!((1..KNOTS).all(|knot| rows_of(knot) > rows_of(knot - 1)));
        assert_eq!(rows_of(KNOTS - 1), 512);
        for rows in 1..=512 {
            let knot = knot_below(rows);
            assert!(rows_of(knot) <= rows && (knot + 1 == KNOTS || rows_of(knot + 1) > rows), "{rows}");
        }
    }

    /// SM Q4_1 on AVX-512 VNNI, milliseconds.
    fn measured(rows: u32) -> f32 {
        let points = [(1.0, 2.1), (2.0, 2.2), (4.0, 2.4), (8.0, 3.2), (16.0, 5.2), (32.0, 10.4f32)];
        let rows = rows as f32;
        let at = points.iter().rposition(|p| p.0 <= rows).unwrap().min(4);
        let ((x0, y0), (x1, y1)) = (points[at], points[at + 1]);
        y0 + (y1 - y0) * (rows - x0) / (x1 - x0)
    }

    #[test]
    fn six_times_are_enough_for_all_sizes() {
        let mut curve = CostCurve::default();
        for _ in 0..2 {
            [1, 2, 4, 8, 16, 32].iter().for_each(|&rows| curve.observe(rows, measured(rows) * 1e-3));
        }
        for rows in 1..=32 {
            let (got, right) = (curve.seconds(rows).unwrap() * 1e3, measured(rows));
            assert!((got / right - 1.0).abs() < 0.02, "{rows} rows: {got} instead of {right}");
        }
        assert!(curve.ratio(64) > curve.ratio(32) * 1.5, "beyond what was seen the slope goes on");
    }

    #[test]
    fn stalls_do_not_poison() {
        let mut curve = CostCurve::default();
        for i in 0..400u32 {
            let rows = [1, 5, 1, 9, 1, 16][i as usize % 6];
            // Every ninth step is stalled, among them the very first ones of some sizes.
            let stall = if i % 9 == 3 { 300.0 } else { 1.0 };
            curve.observe(rows, measured(rows) * 1e-3 * stall);
        }
        for rows in [1, 5, 9, 16] {
            let (got, right) = (curve.seconds(rows).unwrap() * 1e3, measured(rows));
            assert!((got / right - 1.0).abs() < 0.25, "{rows} rows: {got} instead of {right}");
            let (got, right) = (curve.ratio(rows), measured(rows) / measured(1));
            assert!((got / right - 1.0).abs() < 0.1, "{rows} rows cost {got} instead of {right} times one");
        }
    }

    #[test]
    fn a_slower_machine_changes_the_level_and_not_the_ratios() {
        let mut curve = CostCurve::default();
        let mut step = |rows: u32, factor: f32| {
            curve.observe(rows, measured(rows) * factor);
            (curve.ratio(8), curve.seconds(1).unwrap())
        };
        for i in 0..60 {
            step([1, 8][i % 2], 1.0);
        }
        // Only steps of 8 rows tell that everything is half as fast.
        let mut last = (0.0, 0.0);
        for _ in 0..60 {
            last = step(8, 2.0);
        }
        assert!((last.0 / (measured(8) / measured(1)) - 1.0).abs() < 0.25, "{last:?}");
        assert!((last.1 / (2.0 * measured(1)) - 1.0).abs() < 0.2, "{last:?}");
    }

    proptest! {
        #[test]
        fn whatever_was_seen_the_curve_rises_and_is_finite(
            steps in prop::collection::vec((0u32..700, prop::num::f32::ANY), 0..200),
        ) {
            let mut curve = CostCurve::default();
            for (rows, seconds) in steps {
                curve.observe(rows, seconds);
            }
            let ratios: Vec<f32> = (1..=600).map(|rows| curve.ratio(rows)).collect();
            prop_assert!(ratios.iter().all(|ratio| ratio.is_finite() && *ratio > 0.0));
            prop_assert!(ratios.windows(2).all(|pair| pair[1] >= pair[0] * 0.99999), "{ratios:?}");
        }
    }
}

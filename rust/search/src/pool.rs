//! Finished hypotheses of one prompt, and the test that ends a search.

use crate::config::EarlyStopping;

/// Why a hypothesis ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// Its last token is an end token, or completes a stop string.
    Stop,
    /// It reached the length limit.
    Length,
    /// Nothing could be finished: the best prefix of a constraint that dead-ends.
    Constraint,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub node: u32,
    pub score: f32,
    /// The same of the plain sum.
    pub raw: f32,
    pub finish: FinishReason,
    pub stop: Option<u32>,
}

/// sum / length ^ penalty, in f32; an empty text has its sum.
pub(crate) fn penalised(sum: f32, length: u32, penalty: f64) -> f32 {
    if length == 0 { sum } else { sum / f64::from(length).powf(penalty) as f32 }
}

/// At most `room` hypotheses, best first; of equals the earlier one stays in front.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    ended: Vec<Ended>,
    room: usize,
}

impl Pool {
    pub fn new(room: usize) -> Self {
        Self { ended: Vec::with_capacity(room), room }
    }

    pub fn add(&mut self, new: Ended) {
        let at = self.ended.partition_point(|old| old.score >= new.score);
        if at < self.room {
            self.ended.truncate(self.room - 1);
            self.ended.insert(at, new);
        }
    }

    /// [`Pool::add`], where the same text may have come before: the better one stays.
    pub fn add_text(&mut self, new: Ended) {
        match self.ended.iter().position(|old| old.node == new.node) {
            Some(at) if self.ended[at].score >= new.score => return,
            Some(at) => drop(self.ended.remove(at)),
            None => {}
        }
        self.add(new);
    }

    pub fn best(&self) -> &[Ended] {
        &self.ended
    }

    /// Whether the search may stop after a step that left `length` generated tokens and a best live beam of score
    /// `best_live`.
    pub fn closes(
        &self,
        rule: EarlyStopping,
        best_live: f32,
        length: u32,
        max_length: u32,
        penalty: f64,
    ) -> bool {
        let Some(worst) = self.ended.last().filter(|_| self.ended.len() == self.room) else { return false };
        let reachable = match rule {
            EarlyStopping::WhenFull => return true,
            EarlyStopping::Never if penalty > 0.0 => max_length,
            EarlyStopping::Never | EarlyStopping::Heuristic => length,
        };
        // Written so that NaN (0 · ∞ under an extreme penalty) stops.
        let may_improve = penalised(best_live, reachable, penalty) > worst.score;
        !may_improve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(node: u32, score: f32) -> Ended {
        Ended { node, score, raw: score, finish: FinishReason::Stop, stop: None }
    }

    #[test]
    fn the_best_stay_and_equals_keep_their_order() {
        let mut pool = Pool::new(3);
        for (node, score) in [(1, -3.0), (2, -1.0), (3, -3.0), (4, -3.0), (5, -2.0), (6, -1.0), (7, -9.0)] {
            pool.add(ended(node, score));
        }
        let nodes: Vec<_> = pool.best().iter().map(|e| e.node).collect();
        assert_eq!(nodes, [2, 6, 5]);
    }

    #[test]
    fn each_rule_stops_where_it_should() {
        use EarlyStopping::*;
        let mut pool = Pool::new(2);
        pool.add(ended(1, -1.0));
        assert!(!pool.closes(WhenFull, -99.0, 1, 9, 1.0), "a pool with room never stops a search");
        pool.add(ended(2, -2.0));
        assert!(pool.closes(WhenFull, -0.1, 1, 9, 1.0));
        assert!(!pool.closes(Heuristic, -7.9, 4, 9, 1.0));
        assert!(pool.closes(Heuristic, -8.0, 4, 9, 1.0), "equal is no improvement");
        assert!(!pool.closes(Never, -8.0, 4, 9, 1.0), "a longer text could still win");
        assert!(pool.closes(Never, -2.0, 4, 9, 0.0));
        assert!(pool.closes(Never, -4.1, 2, 9, -0.0));
    }
}

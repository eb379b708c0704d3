//! The candidates of one beam: what its rules, its group and its row say.

use crate::candidates::{Candidate, best_tokens, keep_best, plain_candidates};
use crate::group::{Group, Scratch, Shared};
use crate::paths::Paths;
use crate::warp::Place;
use draftwood_base::Token;
use draftwood_logits::LogRow;

impl Group {
    /// Whether beam `i` reads only the tokens that its rules list; they are then in `scratch.listed`, with the ends.
    pub fn lists(&self, i: usize, shared: &Shared<'_>, scratch: &mut Scratch) -> bool {
        let (live, config) = (&self.live[i], shared.config);
        let plain = config.sampling.is_none() && config.diversity.is_none() && !shared.processed;
        let lists = plain
            && !live.states.change_values(shared.rules)
            && live.states.candidates(shared.rules, &mut scratch.listed);
        if lists {
            scratch.listed.extend_from_slice(&config.end_tokens);
        }
        lists
    }

    /// Whether rules change the values of the row of beam `i`.
    fn changes(&self, i: usize, shared: &Shared<'_>) -> bool {
        !shared.processed && self.live[i].states.change_values(shared.rules)
    }

    /// Whether the candidates of beam `i`, which lists none, are the best tokens of its row as it is.
    pub fn takes_best(&self, i: usize, shared: &Shared<'_>) -> bool {
        shared.config.sampling.is_none() && shared.config.diversity.is_none() && !self.changes(i, shared)
    }

    /// Appends to `found` enough candidates of beam `i`, row `first + i` of the step: no better one can be selected.
    pub fn gather(
        &mut self,
        i: usize,
        first: usize,
        row: &LogRow<'_>,
        shared: &Shared<'_>,
        paths: &Paths,
        scratch: &mut Scratch,
    ) {
        let (from, listed) = (self.found.len(), self.lists(i, shared, scratch));
        let live = &self.live[i];
        let must_copy = self.changes(i, shared);
        let mut copy = std::mem::take(&mut scratch.row);
        let (sampling, diversity) = (&shared.config.sampling, &shared.config.diversity);
        if !self.takes_best(i, shared) {
            copy.resize(row.values.len(), 0.0);
            row.write(&mut copy);
            if !shared.processed {
                live.states.apply(shared.rules, &mut copy, &shared.config.end_tokens);
            }
            shared.mask(&mut copy);
        }
        if sampling.is_some() {
            self.draw(i, first, &copy, shared, scratch);
        } else if let Some(diversity) = diversity {
            let mut augmented = std::mem::take(&mut scratch.augmented);
            augmented.clear();
            augmented.extend_from_slice(&copy);
            diversity.subtract(&mut augmented, paths, live.node, shared.chosen);
            self.best_augmented(i, first, &copy, &augmented, shared, scratch);
            scratch.augmented = augmented;
        } else if must_copy {
            scratch.tops[first + i].clear();
            self.best(i, first, &LogRow { values: &copy, lse: 0.0 }, true, shared, scratch);
        } else if listed {
            self.listed(i, first, row, shared, scratch);
        } else {
            self.best(i, first, row, shared.processed, shared, scratch);
        }
        scratch.row = copy;
        self.class(i, first, from, row, shared, scratch);
    }

    /// The best B tokens that go on, and all that end.
    fn best(
        &mut self,
        i: usize,
        first: usize,
        row: &LogRow<'_>,
        processed: bool,
        shared: &Shared<'_>,
        scratch: &mut Scratch,
    ) {
        let (live, rules, config) = (&self.live[i], shared.rules, shared.config);
        let index = (first + i) as u32;
        let ends = &config.end_tokens[..];
        let allows = |token: Token, is_end: bool| {
            !config.banned.contains(token)
                && !shared.forbids(token)
                && (processed || live.states.allow(rules, token, is_end))
        };
        let stopped = &mut scratch.stopped;
        stopped.clear();
        let goes_on = |token| {
            let fine = !ends.contains(&token) && allows(token, false);
            let stop = if fine { shared.stops(live, token) } else { None };
            stopped.extend(stop.map(|stop| (token, stop)));
            fine && stop.is_none()
        };
        let top = &mut scratch.tops[first + i];
        plain_candidates(row, index, live.sum, shared.need, goes_on, top, &mut self.found);
        for &(token, stop) in &scratch.stopped {
            let new = Candidate::plain(index, token, row.of(token), live.sum, true);
            self.found.push(Candidate { stop: Some(stop), ..new });
        }
        if shared.may_end() {
            for &token in ends.iter().filter(|&&token| allows(token, true)) {
                let step = row.of(token);
                if step > f32::NEG_INFINITY {
                    self.found.push(Candidate::plain(index, token, step, live.sum, true));
                }
            }
        }
    }

    /// As [`Group::best`], among the tokens that the rules list: the others are not looked at.
    fn listed(
        &mut self,
        i: usize,
        first: usize,
        row: &LogRow<'_>,
        shared: &Shared<'_>,
        scratch: &mut Scratch,
    ) {
        let (live, config) = (&self.live[i], shared.config);
        let ends = scratch.listed.len() - config.end_tokens.len();
        let from = self.found.len();
        for (at, &token) in scratch.listed.iter().enumerate() {
            let is_end = config.end_tokens.contains(&token);
            let step = row.of(token);
            // An end token that is listed comes again among the ends.
            let place = if is_end { at >= ends && shared.may_end() } else { true };
            if place
                && step > f32::NEG_INFINITY
                && !config.banned.contains(token)
                && !shared.forbids(token)
                && live.states.allow(shared.rules, token, is_end)
            {
                if at == ends {
                    keep_best(&mut self.found, from, shared.need);
                }
                let stop = if is_end { None } else { shared.stops(live, token) };
                let new =
                    Candidate::plain((first + i) as u32, token, step, live.sum, is_end || stop.is_some());
                self.found.push(Candidate { stop, ..new });
            }
        }
    }

    /// As [`Group::best`] by `augmented`, the log-probabilities with the penalties of the earlier groups.
    fn best_augmented(
        &mut self,
        i: usize,
        first: usize,
        raw: &[f32],
        augmented: &[f32],
        shared: &Shared<'_>,
        scratch: &mut Scratch,
    ) {
        let (live, ends) = (&self.live[i], &shared.config.end_tokens[..]);
        let found = &mut self.found;
        let stopped = &mut scratch.stopped;
        stopped.clear();
        scratch.seen.clear();
        let mut push = |token: Token, value: f32, is_end: bool, stop: Option<u32>| {
            let step = raw[token as usize];
            let mut new = Candidate::plain((first + i) as u32, token, step, live.raw, is_end);
            new.score = live.sum + value;
            new.rank = new.score;
            found.push(Candidate { stop, ..new });
        };
        best_tokens(
            augmented,
            shared.need,
            |value| live.sum + value,
            |token| {
                let stop = if ends.contains(&token) { None } else { shared.stops(live, token) };
                stopped.extend(stop.map(|stop| (token, stop)));
                !ends.contains(&token) && stop.is_none()
            },
            &mut scratch.seen,
            |token, value| push(token, value, false, None),
        );
        for &(token, stop) in &scratch.stopped {
            push(token, augmented[token as usize], true, Some(stop));
        }
        for &token in ends {
            if augmented.get(token as usize).is_some_and(|&x| x > f32::NEG_INFINITY) {
                push(token, augmented[token as usize], true, None);
            }
        }
    }

    fn draw(&mut self, i: usize, first: usize, row: &[f32], shared: &Shared<'_>, scratch: &mut Scratch) {
        let (live, config) = (&self.live[i], shared.config);
        let Some(sampling) = &config.sampling else { return };
        let place = Place {
            row: (first + i) as u32,
            sum: live.sum,
            key: live.key,
            position: shared.prompt + shared.length,
        };
        let counts = (config.kept(), config.drawn_per_beam());
        let ends = |token| config.end_tokens.contains(&token);
        let from = self.found.len();
        scratch.warper.draw(row, sampling, place, counts, ends, &mut self.found);
        for candidate in self.found[from..].iter_mut().filter(|candidate| !candidate.ends) {
            candidate.stop = shared.stops(live, candidate.token);
            candidate.ends = candidate.stop.is_some();
        }
    }

    /// Sets the progress of the candidates of beam `i`, and adds those that take it further.
    fn class(
        &mut self,
        i: usize,
        first: usize,
        from: usize,
        row: &LogRow<'_>,
        shared: &Shared<'_>,
        scratch: &mut Scratch,
    ) {
        let (live, rules, config) = (&self.live[i], shared.rules, shared.config);
        let own = live.states.progress(rules).is_some();
        if !own && shared.banked.is_empty() {
            return;
        }
        let index = (first + i) as u32;
        let start = shared.banked.partition_point(|one| one.row < index);
        let banked = &shared.banked[start..];
        let banked = &banked[..banked.partition_point(|one| one.row == index)];
        if config.sampling.is_none() && config.diversity.is_none() {
            let tokens = &mut scratch.listed;
            tokens.clear();
            live.states.advances(rules, tokens);
            tokens.extend(banked.iter().map(|one| one.token));
            tokens.sort_unstable();
            tokens.dedup();
            // After rules that change values the row stands in the scratch copy.
            let changed = !shared.processed && live.states.change_values(rules);
            for &token in &scratch.listed {
                let step = match changed {
                    true => scratch.row.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY),
                    false => row.of(token),
                };
                let known = self.found[from..].iter().any(|candidate| candidate.token == token);
                if !known
                    && step > f32::NEG_INFINITY
                    && !config.end_tokens.contains(&token)
                    && !config.banned.contains(token)
                    && (shared.processed || live.states.allow(rules, token, false))
                {
                    let stop = shared.stops(live, token);
                    let new = Candidate::plain(index, token, step, live.sum, stop.is_some());
                    self.found.push(Candidate { stop, ..new });
                }
            }
        }
        for candidate in &mut self.found[from..] {
            if own {
                let child = live.states.child(rules, candidate.token);
                candidate.class = child.progress(rules).unwrap_or(0);
                candidate.complete = child.done(rules);
            }
            if let Ok(at) = banked.binary_search_by_key(&candidate.token, |one| one.token) {
                candidate.class = candidate.class.saturating_add(banked[at].progress);
                candidate.complete &= banked[at].done;
            }
        }
    }
}

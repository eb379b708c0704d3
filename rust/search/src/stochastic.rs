//! Beams that are drawn: sequences without replacement, with their importance weights.

use crate::config::BeamConfig;
use crate::group::{Shared, Survivor, Task};
use crate::paths::{Fate, Hypothesis, LatticeNode, Paths, ROOT};
use crate::pool::{Ended, FinishReason, penalised};
use crate::row::Rows;
use crate::warp::child_key;
use draftwood_base::noise::{Address, Purpose, gumbel};
use draftwood_base::{Error, Result, Token};
use draftwood_logits::{AnyProcessor, States, log_sum_exp};
use draftwood_sample::{Draw, Params, Sampler};

/// What is drawn without replacement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Drawn {
    /// Whole sequences.
    Sequences,
    /// First tokens; each is continued by itself, greedily or by draws with these parameters.
    FirstTokens(Params),
}

/// A text of this search: its log-probability and its Gumbel, which ranks it.
struct Text {
    node: u32,
    log_p: f64,
    perturbed: f64,
    /// Log-probability of what was drawn, which the weight is about.
    drawn: f64,
    key: u32,
    states: States,
    finish: Option<FinishReason>,
}

struct Candidate {
    row: usize,
    token: Token,
    step: f64,
    perturbed: f64,
}

/// Stochastic beam search: the texts with the k largest log-probabilities + Gumbel noise are a sample without
/// replacement of k sequences. One more text is kept, for its perturbed log-probability is the threshold of the weights.
/// Rows are renormalised after the rules, so that the law is that of the allowed texts.
///
/// Source: Kool, van Hoof, Welling, "Stochastic beams and where to find them" (2019), arXiv 1903.06059.
pub struct StochasticSearch {
    task: Task,
    drawn: Drawn,
    seed: u64,
    live: Vec<Text>,
    ended: Vec<Text>,
    paths: Paths,
    vocab: Option<usize>,
    survivors: Vec<Survivor>,
    /// The (k + 1)-th perturbed log-probability, once it is known.
    threshold: f64,
    sampler: Sampler,
    row: Vec<f32>,
    /// The best prefix, for a search that dead-ends.
    prefix: Option<(u32, f64, u32)>,
}

impl StochasticSearch {
    /// A search of `config.num_beams` texts.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a value out of range, several groups, or beam-sampling.
    pub fn new(
        mut config: BeamConfig,
        prompt: &[Token],
        rules: Vec<AnyProcessor>,
        drawn: Drawn,
        seed: u64,
    ) -> Result<Self> {
        config.validate()?;
        if let Drawn::FirstTokens(params) = &drawn {
            params.validate()?;
        }
        if config.num_groups > 1 || config.sampling.is_some() || config.stops.is_some() {
            let hint = "stochastic beams are drawn by themselves";
            return Err(Error::invalid(
                "a stochastic search",
                "one group, without do_sample and stop strings",
                "another",
                hint,
            ));
        }
        config.end_tokens.sort_unstable();
        config.end_tokens.dedup();
        let states = States::init(&rules, prompt);
        let task = Task { config, rules, length: 0, prompt: prompt.len() as u32 };
        let root = Address { seed, purpose: Purpose::TokenDraw, slot: 1, sample: 0, position: task.prompt };
        let perturbed = f64::from(gumbel(root.word(0)));
        Ok(Self {
            live: vec![Text { node: ROOT, log_p: 0.0, perturbed, drawn: 0.0, key: 0, states, finish: None }],
            task,
            drawn,
            seed,
            ended: Vec::new(),
            paths: Paths::with_room(256),
            vocab: None,
            survivors: Vec::new(),
            threshold: f64::NEG_INFINITY,
            sampler: Sampler::default(),
            row: Vec::new(),
            prefix: None,
        })
    }

    /// Takes one step, as [`crate::BeamSearch::step`]; survivors are ordered by their perturbed log-probability.
    ///
    /// # Errors
    /// As [`crate::BeamSearch::step`].
    pub fn step(&mut self, rows: &Rows<'_>) -> Result<&[Survivor]> {
        self.check(rows)?;
        self.vocab = Some(rows.vocab());
        let first = self.task.length == 0;
        let length = self.task.length + 1;
        let last = length == self.task.config.max_new_tokens;
        let mut found = Vec::new();
        for i in 0..self.live.len() {
            let row = rows.row(i)?;
            let mut copy = std::mem::take(&mut self.row);
            copy.resize(rows.vocab(), 0.0);
            row.write(&mut copy);
            if !rows.are_processed() {
                self.rules_on(i, &mut copy);
            }
            match self.drawn {
                Drawn::FirstTokens(params) if !first => self.continue_one(i, &copy, &params, &mut found),
                _ => self.draw(i, &copy, &mut found),
            }
            self.row = copy;
        }
        AnyProcessor::check(&self.task.rules)?;
        self.survivors.clear();
        let best = self.live.iter().max_by(|a, b| a.log_p.total_cmp(&b.log_p));
        self.prefix = best.map(|text| (text.node, text.log_p, self.task.length));
        let before = std::mem::take(&mut self.live);
        found.sort_by(|a, b| {
            b.perturbed.total_cmp(&a.perturbed).then((a.row, a.token).cmp(&(b.row, b.token)))
        });
        let mut texts = std::mem::take(&mut self.ended);
        for candidate in &found {
            let parent = &before[candidate.row];
            let ends = self.task.config.end_tokens.contains(&candidate.token);
            let (row, token) = (candidate.row as u32, candidate.token);
            let states = parent.states.child(&self.task.rules, token);
            let complete = !last || ends || states.done(&self.task.rules);
            if !complete {
                continue;
            }
            let log_p = parent.log_p + candidate.step;
            texts.push(Text {
                node: self.paths.push(LatticeNode {
                    parent: parent.node,
                    token,
                    row,
                    group: 0,
                    step: candidate.step as f32,
                    fate: Fate::Dropped,
                }),
                log_p,
                perturbed: candidate.perturbed,
                drawn: if first || self.drawn == Drawn::Sequences { log_p } else { parent.drawn },
                key: child_key(self.seed, parent.key, token),
                states,
                finish: match (ends, last) {
                    (true, _) => Some(FinishReason::Stop),
                    (false, true) => Some(FinishReason::Length),
                    (false, false) => None,
                },
            });
            let Some(Text { finish: None, .. }) = texts.last() else { continue };
            self.survivors.push(Survivor { row, token, score: candidate.perturbed as f32 });
        }
        self.task.length = length;
        self.keep(texts, first);
        Ok(&self.survivors)
    }

    /// Keeps the k + 1 best texts; those that go on must be survivors and the others not.
    fn keep(&mut self, mut texts: Vec<Text>, first: bool) {
        let width = self.task.config.num_beams as usize;
        texts.sort_by(|a, b| b.perturbed.total_cmp(&a.perturbed).then(a.node.cmp(&b.node)));
        if self.drawn == Drawn::Sequences {
            texts.truncate(width + 1);
            self.threshold = texts.get(width).map_or(f64::NEG_INFINITY, |text| text.perturbed);
        } else if first {
            self.threshold = texts.get(width).map_or(f64::NEG_INFINITY, |text| text.perturbed);
            texts.truncate(width);
        }
        for text in &texts {
            let fate = if text.finish.is_some() { Fate::Ended } else { Fate::Lived };
            self.paths.set_fate(text.node, fate);
        }
        let (ended, live) = texts.into_iter().partition(|text: &Text| text.finish.is_some());
        (self.ended, self.live) = (ended, live);
        // Both are in the order of the perturbed log-probabilities, so that the first ones are those that stayed.
        self.survivors.truncate(self.live.len());
    }

    /// Gumbel noise for every token, given that the largest is the parent's own.
    fn draw(&mut self, i: usize, row: &[f32], found: &mut Vec<Candidate>) {
        let text = &self.live[i];
        let lse = log_sum_exp(row);
        if !lse.is_finite() {
            return;
        }
        let address = self.address(text.key);
        let (mut quad, mut words) = (u32::MAX, [0; 4]);
        let from = found.len();
        let mut most = f64::NEG_INFINITY;
        for (token, &value) in row.iter().enumerate().filter(|(_, value)| **value > f32::NEG_INFINITY) {
            let token = token as Token;
            if token / 4 != quad {
                quad = token / 4;
                words = address.words(quad);
            }
            let step = f64::from(value) - lse;
            let perturbed = text.log_p + step + f64::from(gumbel(words[token as usize % 4]));
            most = most.max(perturbed);
            found.push(Candidate { row: i, token, step, perturbed });
        }
        for candidate in &mut found[from..] {
            candidate.perturbed = conditioned(candidate.perturbed, most, text.perturbed);
        }
        let need = self.task.config.num_beams as usize + 1;
        if found.len() - from > need {
            found[from..].select_nth_unstable_by(need, |a, b| b.perturbed.total_cmp(&a.perturbed));
            found.truncate(from + need);
        }
    }

    /// A text whose first token was drawn goes on alone.
    fn continue_one(&mut self, i: usize, row: &[f32], params: &Params, found: &mut Vec<Candidate>) {
        let text = &self.live[i];
        let position = self.task.prompt + self.task.length;
        let draw = Draw { seed: self.seed, sample: text.key, position, slot: 0 };
        if let Ok(choice) = self.sampler.choose(row, params, &draw) {
            let step = f64::from(row[choice.token as usize]) - log_sum_exp(row);
            found.push(Candidate { row: i, token: choice.token, step, perturbed: text.perturbed });
        }
    }

    fn address(&self, key: u32) -> Address {
        let position = self.task.prompt + self.task.length;
        Address { seed: self.seed, purpose: Purpose::TokenDraw, slot: 0, sample: key, position }
    }

    fn rules_on(&self, i: usize, row: &mut [f32]) {
        let task = &self.task;
        self.live[i].states.apply(&task.rules, row, &task.config.end_tokens);
        Shared::of(task, false).mask(row);
    }

    /// As [`crate::BeamSearch::write_rows`].
    ///
    /// # Errors
    /// As [`crate::BeamSearch::write_rows`].
    pub fn write_rows(&mut self, rows: &Rows<'_>, out: &mut [f32]) -> Result<()> {
        self.check(rows)?;
        let vocab = rows.vocab();
        if out.len() != rows.len() * vocab {
            return Err(Error::invalid("out", format!("{} values", rows.len() * vocab), out.len(), ""));
        }
        for (i, out) in out.chunks_exact_mut(vocab).enumerate() {
            rows.row(i)?.write(out);
            self.rules_on(i, out);
        }
        Ok(())
    }

    /// Number of live beams.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Whether the search has ended.
    pub fn is_done(&self) -> bool {
        self.live.is_empty()
    }

    /// As [`crate::BeamSearch::lattice`].
    pub fn lattice(&self) -> Vec<LatticeNode> {
        self.paths.lattice()
    }

    /// The texts in the order in which they were drawn. `score` is the log-probability under the length penalty, not
    /// what ranks them.
    pub fn hypotheses(&self) -> Vec<Hypothesis> {
        let config = &self.task.config;
        let texts = self.ended.iter().take(config.num_beams.min(config.num_return) as usize);
        let mut found: Vec<Hypothesis> = texts
            .map(|text| {
                let finish = text.finish.unwrap_or(FinishReason::Length);
                let hypothesis = self.hypothesis(text.node, text.log_p, finish);
                let inclusion = -(-(text.drawn - self.threshold).exp()).exp_m1();
                Hypothesis { log_weight: Some(text.drawn - inclusion.ln()), ..hypothesis }
            })
            .collect();
        if let (true, true, Some((node, log_p, _))) = (found.is_empty(), self.is_done(), self.prefix) {
            found.push(self.hypothesis(node, log_p, FinishReason::Constraint));
        }
        found
    }

    fn hypothesis(&self, node: u32, log_p: f64, finish: FinishReason) -> Hypothesis {
        let length = self.paths.tokens_upwards(node).count() as u32;
        let score = penalised(log_p as f32, length, self.task.config.length_penalty);
        self.paths.hypothesis(&Ended { node, score, raw: score, finish, stop: None })
    }

    fn check(&self, rows: &Rows<'_>) -> Result<()> {
        if self.is_done() {
            return Err(Error::invalid("a search", "live", "one that has ended", ""));
        }
        if rows.len() != self.live.len() {
            let expected = format!("{}: one per live beam", self.live.len());
            return Err(Error::invalid("the number of rows", expected, rows.len(), ""));
        }
        if let Some(vocab) = self.vocab.filter(|&vocab| vocab != rows.vocab()) {
            let expected = format!("{vocab}, as in the steps before");
            return Err(Error::invalid("the vocabulary size", expected, rows.vocab(), ""));
        }
        for i in 0..rows.len() {
            rows.row(i)?;
        }
        Ok(())
    }
}

/// A Gumbel `g` of a family whose largest is `most`, given that the largest is `parent`.
fn conditioned(g: f64, most: f64, parent: f64) -> f64 {
    if g == most {
        return parent;
    }
    let t = parent - g + (-(g - most).exp()).ln_1p();
    parent - t.max(0.0) - (-t.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditioning_keeps_order_and_sets_the_largest() {
        let family = [-3.0, 0.5, 0.4, -1.0, 0.5 - 1e-9];
        let moved: Vec<f64> = family.iter().map(|&g| conditioned(g, 0.5, -2.0)).collect();
        assert_eq!(moved[1], -2.0);
        for i in 0..5 {
            let direct = -((2.0f64).exp() - (-0.5f64).exp() + (-family[i]).exp()).ln();
            assert!((moved[i] - direct).abs() < 1e-6);
            for j in 0..5 {
                assert_eq!(family[i] < family[j], moved[i] < moved[j]);
            }
        }
    }
}

//! Several drafts from one forward per step: its row holds a mixture of the drafts' last tokens (Superposed Decoding).

use crate::corpus_search::Onward;
use crate::index::{Group, Rows};
use crate::log_rows::BeamRows;
use draftwood_base::{Error, Result, Token};
use draftwood_logits::top_k;

/// Shortest n-grams that are counted: pairs.
const FIRST_ORDER: usize = 2;
/// Longest n-grams that are counted.
pub const MAX_ORDER: usize = 16;
/// What a draft pays, in nats, for continuations of which the corpus knows none.
const UNKNOWN: f64 = -200.0;

/// How a [`Superposed`] search chooses.
#[derive(Debug, Clone, PartialEq)]
pub struct SuperposedConfig {
    /// k: drafts.
    pub drafts: usize,
    /// Most tokens of a draft.
    pub length: usize,
    /// m: the likeliest tokens of a step, the only ones that drafts may take.
    pub tokens: usize,
    /// τ: logits are divided by it.
    pub temperature: f64,
    /// α: weight of the corpus; 0 does not ask it.
    pub alpha: f64,
    /// Weights of pairs, triples …
    pub orders: Vec<f64>,
    /// Tokens that end a draft.
    pub ends: Vec<Token>,
    /// Tokens that are never chosen.
    pub banned: Vec<Token>,
}

impl SuperposedConfig {
    fn check(&self, has_index: bool) -> Result<()> {
        for (what, value) in [("drafts", self.drafts), ("length", self.length), ("top_k", self.tokens)] {
            if value == 0 {
                return Err(Error::invalid(what, "at least 1", 0, ""));
            }
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(Error::invalid("temperature", "above 0", self.temperature, "0.06 is the paper's"));
        }
        if !(0.0..1.0).contains(&self.alpha) || (self.alpha > 0.0 && !has_index) {
            let expected = if has_index { "from 0 to below 1" } else { "0 without an index" };
            return Err(Error::invalid("alpha", expected, self.alpha, ""));
        }
        let are_weights = self.orders.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
        if !are_weights || self.orders.len() > MAX_ORDER - FIRST_ORDER + 1 {
            let most = MAX_ORDER - FIRST_ORDER + 1;
            let expected = format!("at most {most} finite weights of 0 or more");
            return Err(Error::invalid("order_weights", expected, format!("{:?}", self.orders), ""));
        }
        if self.alpha > 0.0 && self.orders.iter().all(|&weight| weight == 0.0) {
            return Err(Error::invalid("order_weights", "above 0 for some order", "none", "or set alpha=0"));
        }
        Ok(())
    }
}

/// A draft, finished or cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Its tokens, the end token included.
    pub ids: Vec<Token>,
    /// The score that each token added.
    pub steps: Vec<f64>,
    /// The draft of the step before that each token continued.
    pub parents: Vec<u32>,
    /// Sum of `steps`.
    pub score: f64,
    /// Whether an end token ended it.
    pub is_finished: bool,
}

/// The search of one prompt. Each step is fed **one** row, whatever the number of drafts.
///
/// # Equations
/// With l the logits of the row and T its m largest: p(v) = exp(l_v / τ) / Σ_T exp(l_u / τ). Draft i, with w_n the
/// weights of orders n and c the counts of the corpus behind the last n − 1 tokens of prompt and draft:
/// q_i(v) = Σ_n w_n · c(v) / c; s_i(v) = (1 − α) · ln p(v) + α · ln q_i(v), −∞ for q_i(v) = 0; if that is so for all of T,
/// s_i(v) = (1 − α) · ln p(v) − 200. The k best sums over all drafts go on. The next row is Σ_i γ_i · E[v_i],
/// γ = softmax of the sums.
#[derive(Debug)]
pub struct Superposed {
    config: SuperposedConfig,
    drafts: Vec<Live>,
    finished: Vec<Draft>,
    is_done: bool,
    depth: usize,
    row: Vec<f32>,
    top: Vec<(Token, f32)>,
}

#[derive(Debug, Clone)]
struct Live {
    draft: Draft,
    /// Where its last 0, 1, … tokens stand, in each part of the index.
    suffixes: Vec<Vec<Rows>>,
}

impl Superposed {
    /// A search that has read nothing, behind the tokens of `prompt`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a configuration without meaning; as [`Group::find`].
    pub fn new(index: Option<&Group>, prompt: &[Token], config: SuperposedConfig) -> Result<Self> {
        config.check(index.is_some())?;
        let longest = config.orders.len().min(prompt.len());
        let suffixes = match index {
            Some(index) if config.alpha > 0.0 => (0..=longest)
                .map(|length| {
                    let mut rows = Vec::new();
                    index.find(&prompt[prompt.len() - length..], false, &mut rows)?;
                    Ok(rows)
                })
                .collect::<Result<_>>()?,
            _ => Vec::new(),
        };
        let draft =
            Draft { ids: Vec::new(), steps: Vec::new(), parents: Vec::new(), score: 0.0, is_finished: false };
        Ok(Self {
            config,
            drafts: vec![Live { draft, suffixes }],
            finished: Vec::new(),
            is_done: false,
            depth: 0,
            row: Vec::new(),
            top: Vec::new(),
        })
    }

    /// Whether the search has ended: k drafts have finished, or none can go on.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Reads the row of the mixture. What goes on is told as one text, whose token is that of the best draft; none after
    /// the last step.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a row with NaN or +∞, or another number of rows than one; as [`Group::count`].
    /// The search is then as it was.
    pub fn step(&mut self, index: Option<&Group>, rows: BeamRows<'_>) -> Result<Option<Onward>> {
        rows.check(1)?;
        // A softmax does not care whether its row has been normalised already.
        let values = BeamRows { are_logits: false, ..rows }.row(0)?.values;
        self.choose(values);
        let mut candidates = Vec::new();
        for (i, live) in self.drafts.iter().enumerate() {
            for (j, added) in self.added(index, live)?.into_iter().enumerate() {
                if added > f64::NEG_INFINITY {
                    candidates.push((live.draft.score + added, i, j, added));
                }
            }
        }
        // Of equals the lower draft, then the lower token.
        candidates.sort_by(|a, b| {
            b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(self.top[a.2].0.cmp(&self.top[b.2].0))
        });
        let (mut drafts, mut finished) = (Vec::new(), Vec::new());
        for (rank, &(score, i, j, added)) in candidates.iter().enumerate() {
            if drafts.len() == self.config.drafts {
                break;
            }
            let token = self.top[j].0;
            let ends = self.config.ends.contains(&token);
            // As in a beam search: an end counts if it is among the first k.
            if ends && rank >= self.config.drafts {
                continue;
            }
            let draft = self.drafts[i].draft.continued(i, token, score, added, ends);
            if ends {
                finished.push(draft);
            } else {
                drafts.push(Live { draft, suffixes: self.suffixes(index, i, token)? });
            }
        }
        self.finish(drafts, finished);
        let goes_on = (!self.is_done).then(|| self.drafts[0].draft.last());
        Ok(goes_on.map(|(token, score)| Onward { beam: 0, token, score: score as f32 }))
    }

    /// The m largest logits among the tokens that may be chosen.
    fn choose(&mut self, values: &[f32]) {
        self.row.clear();
        self.row.extend_from_slice(values);
        for &token in &self.config.banned {
            if let Some(value) = self.row.get_mut(token as usize) {
                *value = f32::NEG_INFINITY;
            }
        }
        self.top.clear();
        top_k(&self.row, self.config.tokens.min(self.row.len()), &mut self.top);
        self.top.retain(|&(_, value)| value > f32::NEG_INFINITY);
    }

    /// s(v) of a draft for each of the chosen tokens.
    fn added(&self, index: Option<&Group>, live: &Live) -> Result<Vec<f64>> {
        let Some(&(_, largest)) = self.top.first() else {
            return Ok(Vec::new());
        };
        let scaled = |value: f32| (f64::from(value) - f64::from(largest)) / self.config.temperature;
        let lse = self.top.iter().map(|&(_, value)| scaled(value).exp()).sum::<f64>().ln();
        let mut scores: Vec<f64> = self.top.iter().map(|&(_, value)| scaled(value) - lse).collect();
        let alpha = self.config.alpha;
        let Some(index) = index.filter(|_| alpha > 0.0) else {
            return Ok(scores);
        };
        let known = self.corpus(index, live)?;
        let is_unknown = known.iter().all(|&share| share == 0.0);
        for (score, share) in scores.iter_mut().zip(known) {
            *score *= 1.0 - alpha;
            *score += if is_unknown { UNKNOWN } else { alpha * share.ln() };
        }
        Ok(scores)
    }

    /// q(v) of a draft for each of the chosen tokens.
    fn corpus(&self, index: &Group, live: &Live) -> Result<Vec<f64>> {
        let ids: Vec<Token> = self.top.iter().map(|&(token, _)| token).collect();
        let mut shares = vec![0.0; ids.len()];
        let (mut counts, mut children) = (vec![0u64; ids.len()], Vec::new());
        for (weight, context) in self.config.orders.iter().zip(live.suffixes.iter().skip(1)) {
            let times: u64 = context.iter().map(|rows| u64::from(rows.count())).sum();
            if times == 0 {
                break; // longer contexts occur even less
            }
            counts.fill(0);
            for (part, &rows) in index.parts().iter().zip(context) {
                children.clear();
                part.children(rows, &ids, &mut children)?;
                counts.iter_mut().zip(&children).for_each(|(n, rows)| *n += u64::from(rows.count()));
            }
            for (share, &n) in shares.iter_mut().zip(&counts) {
                *share += weight * n as f64 / times as f64;
            }
        }
        Ok(shares)
    }

    /// Where the last tokens of draft `i` and `token` stand.
    fn suffixes(&self, index: Option<&Group>, i: usize, token: Token) -> Result<Vec<Vec<Rows>>> {
        let before = &self.drafts[i].suffixes;
        let (Some(index), Some(all)) = (index, before.first()) else {
            return Ok(Vec::new());
        };
        let mut suffixes = vec![all.clone()];
        for context in before.iter().take(self.config.orders.len()) {
            let longer = index.parts().iter().zip(context).map(|(part, &rows)| part.extend(rows, token));
            suffixes.push(longer.collect::<Result<_>>()?);
        }
        Ok(suffixes)
    }

    /// Takes the outcome of a step.
    fn finish(&mut self, drafts: Vec<Live>, finished: Vec<Draft>) {
        self.depth += 1;
        self.finished.extend(finished);
        let best_first = |a: &Draft, b: &Draft| b.score.total_cmp(&a.score);
        self.finished.sort_by(best_first);
        self.finished.truncate(self.config.drafts);
        let is_full = self.finished.len() == self.config.drafts;
        self.is_done = is_full || drafts.is_empty() || self.depth == self.config.length;
        self.drafts = if is_full { Vec::new() } else { drafts };
    }

    /// What the next row holds: tokens, each once, and their weights, which sum to 1.
    pub fn mixture(&self) -> Vec<(Token, f32)> {
        let best = self.drafts.iter().map(|live| live.draft.score).fold(f64::NEG_INFINITY, f64::max);
        let mut parts: Vec<(Token, f64)> = Vec::new();
        for live in &self.drafts {
            let Some(&token) = live.draft.ids.last() else {
                return Vec::new();
            };
            let weight = (live.draft.score - best).exp();
            match parts.iter_mut().find(|part| part.0 == token) {
                Some(part) => part.1 += weight,
                None => parts.push((token, weight)),
            }
        }
        let sum: f64 = parts.iter().map(|part| part.1).sum();
        parts.into_iter().map(|(token, weight)| (token, (weight / sum) as f32)).collect()
    }

    /// The drafts, best first, at most k: those that have finished, and those that the last step cut.
    pub fn drafts(&self) -> Vec<Draft> {
        let cut = self.drafts.iter().map(|live| live.draft.clone()).filter(|draft| !draft.ids.is_empty());
        let mut all: Vec<Draft> = self.finished.iter().cloned().chain(cut).collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all.truncate(self.config.drafts);
        all
    }
}

impl Draft {
    fn continued(&self, parent: usize, token: Token, score: f64, added: f64, ends: bool) -> Self {
        let mut longer = Self { score, is_finished: ends, ..self.clone() };
        longer.ids.push(token);
        longer.steps.push(added);
        longer.parents.push(parent as u32);
        longer
    }

    /// The last token and the score.
    fn last(&self) -> (Token, f64) {
        (self.ids.last().copied().unwrap_or_default(), self.score)
    }
}

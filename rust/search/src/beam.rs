//! One search: groups of live beams, finished hypotheses, and the step from one to the next.

use crate::candidates::first_look;
use crate::config::BeamConfig;
use crate::group::{Banked, Group, Live, Scratch, Shared, Survivor, Task};
use crate::paths::{Hypothesis, LatticeNode, Paths};
use crate::retrace::{ACTIONS_PER_TOKEN, Texts};
use crate::row::Rows;
use crate::stops::Stops;
use draftwood_base::{Error, Result, Token};
use draftwood_logits::{AnyProcessor, States};

/// Most tokens that room is made for beforehand, 1.5 MiB.
const MOST_ROOM: usize = 1 << 16;

/// A candidate that a step looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// The row of its beam, counted over the live beams of the step.
    pub row: u32,
    /// Its token.
    pub token: Token,
    /// Its accumulated score.
    pub score: f32,
}

/// Beam search over one prompt, with the semantics of transformers' `num_beams`.
///
/// Candidates of a step are the best B continuations that do not end, which live on, and those ending ones that rank
/// among the first B of all, which join a pool of the B best hypotheses. At the last step the first B of all join it.
///
/// With several groups, each is such a search of B / G beams that pays for what the groups before it chose in the step.
pub struct BeamSearch {
    task: Task,
    groups: Vec<Group>,
    /// With backspace.
    texts: Option<Box<Texts>>,
    paths: Paths,
    vocab: Option<usize>,
    survivors: Vec<Survivor>,
    /// Beams that the groups have chosen in this step.
    chosen: Vec<u32>,
    /// Log-sum-exp of each row.
    lse: Vec<f64>,
    scratch: Scratch,
    kept: Vec<Vec<Kept>>,
    /// Between the halves of a conditional step.
    extended: bool,
}

impl BeamSearch {
    /// A search that has one live beam per group, the prompt.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a value out of range.
    pub fn new(mut config: BeamConfig, prompt: &[Token], rules: Vec<AnyProcessor>) -> Result<Self> {
        config.validate()?;
        // Each end is one candidate, however often it is named.
        config.end_tokens.sort_unstable();
        config.end_tokens.dedup();
        if config.num_groups == 1 {
            config.diversity = None;
        }
        // A step adds at most B tokens that go on and B that end.
        let nodes = 2 * config.num_beams as usize * config.max_new_tokens as usize;
        let states = States::init(&rules, prompt);
        if let Some(token) = config.backspace
            && states.progress(&rules).is_some()
        {
            let what = "backspace_token_id with phrases that must occur";
            return Err(Error::invalid(what, "None", token, "what has occurred could be taken back"));
        }
        let groups: Vec<Group> = (0..config.num_groups)
            .map(|g| Group::new(g, config.width(), states.clone(), config.stops.as_ref().map(Stops::start)))
            .collect();
        Ok(Self {
            texts: config.backspace.map(|token| Box::new(Texts::new(token, &groups[0].live[0]))),
            groups,
            task: Task { config, rules, length: 0, prompt: prompt.len() as u32 },
            paths: Paths::with_room(nodes.min(MOST_ROOM)),
            vocab: None,
            survivors: Vec::new(),
            chosen: Vec::new(),
            lse: Vec::new(),
            scratch: Scratch::default(),
            kept: Vec::new(),
            extended: false,
        })
    }

    /// Takes one step, from one row per live beam, in their order: group by group, best first. The survivors, in this
    /// order too, are the live beams of the next step; there are none once the search is done. After an error nothing
    /// has changed.
    ///
    /// Cost: each row comes from memory once, for two passes (maximum and candidates, sum of exponentials); a copy of a row only for rules that
    /// change values, for draws and for groups. Log-probabilities of which a rule lists the allowed tokens are read only
    /// there.
    ///
    /// Source: Lowerre, "The HARPY speech recognition system" (1976); pool and stop test of transformers.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for another number of rows than beams, another V than before, NaN or +inf.
    pub fn step(&mut self, rows: &Rows<'_>) -> Result<&[Survivor]> {
        self.step_banked(rows, &mut [])
    }

    /// [`BeamSearch::step`] with what rules outside of this crate say of the progress of possible continuations; each is
    /// a candidate, however improbable. Others count as without progress and complete.
    ///
    /// # Errors
    /// As [`BeamSearch::step`].
    pub fn step_banked(&mut self, rows: &Rows<'_>, banked: &mut [Banked]) -> Result<&[Survivor]> {
        let need = self.task.config.need();
        self.check(rows, need)?;
        banked.sort_unstable();
        self.start_step();
        let mut first = 0;
        for g in 0..self.groups.len() {
            let live = self.groups[g].live.len();
            if live > 0 {
                self.gather(g, first, rows, banked, need)?;
                self.select(g, first);
            }
            first += if self.task.length == 0 { 0 } else { live };
        }
        self.finish_step(rows.vocab());
        Ok(&self.survivors)
    }

    /// [`BeamSearch::step`] where the rows of some beams are not known ([`Rows::UNKNOWN`]). If they cannot matter, since
    /// such a beam's sum, which its continuations never exceed, is below that of B others which go on, the step is taken;
    /// else nothing has changed and there is no answer.
    ///
    /// # Errors
    /// As [`BeamSearch::step`].
    pub fn step_known(&mut self, rows: &Rows<'_>) -> Result<Option<&[Survivor]>> {
        if !(0..rows.len()).any(|i| rows.is_unknown(i)) {
            return self.step(rows).map(Some);
        }
        let config = &self.task.config;
        let is_plain = config.num_groups == 1 && config.sampling.is_none() && !config.keep_candidates;
        // With progress classes a low sum may be chosen.
        let has_classes =
            self.groups[0].live.iter().any(|live| live.states.progress(&self.task.rules).is_some());
        if !is_plain || has_classes || (0..rows.len()).all(|i| rows.is_unknown(i)) {
            return Ok(None);
        }
        let need = self.task.config.need();
        self.check(rows, need)?;
        self.gather(0, 0, rows, &[], need)?;
        let group = &self.groups[0];
        let width = self.task.config.width();
        let bar = group.found.iter().filter(|candidate| !candidate.ends).nth(width - 1);
        let is_below = |i: usize| bar.is_some_and(|bar| group.live[i].sum < bar.score);
        if !(0..rows.len()).all(|i| !rows.is_unknown(i) || is_below(i)) {
            return Ok(None);
        }
        self.start_step();
        self.select(0, 0);
        self.finish_step(rows.vocab());
        Ok(Some(&self.survivors))
    }

    fn start_step(&mut self) {
        self.survivors.clear();
        self.chosen.clear();
        if self.task.config.keep_candidates {
            self.kept.push(Vec::new());
        }
    }

    fn finish_step(&mut self, vocab: usize) {
        self.vocab = Some(vocab);
        self.task.length += 1;
    }

    /// # Errors
    /// What has failed while rules were asked.
    fn gather(
        &mut self,
        g: usize,
        first: usize,
        rows: &Rows<'_>,
        banked: &[Banked],
        need: usize,
    ) -> Result<()> {
        let shared =
            Shared { banked, chosen: &self.chosen, need, ..Shared::of(&self.task, rows.are_processed()) };
        let group = &mut self.groups[g];
        group.found.clear();
        for i in (0..group.live.len()).filter(|&i| !rows.is_unknown(first + i)) {
            let shared = Shared { length: group.live[i].length, ..shared };
            let row = rows.known(first + i, self.lse[first + i]);
            group.gather(i, first, &row, &shared, &self.paths, &mut self.scratch);
        }
        group.order(&self.task.config, &mut self.scratch);
        AnyProcessor::check(&self.task.rules)
    }

    fn select(&mut self, g: usize, first: usize) {
        if let (true, Some(kept)) = (self.task.config.keep_candidates, self.kept.last_mut()) {
            let best = self.groups[g].found.iter().take(self.task.config.kept());
            kept.extend(best.map(|c| Kept { row: c.row, token: c.token, score: c.score }));
        }
        let shared = Shared::of(&self.task, false);
        let group = &mut self.groups[g];
        if let Some(texts) = &mut self.texts {
            let spent =
                self.task.length + 1 >= ACTIONS_PER_TOKEN.saturating_mul(shared.config.max_new_tokens);
            return group.select_back(&shared, spent, texts, &mut self.paths, &mut self.survivors);
        }
        group.select(first, &shared, &mut self.paths, &mut self.survivors, &mut self.chosen);
    }

    /// The first half of a conditional step: each beam's best `most` continuations that do not end, and its ends, best
    /// first, as (candidate, whether it would end its text). [`BeamSearch::choose`] is the second half.
    ///
    /// # Errors
    /// As [`BeamSearch::step`]; [`Error::InvalidArgument`] with several groups or when drawing.
    pub fn extend(
        &mut self,
        rows: &Rows<'_>,
        banked: &mut [Banked],
        most: usize,
    ) -> Result<Vec<(Kept, bool)>> {
        let config = &self.task.config;
        if config.num_groups > 1 || config.sampling.is_some() || config.backspace.is_some() {
            return Err(Error::invalid(
                "a search with a scorer",
                "one group, without do_sample or backspace_token_id",
                "another",
                "",
            ));
        }
        self.check(rows, most)?;
        banked.sort_unstable();
        self.extended = true;
        self.vocab = Some(rows.vocab());
        self.gather(0, 0, rows, banked, most)?;
        let last = self.task.length + 1 == self.task.config.max_new_tokens;
        let found = self.groups[0].found.iter();
        Ok(found.map(|c| (Kept { row: c.row, token: c.token, score: c.score }, c.ends || last)).collect())
    }

    /// The second half of a conditional step: candidate i is ranked by its score + `bonus[i]`, and is no hypothesis
    /// unless `accepts[i]`. Scores and the pool know log-probabilities alone.
    ///
    /// Source: Yoshida, "Making the most of your model" (2024), arXiv 2408.16241.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] unless there is one finite or −inf bonus and one verdict per candidate.
    pub fn choose(&mut self, bonus: &[f32], accepts: &[bool]) -> Result<&[Survivor]> {
        let found = self.groups[0].found.len();
        if !std::mem::take(&mut self.extended) {
            return Err(Error::Internal("choose() must follow extend()".into()));
        }
        if (bonus.len(), accepts.len()) != (found, found) {
            let got = format!("{} and {}", bonus.len(), accepts.len());
            return Err(Error::invalid("the scorer's values", format!("{found} and {found}"), got, ""));
        }
        if let Some(at) = bonus.iter().position(|x| x.is_nan() || *x == f32::INFINITY) {
            return Err(Error::invalid("the scorer's log-probabilities", "finite or -inf", bonus[at], ""));
        }
        self.start_step();
        let group = &mut self.groups[0];
        for ((candidate, bonus), accepts) in group.found.iter_mut().zip(bonus).zip(accepts) {
            candidate.rank = candidate.score + bonus;
            candidate.complete &= accepts;
        }
        group.found.retain(|candidate| candidate.rank > f32::NEG_INFINITY);
        group.order(&self.task.config, &mut self.scratch);
        self.select(0, 0);
        self.task.length += 1;
        Ok(&self.survivors)
    }

    /// Writes the rows [beams, V] as log-probabilities after all rules, masked tokens at −inf, for processors outside of
    /// this crate; their result goes to [`BeamSearch::step`] as [`Rows::processed`].
    ///
    /// # Errors
    /// As [`BeamSearch::step`]; [`Error::InvalidArgument`] unless `out` holds beams · V values.
    pub fn write_rows(&mut self, rows: &Rows<'_>, out: &mut [f32]) -> Result<()> {
        self.check(rows, 0)?;
        let vocab = rows.vocab();
        if out.len() != rows.len() * vocab {
            return Err(Error::invalid("out", format!("{} values", rows.len() * vocab), out.len(), ""));
        }
        let shared = Shared::of(&self.task, false);
        let live = self.groups.iter().flat_map(|group| &group.live);
        for (i, (out, live)) in out.chunks_exact_mut(vocab).zip(live).enumerate() {
            rows.row(i)?.write(out);
            live.states.apply(&self.task.rules, out, &self.task.config.end_tokens);
            shared.mask(out);
        }
        AnyProcessor::check(&self.task.rules)
    }

    /// What the search was asked for.
    pub fn config(&self) -> &BeamConfig {
        &self.task.config
    }

    /// The sums of the live beams, in the order of their rows.
    pub fn sums(&self) -> impl Iterator<Item = f32> {
        self.living().map(|live| live.sum)
    }

    /// The states of the rules of the live beams, in this order too.
    pub(crate) fn states(&self) -> impl Iterator<Item = &States> {
        self.living().map(|live| &live.states)
    }

    pub(crate) fn rules(&self) -> &[AnyProcessor] {
        &self.task.rules
    }

    fn living(&self) -> impl Iterator<Item = &Live> {
        let groups = if self.task.length == 0 { &self.groups[..1] } else { &self.groups[..] };
        groups.iter().flat_map(|group| &group.live)
    }

    /// Number of live beams: the rows of the next step. All groups read the prompt's row.
    pub fn live(&self) -> usize {
        match self.task.length {
            0 => 1,
            _ => self.groups.iter().map(|group| group.live.len()).sum(),
        }
    }

    /// Steps taken: without backspace the tokens generated by each live beam.
    pub fn length(&self) -> u32 {
        self.task.length
    }

    /// Whether the search has ended.
    pub fn is_done(&self) -> bool {
        self.groups.iter().all(|group| group.done)
    }

    /// The best hypotheses so far, group by group, best first, at most `num_return` / groups of each. A constraint may
    /// leave fewer; if nothing could be finished and nothing lives, the best prefix of a group stands alone.
    pub fn hypotheses(&self) -> Vec<Hypothesis> {
        let each = (self.task.config.num_return / self.task.config.num_groups) as usize;
        let groups = self.groups.iter().enumerate();
        let best = groups.flat_map(|(g, group)| group.pool.best().iter().take(each).map(move |e| (g, e)));
        best.map(|(g, ended)| Hypothesis { group: g as u32, ..self.paths.hypothesis(ended) }).collect()
    }

    /// The best candidates of each step, if they are recorded: of each group the best
    /// max(2, 1 + number of end tokens) · B / G.
    pub fn candidates(&self) -> &[Vec<Kept>] {
        &self.kept
    }

    /// Every text that was a live beam or a hypothesis, as a tree: parents first, node 0 is the prompt. A text that
    /// lived and has no children was crowded out in the step after it, or lived when the search ended. Copied out: 24
    /// bytes per node, at most 2 · B per step.
    pub fn lattice(&self) -> Vec<LatticeNode> {
        self.paths.lattice()
    }

    /// Checks the rows and computes their log-sum-exp.
    /// Each row is read once from memory: for its soundness and its sum, and for the first of the `need` candidates.
    fn check(&mut self, rows: &Rows<'_>, need: usize) -> Result<()> {
        if self.is_done() {
            return Err(Error::invalid("a search", "live", "one that has ended", ""));
        }
        if rows.len() != self.live() {
            let expected = format!("{}: one per live beam", self.live());
            return Err(Error::invalid("the number of rows", expected, rows.len(), ""));
        }
        if let Some(vocab) = self.vocab.filter(|&vocab| vocab != rows.vocab()) {
            return Err(Error::invalid(
                "the vocabulary size",
                format!("{vocab}, as in the steps before"),
                rows.vocab(),
                "",
            ));
        }
        let shared = Shared::of(&self.task, rows.are_processed());
        self.lse.clear();
        self.scratch.tops.resize_with(rows.len().max(self.scratch.tops.len()), Vec::new);
        let groups = if self.task.length == 0 { &self.groups[..1] } else { &self.groups[..] };
        for group in groups {
            for i in 0..group.live.len() {
                let at = self.lse.len();
                if rows.is_unknown(at) {
                    self.lse.push(f64::NAN);
                    continue;
                }
                self.scratch.tops[at].clear();
                if group.lists(i, &shared, &mut self.scratch) {
                    self.lse.push(rows.check_at(at, &self.scratch.listed)?);
                    continue;
                }
                let row = if group.takes_best(i, &shared) {
                    let Scratch { tops, peaks, .. } = &mut self.scratch;
                    rows.row_and_top(at, first_look(need), peaks, &mut tops[at])?
                } else {
                    rows.row(at)?
                };
                self.lse.push(row.lse);
            }
        }
        Ok(())
    }
}

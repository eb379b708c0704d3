//! How many drafted nodes a step forwards.
//!
//! A drafted row costs time and may bring a token. From what steps have cost ([`CostCurve`]) and how often nodes came
//! true ([`Acceptance`]) the policy chooses, jointly for all texts of a step, the nodes that maximise expected tokens
//! − rate · time: nodes in order of probability, as many as pay. A text cannot tell which: that is the drafts' law.

mod acceptance;
mod balance;
mod cost;
mod nodes;

use acceptance::Acceptance;
use balance::Balance;
use cost::CostCurve;
use draftwood_base::Token;
use draftwood_tree::{Forest, TreeRef};
use nodes::Nodes;

/// Which drafts are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DraftPolicy {
    /// Those that are expected to pay; none where drafts do not.
    #[default]
    Auto,
    /// All that the drafter proposes: for tests and measurements.
    Always,
}

/// Expected gains below this share of a step are not worth the risk of being wrong about them; where several texts wait
/// for the drafts of one, the second figure.
const LEAST_GAIN: [f32; 2] = [0.01, 0.03];
/// A step has at most so many times the rows of the largest one that was seen, so that a machine whose rows are dear is
/// found out cheaply.
const GROWTH: u32 = 2;
/// After so many steps without drafts, though there were some, a few rows are tried again, as if they cost …
const EXPLORE_AFTER: u32 = 128;
/// … so much of what they are known to; more than one only if they are known to cost less than …
const EXPLORE_DOUBT: f32 = 0.25;
/// … this part of a step. Rows that cost more are tried more rarely: less than a hundredth is spent on this.
const EXPLORE_COST: f32 = 1.0;

/// What was proposed, chosen and accepted so far, in steps that gave tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DraftCounts {
    /// Steps that gave tokens.
    pub steps: u64,
    /// Those with drafted rows.
    pub drafted_steps: u64,
    /// Texts of all those steps: rows that would have been forwarded without drafts.
    pub texts: u64,
    /// Nodes that drafters proposed.
    pub proposed: u64,
    /// Nodes that were forwarded.
    pub drafted: u64,
    /// Nodes that became text.
    pub accepted: u64,
}

/// The step that was chosen last.
#[derive(Debug, Clone, Copy, Default)]
struct Choice {
    texts: u32,
    /// Rows, the known ones of all texts included.
    rows: u32,
    drafted: u32,
    proposed: u32,
    /// Time that the step is expected to save, in plain steps.
    gain: f32,
    /// Whether its rows are what steps of this kind have: one known row per text.
    plain_rows: bool,
    /// What would have been forwarded if more could be lost.
    on_paper: Option<OnPaper>,
}

/// A choice that was not made, judged by the text all the same.
#[derive(Debug, Clone, Copy)]
struct OnPaper {
    /// Nodes of at least this reach are in it.
    reach: f32,
    /// What they would have cost, in plain steps.
    extra: f32,
    /// Nodes of it that came true.
    accepted: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Policy {
    kind: DraftPolicy,
    cost: CostCurve,
    acceptance: Acceptance,
    balance: Balance,
    counts: DraftCounts,
    choice: Choice,
    /// Steps without drafts though there were some.
    quiet: u32,
    /// Whether nobody tells times.
    is_untold: bool,
    /// Seconds of proposing and of the rest of the present step.
    times: Option<(f32, f32)>,
    nodes: Nodes,
}

impl Policy {
    pub fn new(kind: DraftPolicy) -> Self {
        Self { kind, ..Self::default() }
    }

    pub fn counts(&self) -> DraftCounts {
        self.counts
    }

    /// Seconds of a step of `rows` rows, if any was seen of about that size.
    pub fn seconds(&self, rows: u32) -> Option<f32> {
        self.cost.seconds(rows).filter(|_| self.cost.has_seen(rows))
    }

    pub fn saw(&mut self, rows: u32, seconds: f32) {
        self.cost.observe(rows, seconds);
    }

    /// Seconds of the step that is about to be committed: proposing, and everything else.
    pub fn took(&mut self, proposing: f32, rest: f32) {
        self.times = Some((proposing, rest));
    }

    /// A text begins, and no other runs.
    pub fn text_begins(&mut self) {
        self.balance.text_begins();
    }

    /// Whether this step asks the drafter. Called once per step.
    pub fn wants_proposal(&mut self) -> bool {
        self.kind == DraftPolicy::Always || self.balance.wants_proposal()
    }

    /// Copies from `proposals` to `trees` what is to be forwarded, or `all`. `known` rows are forwarded anyway, for `texts`
    /// texts that get a token.
    pub fn choose(&mut self, proposals: &Forest, known: u32, texts: u32, all: bool, trees: &mut Forest) {
        let proposed = (0..proposals.len()).map(|i| proposals.tree(i).len() as u32 - 1).sum();
        self.times = None;
        self.choice = Choice {
            texts,
            rows: known,
            drafted: 0,
            proposed,
            gain: 0.0,
            plain_rows: known == texts && texts as usize == proposals.len(),
            on_paper: None,
        };
        trees.clear();
        let all = all || self.kind == DraftPolicy::Always;
        let chosen = if all { proposed as usize } else { self.most(proposals) };
        self.choice.drafted = chosen as u32;
        self.choice.rows += chosen as u32;
        if chosen == proposed as usize {
            self.nodes.copy(proposals, trees);
        } else {
            self.nodes.cut(proposals, chosen, trees);
        }
    }

    /// Lists the nodes in order of probability and says how many of them to forward.
    fn most(&mut self, proposals: &Forest) -> usize {
        self.nodes.list(proposals, &self.acceptance);
        // What drafts save is a step without them, so that must be known.
        let is_known = self.is_untold || self.cost.has_seen(self.choice.texts);
        if self.nodes.listed.is_empty() || self.choice.texts == 0 || !is_known {
            return 0;
        }
        let Choice { texts, rows, .. } = self.choice;
        let (count, plain) = (texts as f32, self.cost.ratio(texts));
        let extra =
            |cost: &CostCurve, nodes: usize| (cost.ratio(rows + nodes as u32) - cost.ratio(rows)) / plain;
        let largest = match self.cost.largest() {
            0 if self.is_untold => usize::MAX,
            most => (most.max(rows) * GROWTH).saturating_sub(rows).max(1) as usize,
        };
        let best = |rate: f32, most: f32| {
            let (mut best, mut at, mut tokens) = (0.0f32, 0, 0.0f32);
            for (i, node) in self.nodes.listed.iter().take(largest).enumerate() {
                tokens += node.reach / count;
                let extra = extra(&self.cost, i + 1);
                if extra > most {
                    break;
                }
                let gain = tokens - rate * extra;
                if gain > best {
                    (best, at) = (gain, i + 1);
                }
            }
            (best, at)
        };
        let (gain, chosen) = best(self.balance.rate(), f32::INFINITY);
        if gain >= LEAST_GAIN[usize::from(texts > 1)] {
            if self.balance.may_risk() {
                self.choice.gain = gain;
                self.quiet = 0;
                return chosen;
            }
            let (reach, extra) = (self.nodes.listed[chosen - 1].reach, extra(&self.cost, chosen));
            self.choice.on_paper = Some(OnPaper { reach, extra, accepted: 0 });
        }
        self.quiet += 1;
        if self.quiet < EXPLORE_AFTER * (extra(&self.cost, 1).ceil() as u32).max(1) {
            return 0;
        }
        self.quiet = 0;
        best(EXPLORE_DOUBT, EXPLORE_COST).1.max(1)
    }

    /// `tokens` came after the root of a tree that was proposed: learns which of its nodes came true, whether they were
    /// forwarded or not. Returns whether any did.
    pub fn learn(&mut self, proposal: TreeRef<'_>, tokens: impl Iterator<Item = Token>) -> bool {
        if self.kind == DraftPolicy::Always || proposal.len() < 2 {
            return false;
        }
        self.nodes.describe(proposal, &self.acceptance);
        let mut at = 0;
        for token in tokens {
            let mut child = None;
            for node in at + 1..proposal.len() {
                if proposal.parents[node] == at as i32 {
                    let hit = proposal.tokens[node] == token;
                    self.acceptance.learn(self.nodes.described[node].1, hit);
                    if hit {
                        child = Some(node);
                    }
                }
            }
            match child {
                Some(node) => at = node,
                None => break,
            }
            if let Some(paper) = &mut self.choice.on_paper {
                paper.accepted += u32::from(self.nodes.described[at].0 >= paper.reach);
            }
        }
        at > 0
    }

    /// The step is over: `accepted` nodes became text; `was_right` if any proposed one would have.
    pub fn stepped(&mut self, accepted: u32, was_right: bool, was_asked: bool) {
        let Choice { texts, rows, drafted, proposed, gain, plain_rows, on_paper } = self.choice;
        let times = self.times.take();
        if texts == 0 {
            return;
        }
        let counts = &mut self.counts;
        counts.steps += 1;
        counts.drafted_steps += u64::from(drafted > 0);
        counts.texts += u64::from(texts);
        counts.proposed += u64::from(proposed);
        counts.drafted += u64::from(drafted);
        counts.accepted += u64::from(accepted);
        let plain = self.cost.ratio(texts);
        let extra = (self.cost.ratio(rows) - self.cost.ratio(rows - drafted)) / plain;
        self.balance.stepped(1.0 + accepted as f32 / texts as f32, extra);
        if let Some(paper) = on_paper {
            self.balance.missed(paper.accepted as f32 / texts as f32, paper.extra);
        }
        if was_asked {
            let proposing = times.and_then(|(proposing, _)| Some((proposing, self.cost.seconds(texts)?)));
            self.balance.proposed(gain, proposing, was_right);
        }
        if let Some((_, rest)) = times.filter(|_| plain_rows) {
            self.cost.observe(rows, rest);
            self.is_untold = self.cost.largest() == 0;
        }
    }
}

//! How many drafted nodes a step forwards.
//!
//! A drafted row costs time and may bring a token. From what steps have cost ([`CostCurve`]) and how often nodes came
//! true ([`Acceptance`]) the policy chooses, jointly for all texts of a step, the nodes that maximise expected tokens
//! − rate · time: nodes in order of probability, as many as pay. A text cannot tell which: that is the drafts' law.

mod acceptance;
mod balance;
mod cost;

use acceptance::{Acceptance, Drafted};
use balance::Balance;
use cost::CostCurve;
use draftwood_base::Token;
use draftwood_tree::{Forest, TreeRef};

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
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// Probability that its path is accepted.
    reach: f32,
    tree: u32,
    node: u32,
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
    nodes: Vec<Node>,
    drafted: Vec<(f32, Drafted)>,
    children: Vec<u32>,
    numbers: Vec<u32>,
}

const CUT: u32 = u32::MAX;

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

    /// Whether this step asks the drafter. Called once per step.
    pub fn wants_proposal(&mut self) -> bool {
        self.kind == DraftPolicy::Always || self.balance.wants_proposal()
    }

    /// Copies from `proposals` to `trees` what is to be forwarded. `known` rows are forwarded anyway, for `texts` texts
    /// that get a token.
    pub fn choose(&mut self, proposals: &Forest, known: u32, texts: u32, trees: &mut Forest) {
        let proposed = (0..proposals.len()).map(|i| proposals.tree(i).len() as u32 - 1).sum();
        self.times = None;
        self.choice = Choice {
            texts,
            rows: known,
            drafted: 0,
            proposed,
            gain: 0.0,
            plain_rows: known == texts && texts as usize == proposals.len(),
        };
        trees.clear();
        let chosen = if self.kind == DraftPolicy::Always { proposed as usize } else { self.most(proposals) };
        self.choice.drafted = chosen as u32;
        self.choice.rows += chosen as u32;
        if chosen == proposed as usize {
            (0..proposals.len()).for_each(|i| copy(proposals.tree(i), |_| true, &mut self.numbers, trees));
            return;
        }
        // In order of tree and node, so that one pass picks them up.
        self.nodes.truncate(chosen);
        self.nodes.sort_unstable_by_key(|node| (node.tree, node.node));
        let mut next = self.nodes.iter().peekable();
        for i in 0..proposals.len() {
            let keeps = |node: usize| next.next_if(|n| (n.tree, n.node) == (i as u32, node as u32)).is_some();
            copy(proposals.tree(i), keeps, &mut self.numbers, trees);
        }
    }

    /// Lists the nodes in order of probability and says how many of them to forward.
    fn most(&mut self, proposals: &Forest) -> usize {
        self.nodes.clear();
        for i in 0..proposals.len() {
            self.describe(proposals.tree(i));
            let nodes = self.drafted.iter().enumerate().skip(1);
            self.nodes.extend(nodes.map(|(node, &(reach, _))| Node {
                reach,
                tree: i as u32,
                node: node as u32,
            }));
        }
        // What drafts save is a step without them, so that must be known.
        let is_known = self.is_untold || self.cost.has_seen(self.choice.texts);
        if self.nodes.is_empty() || self.choice.texts == 0 || !is_known {
            return 0;
        }
        // Of equals the earlier node, so that parents stay before their children.
        self.nodes.sort_unstable_by(|a, b| {
            b.reach.total_cmp(&a.reach).then((a.tree, a.node).cmp(&(b.tree, b.node)))
        });
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
            for (i, node) in self.nodes.iter().take(largest).enumerate() {
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
        if gain >= LEAST_GAIN[usize::from(texts > 1)] && self.balance.may_risk() {
            self.choice.gain = gain;
            self.quiet = 0;
            return chosen;
        }
        self.quiet += 1;
        if self.quiet < EXPLORE_AFTER * (extra(&self.cost, 1).ceil() as u32).max(1) {
            return 0;
        }
        self.quiet = 0;
        best(EXPLORE_DOUBT, EXPLORE_COST).1.max(1)
    }

    /// The nodes of a tree: reach, and what acceptance is learned by.
    fn describe(&mut self, tree: TreeRef<'_>) {
        self.drafted.clear();
        self.children.clear();
        self.children.resize(tree.len(), 0);
        self.drafted.push((1.0, Drafted { prob: 1.0, depth: 0, rank: 0 }));
        for node in 1..tree.len() {
            let parent = tree.parents[node] as usize;
            let (reach, above) = self.drafted[parent];
            let rank = self.children[parent];
            self.children[parent] += 1;
            let drafted = Drafted { prob: tree.prob[node], depth: above.depth + 1, rank };
            self.drafted.push((reach * self.acceptance.expect(drafted), drafted));
        }
    }

    /// `tokens` came after the root of a tree that was proposed: learns which of its nodes came true, whether they were
    /// forwarded or not. Returns whether any did.
    pub fn learn(&mut self, proposal: TreeRef<'_>, tokens: impl Iterator<Item = Token>) -> bool {
        if self.kind == DraftPolicy::Always || proposal.len() < 2 {
            return false;
        }
        self.describe(proposal);
        let mut at = 0;
        for token in tokens {
            let mut child = None;
            for node in at + 1..proposal.len() {
                if proposal.parents[node] == at as i32 {
                    let hit = proposal.tokens[node] == token;
                    self.acceptance.learn(self.drafted[node].1, hit);
                    if hit {
                        child = Some(node);
                    }
                }
            }
            match child {
                Some(node) => at = node,
                None => break,
            }
        }
        at > 0
    }

    /// The step is over: `accepted` nodes became text; `was_right` if any proposed one would have.
    pub fn stepped(&mut self, accepted: u32, was_right: bool, was_asked: bool) {
        let Choice { texts, rows, drafted, proposed, gain, plain_rows } = self.choice;
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

/// Appends to `trees` the nodes that `keeps` names, which must hold the parents of all it names.
fn copy(tree: TreeRef<'_>, mut keeps: impl FnMut(usize) -> bool, numbers: &mut Vec<u32>, trees: &mut Forest) {
    trees.open(tree.tokens[0]);
    numbers.clear();
    numbers.push(0);
    for node in 1..tree.len() {
        let kept = keeps(node) && numbers[tree.parents[node] as usize] != CUT;
        numbers.push(if kept {
            trees.push(numbers[tree.parents[node] as usize], tree.tokens[node], tree.prob[node])
        } else {
            CUT
        });
    }
    trees.close();
}

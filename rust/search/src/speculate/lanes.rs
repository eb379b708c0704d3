//! Which texts of the session hold what has been computed, and which rows the next step adds to them.

use super::nodes::NIL;
use super::{Advance, Speculation};
use draftwood_base::Token;
use draftwood_tree::Forest;

/// A text of the session: cached down to `tip`; `tree` is to be forwarded below it, parents first. An empty tree waits.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub sequence: u32,
    /// [`NIL`] for the prompt without its last token.
    pub tip: u32,
    pub tree: Vec<u32>,
}

/// A lane of the next step, and where it comes from.
#[derive(Debug, Clone)]
pub(super) struct Desired {
    pub tip: u32,
    pub tree: Vec<u32>,
    pub from: From,
    /// The text that it has become.
    pub sequence: u32,
}

/// How a lane is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// It is the survivor of this number.
    Survivor(usize),
    /// It forks the survivor of this number at an earlier row.
    ForkOfSurvivor(usize),
    /// It is the survivor of this number, cut.
    CutOfSurvivor(usize),
    /// It forks a lane that was no part of the step.
    ForkOfLane(u32),
    /// It is such a lane, cut.
    CutOfLane(u32),
}

/// What becomes of a text after the commit, see `Session::rearrange` of the session's crate.
pub type LaneChange = (u32, bool, u32, Option<Token>);

impl Speculation {
    /// Texts that the next step forwards, in any order.
    pub fn texts(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.tree.is_empty()).count()
    }

    /// All texts of the session that belong to this search.
    pub fn sequences(&self) -> Vec<u32> {
        self.lanes.iter().map(|lane| lane.sequence).collect()
    }

    /// Appends the tree of a lane to `forest`; returns its number of nodes, 0 (and no tree) for another sequence.
    pub fn write_tree(&self, sequence: u32, forest: &mut Forest) -> usize {
        let Some(lane) = self.lanes.iter().find(|lane| lane.sequence == sequence && !lane.tree.is_empty())
        else {
            return 0;
        };
        forest.open(self.nodes.get(lane.tree[0]).token);
        for &node in &lane.tree[1..] {
            let node = self.nodes.get(node);
            let parent = lane.tree.iter().position(|&other| other == node.parent).unwrap_or(0);
            forest.push(parent as u32, node.token, 1.0);
        }
        forest.close();
        lane.tree.len()
    }

    /// Groups the marked nodes into lanes: a tree of unknown rows each, or a known leaf that waits. Gives up the least
    /// likely ones if there are too many.
    pub(super) fn choose_lanes(&mut self, levels: &[Vec<u32>]) {
        loop {
            self.desired.clear();
            for (at, level) in levels.iter().enumerate() {
                for &node in level.iter().filter(|&&node| self.nodes.get(node).mark == self.epoch) {
                    let parent = self.nodes.get(node).parent;
                    let (known, mut tree) = (self.nodes.is_known(node), Vec::new());
                    let tip = match known {
                        true if self.marked_children(node).next().is_some() => continue,
                        true => node,
                        false if at > 0 && !self.nodes.is_known(parent) => continue,
                        false => {
                            self.collect(node, &mut tree);
                            parent
                        }
                    };
                    self.desired.push(Desired { tip, tree, from: From::Survivor(0), sequence: 0 });
                }
            }
            if self.desired.len() <= self.most_lanes {
                return;
            }
            let head = |lane: &Desired| lane.tree.first().copied().unwrap_or(lane.tip);
            let drafted = self.desired.iter().filter(|lane| !levels[0].contains(&head(lane)));
            let worst = drafted.min_by(|a, b| {
                let [a, b] = [a, b].map(|lane| self.nodes.get(head(lane)).score);
                a.total_cmp(&b)
            });
            let Some(worst) = worst.cloned() else { return };
            for &node in worst.tree.iter().chain(worst.tree.is_empty().then_some(&worst.tip)) {
                self.nodes.get_mut(node).mark = self.epoch - 1;
            }
        }
    }

    fn marked_children(&self, node: u32) -> impl Iterator<Item = u32> {
        self.nodes.children(node).filter(|&child| self.nodes.get(child).mark == self.epoch)
    }

    /// A tree of marked nodes, parents first and the likeliest path in front, so that most commits move no row.
    fn collect(&self, node: u32, tree: &mut Vec<u32>) {
        tree.push(node);
        let mut children: Vec<u32> = self.marked_children(node).collect();
        children.sort_by(|&a, &b| self.nodes.get(b).score.total_cmp(&self.nodes.get(a).score));
        children.into_iter().for_each(|child| self.collect(child, tree));
    }

    /// Decides where each lane of the next step comes from.
    pub(super) fn plan_lanes(&mut self, forwarded: &[(u32, u32)], advance: &mut Advance) {
        let is_forwarded = |lane: &Lane| forwarded.iter().any(|&(sequence, _)| sequence == lane.sequence);
        // Tips that this step has computed are leaves of its trees.
        for i in 0..self.desired.len() {
            let tip = self.desired[i].tip;
            let place =
                |lane: &Lane| Some((lane.sequence, lane.tree.iter().position(|&node| node == tip)? as u32));
            let found = self.lanes.iter().filter(|lane| is_forwarded(lane)).find_map(place);
            self.desired[i].from = match found {
                Some((sequence, leaf)) => {
                    let next = self.desired[i].tree.first().map_or(0, |&node| self.nodes.get(node).token);
                    advance.survivors.push((sequence, leaf, next));
                    From::Survivor(advance.survivors.len() - 1)
                }
                None => From::ForkOfLane(u32::MAX),
            };
        }
        // Older ones are found in a path that goes on, or in a lane that would not.
        let computed: Vec<(usize, u32)> = self
            .desired
            .iter()
            .filter_map(|lane| match lane.from {
                From::Survivor(k) => Some((k, lane.tip)),
                _ => None,
            })
            .collect();
        let mut covers: Vec<(u32, Option<usize>)> = Vec::new();
        for i in 0..self.desired.len() {
            if self.desired[i].from != From::ForkOfLane(u32::MAX) {
                continue;
            }
            let tip = self.desired[i].tip;
            if let Some(&(k, _)) = computed.iter().find(|&&(_, node)| self.nodes.is_below(node, tip)) {
                self.desired[i].from = From::ForkOfSurvivor(k);
                continue;
            }
            let holds = |lane: &&Lane| lane.tip != NIL && self.nodes.is_below(lane.tip, tip);
            let Some(lane) = self.lanes.iter().find(holds) else { continue };
            let known = covers.iter().find(|(sequence, _)| *sequence == lane.sequence);
            self.desired[i].from = match known {
                Some(&(_, Some(k))) => From::ForkOfSurvivor(k),
                Some(&(sequence, None)) => From::ForkOfLane(sequence),
                None if is_forwarded(lane) => {
                    advance.survivors.push((lane.sequence, 0, 0));
                    covers.push((lane.sequence, Some(advance.survivors.len() - 1)));
                    From::CutOfSurvivor(advance.survivors.len() - 1)
                }
                None => {
                    covers.push((lane.sequence, None));
                    From::CutOfLane(lane.sequence)
                }
            };
        }
        let gone = |lane: &&Lane| {
            !is_forwarded(lane) && !covers.iter().any(|(sequence, _)| *sequence == lane.sequence)
        };
        advance.closed.extend(self.lanes.iter().filter(gone).map(|lane| lane.sequence));
    }

    /// The commit has made these texts of the survivors: what must become of the texts now, in this order.
    pub fn committed(&mut self, ids: &[u32]) -> Vec<LaneChange> {
        let mut changes = Vec::new();
        self.order.clear();
        // Forks before cuts: they need what is cut off.
        for cuts in [false, true] {
            for (i, lane) in self.desired.iter_mut().enumerate() {
                let next = lane.tree.first().map(|&node| self.nodes.get(node).token);
                let (source, fork) = match lane.from {
                    From::Survivor(k) => {
                        lane.sequence = ids[k];
                        if next.is_some() {
                            continue;
                        }
                        (ids[k], false)
                    }
                    From::ForkOfSurvivor(k) => (ids[k], true),
                    From::ForkOfLane(sequence) => (sequence, true),
                    From::CutOfSurvivor(k) => (ids[k], false),
                    From::CutOfLane(sequence) => (sequence, false),
                };
                if fork != cuts {
                    changes.push((source, fork, self.nodes.rows(lane.tip), next));
                    self.order.push(i as u32);
                }
            }
        }
        changes
    }

    /// The texts that the changes have made.
    pub fn arranged(&mut self, ids: &[u32]) {
        for (&i, &sequence) in self.order.iter().zip(ids) {
            self.desired[i as usize].sequence = sequence;
        }
        self.lanes.clear();
        let lanes = self.desired.drain(..).map(|lane| Lane {
            sequence: lane.sequence,
            tip: lane.tip,
            tree: lane.tree,
        });
        self.lanes.extend(lanes);
    }
}

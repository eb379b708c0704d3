//! The machine's commits: random survivors within the widths, compared with the model.

use super::machine::Machine;
use super::model::Draft;
use super::rng::Rng;
use crate::{Paths, Reservation};
use std::collections::BTreeMap;

impl Machine {
    pub(super) fn commit(&mut self, reservation: Reservation, drafts: &[Draft], rng: &mut Rng) {
        let mut live: BTreeMap<usize, u32> = BTreeMap::new();
        self.texts.values().for_each(|text| *live.entry(text.family).or_default() += 1);
        let (mut survivors, mut closed) = (Vec::new(), Vec::new());
        for id in self.texts.keys().filter(|id| drafts.iter().all(|draft| draft.id != **id)) {
            if rng.once_in(8) {
                closed.push(*id);
                *live.get_mut(&self.texts[id].family).unwrap() -= 1;
            }
        }
        let mut alive: Vec<&Draft> =
            drafts.iter().filter(|draft| self.texts.contains_key(&draft.id)).collect();
        // Sources without survivors first: they make room for forks.
        rng.shuffle(&mut alive);
        let ends = if rng.once_in(4) { rng.below(alive.len() as u32 + 1) as usize } else { 0 };
        for draft in &alive[..ends] {
            *live.get_mut(&draft.text.family).unwrap() -= 1;
            if rng.once_in(2) {
                closed.extend([draft.id, draft.id]);
            }
        }
        for draft in &alive[ends..] {
            let live = live.get_mut(&draft.text.family).unwrap();
            let free = self.widths[draft.text.family] - *live;
            let is_whole = draft.text.rows.len() as u32 + draft.chain >= draft.text.shared;
            let forks = if rng.once_in(3) || !is_whole { 0 } else { rng.below(free + 1) };
            *live += forks;
            for _ in 0..=forks {
                let leaf = rng.below(draft.parents.len() as u32) as usize;
                survivors.push((*draft, draft.path_to(leaf)));
            }
        }
        rng.shuffle(&mut survivors);
        let mut paths = Paths::default();
        survivors.iter().for_each(|(draft, path)| paths.push(draft.id, path.iter().copied()));

        let before = self.store.counts;
        let committed = self.store.commit(reservation, &paths, &closed).unwrap().to_vec();
        for id in drafts.iter().map(|draft| draft.id).chain(closed) {
            self.texts.remove(&id);
        }
        let mut compacted = 0;
        for ((draft, path), entry) in survivors.iter().zip(&committed) {
            let is_fork = self.texts.contains_key(&draft.id);
            assert_eq!((entry.source, entry.sequence == draft.id), (draft.id, !is_fork));
            if !is_fork {
                compacted += path.iter().enumerate().filter(|&(depth, &node)| depth as u32 != node).count();
            }
            let text = draft.text_along(path);
            assert_eq!(entry.len as usize, text.rows.len());
            match is_fork {
                true => self.enter(entry.sequence, text),
                false => drop(self.texts.insert(draft.id, text)),
            }
        }
        assert_eq!(committed.len(), survivors.len());
        self.seen.commits += 1;
        self.seen.forks += committed.iter().filter(|entry| entry.sequence != entry.source).count() as u32;
        let counts = self.store.counts;
        assert_eq!(counts.rows_compacted - before.rows_compacted, (compacted * self.groups) as u64);
        let moved: usize = (0..self.groups).map(|group| self.store.moves(group).len()).sum();
        let counted = counts.rows_forked - before.rows_forked + counts.rows_compacted - before.rows_compacted;
        assert_eq!(counted, moved as u64);
        self.seen.dry += u32::from(self.store.pool.free() == 0);
        self.store.audit();
    }
}

//! What rules remember of an n-gram of a corpus, and how they ask about it.

use crate::constrain::PATIENCE;
use crate::index::{Followers, Group, Index, Rows, occurrences};
use draftwood_base::{Error, Result, Token};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

thread_local! {
    /// A table over all symbols of a corpus: too large to be made anew for every question.
    static SCRATCH: RefCell<Followers> = RefCell::default();
}

/// An n-gram: its rows in each part. What has been found out about it is kept, for all texts that share it.
pub struct Place {
    rows: Box<[Rows]>,
    /// Ascending.
    followers: OnceLock<Box<[Token]>>,
    vain: AtomicU32,
}

impl Place {
    fn new(rows: impl IntoIterator<Item = Rows>) -> Arc<Self> {
        let rows = rows.into_iter().collect();
        Arc::new(Self { rows, followers: OnceLock::new(), vain: AtomicU32::new(0) })
    }

    /// Number of rows.
    pub fn count(&self) -> u64 {
        occurrences(&self.rows)
    }
}

/// Questions of rules, which cannot fail: what does is remembered, and the answer is then that nothing occurs.
pub struct Lookup {
    group: Arc<Group>,
    failure: OnceLock<Error>,
}

impl Lookup {
    pub fn new(group: Arc<Group>) -> Self {
        Self { group, failure: OnceLock::new() }
    }

    /// What has failed.
    pub fn failure(&self) -> Option<Error> {
        self.failure.get().cloned()
    }

    fn noted<T: Default>(&self, answer: Result<T>) -> T {
        answer.unwrap_or_else(|error| {
            // Of several failures the first one is told.
            let _ = self.failure.set(error);
            T::default()
        })
    }

    /// The place of an n-gram, at the start of documents only if `anchored`.
    pub fn find(&self, ids: &[Token], anchored: bool) -> Arc<Place> {
        let find = |part: &Index| self.noted(part.find(ids, anchored));
        Place::new(self.group.parts().iter().map(find))
    }

    /// The place of the n-gram and one more token.
    pub fn extend(&self, place: &Place, token: Token) -> Arc<Place> {
        let parts = self.group.parts().iter().zip(&place.rows);
        Place::new(parts.map(|(part, &rows)| self.noted(part.extend(rows, token))))
    }

    /// Whether it is `wanted` of a token that it follows the n-gram, or that it does not.
    ///
    /// Cost: two or three cache misses per part; a binary search once the followers are listed.
    pub fn test(&self, place: &Place, token: Token, wanted: bool) -> bool {
        if let Some(followers) = place.followers.get() {
            return followers.binary_search(&token).is_ok() == wanted;
        }
        let mut parts = self.group.parts().iter().zip(&place.rows);
        let occurs = parts.any(|(part, &rows)| !self.noted(part.extend(rows, token)).is_empty());
        if occurs != wanted && place.vain.fetch_add(1, Ordering::Relaxed) + 1 == PATIENCE as u32 {
            self.followers(place);
        }
        occurs == wanted
    }

    /// Every token that follows the n-gram, ascending.
    pub fn followers<'a>(&self, place: &'a Place) -> &'a [Token] {
        if place.followers.get().is_none() {
            // Not inside of `get_or_init`, which a child that is forked meanwhile would wait for.
            let _ = place.followers.set(self.list(place));
        }
        place.followers.get().map_or(&[], |followers| followers)
    }

    fn list(&self, place: &Place) -> Box<[Token]> {
        let mut all = Vec::new();
        SCRATCH.with_borrow_mut(|scratch| {
            for (part, &rows) in self.group.parts().iter().zip(&place.rows) {
                if part.next(rows, scratch).map_err(|error| self.failure.set(error)).is_ok() {
                    all.extend_from_slice(scratch.ids());
                }
            }
        });
        if place.rows.len() > 1 {
            all.sort_unstable();
            all.dedup();
        }
        all.into()
    }

    /// Whether the n-gram ends a document.
    pub fn ends(&self, place: &Place) -> bool {
        let mut parts = self.group.parts().iter().zip(&place.rows);
        parts.any(|(part, &rows)| self.noted(part.document_ends(rows)) > 0)
    }
}

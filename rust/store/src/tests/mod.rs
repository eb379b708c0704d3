//! Tests that look behind the public API: a state machine against a naive model, and small cases checked by eye.

mod audit;
mod commits;
mod copies;
mod machine;
mod model;
mod rng;
mod rules;
mod steps;

use crate::{GroupKind, Store, StoreConfig};

/// A store with `pages` pages beside page 0 and one full group.
fn store(pages: u32, page_size: u32) -> Store {
    Store::new(StoreConfig { pages: pages + 1, page_size, groups: vec![GroupKind::Full] }).unwrap()
}

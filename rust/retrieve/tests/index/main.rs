//! The index against scans of the documents, its builds against each other, and damaged files.

mod builds;
#[path = "../support/cases.rs"]
mod cases;
mod exact;
mod files;
mod group;
mod growth;
#[path = "../support/group.rs"]
mod support;
mod widths;

use cases::at_least;
use draftwood_base::Token;
use draftwood_retrieve::index::{Corpus, Tier};
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use support::Documents;

const TIERS: [Tier; 4] = [Tier::Tiny, Tier::Compact, Tier::Standard, Tier::Fast];

fn corpus(documents: &Documents) -> Corpus {
    let mut corpus = Corpus::default();
    documents.iter().for_each(|document| corpus.push(document).unwrap());
    corpus
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("draftwood-{name}-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn some_documents() -> Documents {
    (0..40u32).map(|d| (0..100 + d).map(|i| (i * i + d) % 70).collect()).collect()
}

/// Few or many documents, empty ones among them, over alphabets of one symbol to 2^20, with pieces that repeat.
fn documents() -> impl Strategy<Value = Documents> {
    let alphabet = prop::sample::select(vec![1u32, 2, 3, 10, 300, 50_000, 1 << 20]);
    let piece = (any::<u32>(), any::<prop::sample::Index>(), 0usize..12);
    let document = prop::collection::vec(piece, 0..12);
    (alphabet, prop::collection::vec(document, 0..12)).prop_map(|(alphabet, shapes)| {
        let mut said: Vec<Token> = Vec::new();
        let mut documents = Vec::new();
        for pieces in shapes {
            let start = said.len();
            for (seed, from, copied) in pieces {
                // Few of a large alphabet's symbols, spread over all of it.
                said.push((seed % 64).wrapping_mul(0x9E37_79B9) % alphabet);
                let from = from.index(said.len());
                (from..from + copied).for_each(|i| said.push(said[i]));
            }
            documents.push(said[start..].to_vec());
        }
        documents
    })
}

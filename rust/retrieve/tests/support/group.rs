//! Documents as several indexes.

use draftwood_base::Token;
use draftwood_retrieve::index::{Corpus, Group, Index, Tier};

/// What is indexed: the tokens of each document.
pub type Documents = Vec<Vec<Token>>;

/// The documents as indexes of at most `each` documents; one index if there are none.
pub fn group(documents: &Documents, each: usize, tier: Tier) -> Group {
    let index = |part: &[Vec<Token>]| {
        let mut corpus = Corpus::default();
        part.iter().for_each(|document| corpus.push(document).unwrap());
        Index::build_in_memory(&corpus, tier).unwrap()
    };
    let parts: Vec<Index> = documents.chunks(each).map(index).collect();
    Group::new(if parts.is_empty() { vec![index(&[])] } else { parts }).unwrap()
}

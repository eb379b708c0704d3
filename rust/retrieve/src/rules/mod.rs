//! Rules about what a corpus says, for texts and beams alike.

mod block_corpus;
mod in_corpus;
mod place;

pub use block_corpus::BlockCorpus;
pub use in_corpus::InCorpus;

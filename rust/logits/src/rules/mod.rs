//! Rules over texts: penalties, masks and constraints, each a [`Processor`] with a state that follows its text.

mod block;
mod min_length;
mod no_repeat;
mod only;
mod phrases;
mod placed;
mod processor;
mod repetition;
mod token_set;
mod trie;

pub use block::BlockSequences;
pub use min_length::MinLength;
pub use no_repeat::NoRepeatNgrams;
pub use only::{OnlyTokens, keep_only};
pub use phrases::{Phrase, Phrases};
pub use placed::{Placed, PlacedTokens};
pub use processor::{AnyProcessor, Processor, States};
pub use repetition::RepetitionPenalty;
pub use token_set::TokenSet;
pub use trie::Trie;

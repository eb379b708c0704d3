//! Paths that a search commits or rearranges: tuples of Python on one side, what the session takes on the other.

use draftwood_base::{SequenceId, Token};
use draftwood_plan::Change;
use draftwood_tree::{Finished, Survivor};

/// (source, leaf, next token or stop token, score).
pub type Path = (u32, u32, Token, f32);

/// (sequence, whether it forks, cached rows that stay, next token).
pub type Rearranged = (u32, bool, u32, Option<Token>);

pub fn survivor((source, leaf, next_token, score): Path) -> Survivor {
    Survivor { source: SequenceId(source), leaf, next_token, score }
}

pub fn finished((source, leaf, stop_token, score): Path) -> Finished {
    Finished { source: SequenceId(source), leaf, stop_token, score }
}

pub fn change((source, fork, rows, next): Rearranged) -> Change {
    Change { source: SequenceId(source), fork, rows, next }
}

//! From token ids to text that may be shown: the bytes of every vocabulary id ([`TokenBytes`]), an incremental
//! detokeniser that holds back what is not safe yet ([`TextStream`]), and the stop strings it searches
//! ([`StopStrings`]); and from a chat to the text of its template ([`ChatTemplate`]).
//!
//! Everything here works on bytes, because tokens of a byte-level vocabulary cut characters in two: text becomes
//! a `str` only when no later byte can change it.
#![forbid(unsafe_code)]

mod chat;
mod control;
mod jinja;
mod stop;
mod stream;
mod token_bytes;

pub use chat::{ChatTemplate, Rendered, Segment};
pub use stop::StopStrings;
pub use stream::TextStream;
pub use token_bytes::TokenBytes;

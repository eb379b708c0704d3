//! Strings that end a text.

use draftwood_base::Token;
use draftwood_text::{StopStrings, TextStream, TokenBytes};
use std::sync::Arc;

/// Stop strings over the bytes of tokens. A token that completes one ends its text like an end token.
#[derive(Debug, Clone)]
pub struct Stops {
    bytes: Arc<TokenBytes>,
    strings: StopStrings,
}

impl Stops {
    /// Strings over the tokens of one tokenizer.
    pub fn new(bytes: Arc<TokenBytes>, strings: StopStrings) -> Self {
        Self { bytes, strings }
    }

    /// An empty text.
    pub(crate) fn start(&self) -> TextStream {
        TextStream::new(&self.strings)
    }

    /// The longer text, and the string that its last token completes. `held`: none may end it yet.
    pub(crate) fn follow(&self, text: &TextStream, token: Token, held: bool) -> (TextStream, Option<u32>) {
        let mut text = text.clone();
        text.suspend_stops(held);
        let stop = text.push(self.bytes.get(token), &mut String::new());
        (text, stop.map(|string| string as u32))
    }
}

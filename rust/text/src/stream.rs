//! Incremental detokeniser with stop strings.

use crate::stop::StopStrings;

/// The text of one sequence while its tokens arrive.
///
/// What `push` appends can never change: an unfinished character and a possible start of a stop string are held
/// back. Whatever the pushes cut, the pieces together are `String::from_utf8_lossy` (equal to Python's
/// `decode("utf-8", errors="replace")`) of all bytes before the first stop string.
///
/// `clone` forks the stream, for beams.
#[derive(Debug, Clone)]
pub struct TextStream {
    stops: StopStrings,
    state: u32,
    /// Bytes that arrived and were not appended yet.
    held: Vec<u8>,
    suspended: bool,
    ended: bool,
}

impl TextStream {
    /// An empty stream that ends at any of `stops`.
    pub fn new(stops: &StopStrings) -> Self {
        Self { stops: stops.clone(), state: 0, held: Vec::with_capacity(64), suspended: false, ended: false }
    }

    /// While suspended (before `min_new_tokens`), a stop string that completes is plain text.
    ///
    /// The search goes on, so a stop that began while suspended and completes later does end the text.
    pub fn suspend_stops(&mut self, suspended: bool) {
        self.suspended = suspended;
    }

    /// Takes the bytes of one token and appends the text that became safe to `out`.
    ///
    /// Returns the index of the stop string that these bytes completed. The text then ends before it: the rest of
    /// the token and everything pushed later is dropped, an unfinished character in front of the stop is one U+FFFD.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) -> Option<usize> {
        if self.ended {
            return None;
        }
        if self.stops.is_empty() {
            self.held.extend_from_slice(bytes);
        } else {
            for &byte in bytes {
                self.held.push(byte);
                self.state = self.stops.step(self.state, byte);
                if let (Some(stop), false) = (self.stops.completed(self.state), self.suspended) {
                    self.held.truncate(self.held.len() - self.stops.length(stop));
                    self.finish(out);
                    return Some(stop);
                }
            }
        }
        let safe = self.held.len() - self.stops.hold(self.state);
        let taken = append_decoded(&self.held[..safe], out);
        self.held.drain(..taken);
        None
    }

    /// Ends the text: appends what was held back, an unfinished character as one U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        let taken = append_decoded(&self.held, out);
        if taken < self.held.len() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
        self.held.clear();
        self.ended = true;
    }

    /// Whether a stop string or `finish` ended the text.
    pub fn ended(&self) -> bool {
        self.ended
    }
}

/// Decodes `bytes` up to an unfinished character at their end; returns how many bytes that took.
fn append_decoded(bytes: &[u8], out: &mut String) -> usize {
    let mut taken = 0;
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        taken += chunk.valid().len();
        let broken = chunk.invalid();
        if broken.is_empty() || (taken + broken.len() == bytes.len() && is_unfinished(broken)) {
            break;
        }
        out.push(char::REPLACEMENT_CHARACTER);
        taken += broken.len();
    }
    taken
}

/// Whether more bytes could make `broken`, a maximal subpart, a character.
fn is_unfinished(broken: &[u8]) -> bool {
    std::str::from_utf8(broken).is_err_and(|error| error.error_len().is_none())
}

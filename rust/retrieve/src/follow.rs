//! Whether a text goes on from what was read of it.

use draftwood_base::Token;

/// Tokens that are compared at most. A whole context at every step would take longer than a draft: 8 µs at 32,768
/// tokens, half a millisecond at two million.
const COMPARED: usize = 256;

/// Whether `tokens` begins with `seen`, of which only the last tokens are compared if there are many.
///
/// What begins otherwise is another text under the same number, which differs at the end too; if ever it does not, its
/// drafts come from the other text until it is closed, and are verified like any other.
pub(crate) fn goes_on(seen: &[Token], tokens: &[Token]) -> bool {
    let from = seen.len().saturating_sub(COMPARED);
    tokens.get(from..seen.len()).is_some_and(|its| its == &seen[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_are_told_apart() {
        let text: Vec<Token> = (0..10_000).collect();
        for seen in [0, 1, 5000, 10_000] {
            assert!(goes_on(&text[..seen], &text));
        }
        assert!(!goes_on(&text, &text[..9999]));
        for (seen, changed) in [(1, 0), (COMPARED, 0), (10_000, 9999), (10_000, 10_000 - COMPARED)] {
            let mut other = text.clone();
            other[changed] += 1;
            assert!(!goes_on(&text[..seen], &other), "{seen} {changed}");
        }
    }
}

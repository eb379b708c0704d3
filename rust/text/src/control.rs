//! Control tokens spelled in text: finding them, and making sure that nobody else finds them.

use std::borrow::Cow;

/// Spellings of control tokens, by their first byte, the longest first.
#[derive(Debug)]
pub(crate) struct ControlTokens {
    by_first: Vec<Vec<Box<str>>>,
    has_single: bool,
}

impl ControlTokens {
    pub(crate) fn new(spellings: &[String]) -> Self {
        let mut by_first: Vec<Vec<Box<str>>> = vec![Vec::new(); 256];
        for spelling in spellings {
            if let Some(&first) = spelling.as_bytes().first() {
                by_first[first as usize].push(spelling.as_str().into());
            }
        }
        for list in &mut by_first {
            list.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
        }
        Self { by_first, has_single: spellings.iter().any(|spelling| spelling.chars().count() == 1) }
    }

    /// Bytes of the longest token that starts at `at`.
    fn at(&self, text: &str, at: usize) -> Option<usize> {
        let rest = &text.as_bytes()[at..];
        let list = &self.by_first[rest[0] as usize];
        list.iter().find(|spelling| rest.starts_with(spelling.as_bytes())).map(|spelling| spelling.len())
    }

    /// The first character of `text` that is itself a control token.
    pub(crate) fn single_character(&self, text: &str) -> Option<char> {
        if !self.has_single {
            return None;
        }
        text.char_indices().find(|&(at, c)| self.at(text, at) == Some(c.len_utf8())).map(|(_, c)| c)
    }

    /// Pieces of `text`, control tokens apart: the leftmost, and of those the longest, as tokenizers find them.
    pub(crate) fn split<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (bool, &'a str)> + 'a {
        let mut from = 0;
        std::iter::from_fn(move || {
            if from == text.len() {
                return None;
            }
            let found = (from..text.len()).find_map(|at| self.at(text, at).map(|length| (at, length)));
            let (piece, next) = match found {
                Some((at, length)) if at == from => ((true, &text[from..from + length]), from + length),
                Some((at, _)) => ((false, &text[from..at]), at),
                None => ((false, &text[from..]), text.len()),
            };
            from = next;
            Some(piece)
        })
    }

    /// `text` with `mark` inside every control token that it spells, and at its end if it ends like the start of one,
    /// so that what a template puts behind it cannot complete it.
    pub(crate) fn break_up<'a>(&self, text: &'a str, mark: char) -> Cow<'a, str> {
        let mut out = String::new();
        let mut copied = 0;
        let mut open = false;
        for (at, c) in text.char_indices() {
            let opens = |rest: &str| {
                let list = &self.by_first[rest.as_bytes()[0] as usize];
                list.iter().any(|spelling| spelling.starts_with(rest))
            };
            if self.at(text, at).is_some() {
                let behind = at + c.len_utf8();
                out.push_str(&text[copied..behind]);
                out.push(mark);
                copied = behind;
            } else {
                open = open || opens(&text[at..]);
            }
        }
        if copied == 0 && !open {
            return Cow::Borrowed(text);
        }
        out.push_str(&text[copied..]);
        if open {
            out.push(mark);
        }
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(spellings: &[&str]) -> ControlTokens {
        ControlTokens::new(&spellings.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn pieces_are_leftmost_longest() {
        let t = tokens(&["<a>", "<a>>", ">b", "é!"]);
        let pieces: Vec<_> = t.split("x<a>>b é!<a").collect();
        assert_eq!(pieces, [(false, "x"), (true, "<a>>"), (false, "b "), (true, "é!"), (false, "<a")]);
        assert_eq!(t.split("").count(), 0);
    }

    #[test]
    fn only_spellings_and_their_starts_are_marked() {
        let t = tokens(&["<a>", "|"]);
        assert_eq!(t.break_up("a < b", '#'), "a < b");
        assert_eq!(t.break_up("x<a>y", '#'), "x<#a>y");
        assert_eq!(t.break_up("x|", '#'), "x|#");
        assert_eq!(t.break_up("x<a", '#'), "x<a#");
        let inner = tokens(&["é|>é", "|>"]);
        assert_eq!(inner.break_up("é|>", '#'), "é|#>#", "the start of one token may hold another whole");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(20_000)))]
        /// However broken contents are joined with each other, the token never appears.
        #[test]
        fn broken_contents_never_join_into_a_token(
            parts in prop::collection::vec("[<a>|é]{0,6}", 1..5),
            spellings in prop::collection::vec("[<a>|é]{2,4}", 1..4),
        ) {
            let t = ControlTokens::new(&spellings);
            let text: String = parts.iter().map(|part| t.break_up(part, '#').into_owned()).collect();
            prop_assert!(t.split(&text).all(|(is_control, _)| !is_control), "{}", text);
            prop_assert_eq!(text.replace('#', ""), parts.concat());
        }
    }
}

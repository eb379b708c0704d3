//! Template source to tokens, with the white-space rules that transformers sets: `trim_blocks` and `lstrip_blocks`.

use std::sync::Arc;

use super::fail::Fail;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Text between tags, as it is printed.
    Data(Arc<str>),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(Arc<str>),
    Str(Arc<str>),
    Int(i64),
    Float(f64),
    Op(&'static str),
    End,
}

/// A token and the line it starts on.
pub(super) type Located = (Token, u32);

/// Longest first, so that `**` is not read as two `*`.
const OPERATORS: [&str; 27] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";", "!",
];

/// All tokens of `source`, the last one [`Token::End`].
pub(super) fn lex(source: &str) -> Result<Vec<Located>, Fail> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut lexer = Lexer { rest: source.strip_suffix('\n').unwrap_or(&source), line: 1, tokens: Vec::new() };
    lexer.template()?;
    lexer.tokens.push((Token::End, lexer.line));
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    tokens: Vec<Located>,
}

impl<'a> Lexer<'a> {
    fn template(&mut self) -> Result<(), Fail> {
        let mut line_starts = true;
        while let Some((at, kind)) = next_tag(self.rest) {
            let text = self.take(at);
            let tag_line = self.line;
            self.take(2);
            let sign = self.rest.chars().next().filter(|c| matches!(c, '-' | '+'));
            if sign.is_some() {
                self.take(1);
            }
            self.data(strip_before(text, sign, kind, line_starts), tag_line);
            let before = self.rest.len();
            let whole = self.rest;
            match kind {
                '#' => self.comment()?,
                '%' if self
                    .rest
                    .trim_start()
                    .strip_prefix("raw")
                    .is_some_and(|r| r.trim_start().starts_with(['-', '%'])) =>
                {
                    self.raw()?;
                }
                _ => self.tag(kind)?,
            }
            line_starts = whole[..before - self.rest.len()].ends_with('\n');
        }
        let text = self.take(self.rest.len());
        self.data(text, self.line);
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.bytes().filter(|&b| b == b'\n').count() as u32;
        self.rest = rest;
        taken
    }

    fn data(&mut self, text: &str, line: u32) {
        if !text.is_empty() {
            self.tokens.push((Token::Data(text.into()), line));
        }
    }

    /// Consumes the end of a tag if it is here: `-x}` takes the white space after it, a block's end one newline.
    fn tag_end(&mut self, kind: char) -> bool {
        let close = match kind {
            '{' => "}}",
            '%' => "%}",
            _ => "#}",
        };
        if let Some(after) = self.rest.strip_prefix('-').and_then(|r| r.strip_prefix(close)) {
            let bytes = self.rest.len() - after.trim_start_matches(is_space).len();
            self.take(bytes);
        } else if kind != '{' && self.rest.strip_prefix('+').is_some_and(|r| r.starts_with(close)) {
            self.take(3);
        } else if self.rest.starts_with(close) {
            self.take(2);
            if kind != '{' && self.rest.starts_with('\n') {
                self.take(1);
            }
        } else {
            return false;
        }
        true
    }

    fn comment(&mut self) -> Result<(), Fail> {
        let line = self.line;
        while !self.tag_end('#') {
            let Some(c) = self.rest.chars().next() else {
                return Err(Fail::syntax(line, "a comment is not closed by #}"));
            };
            self.take(c.len_utf8());
        }
        Ok(())
    }

    /// `{% raw %}` … `{% endraw %}`: tags inside are text.
    fn raw(&mut self) -> Result<(), Fail> {
        let line = self.line;
        let spaces = self.rest.len() - self.rest.trim_start().len();
        self.take(spaces + "raw".len());
        let spaces = self.rest.len() - self.rest.trim_start().len();
        self.take(spaces);
        if let Some(after) = self.rest.strip_prefix("-%}") {
            let bytes = self.rest.len() - after.trim_start_matches(is_space).len();
            self.take(bytes);
        } else if self.rest.starts_with("%}") {
            self.take(2);
        } else {
            return Err(Fail::syntax(line, "raw takes no arguments"));
        }
        let mut from = 0;
        while let Some(at) = self.rest[from..].find("{%").map(|at| from + at) {
            let inner = &self.rest[at + 2..];
            let sign = inner.chars().next().filter(|c| matches!(c, '-' | '+'));
            let inner = inner[sign.map_or(0, char::len_utf8)..].trim_start();
            if let Some(after) = inner.strip_prefix("endraw") {
                let text = self.take(at);
                self.data(strip_before(text, sign, '%', false), line);
                let bytes = self.rest.len() - after.trim_start().len();
                self.take(bytes);
                return if self.tag_end('%') {
                    Ok(())
                } else {
                    Err(Fail::syntax(self.line, "endraw takes no arguments"))
                };
            }
            from = at + 2;
        }
        Err(Fail::syntax(line, "raw is not closed by endraw"))
    }

    fn tag(&mut self, kind: char) -> Result<(), Fail> {
        let (begin, end) = match kind {
            '{' => (Token::VariableBegin, Token::VariableEnd),
            _ => (Token::BlockBegin, Token::BlockEnd),
        };
        let opened = self.line;
        self.tokens.push((begin, opened));
        let mut open: Vec<&'static str> = Vec::new();
        loop {
            let spaces = self.rest.len() - self.rest.trim_start_matches(is_space).len();
            self.take(spaces);
            let line = self.line;
            if open.is_empty() && self.tag_end(kind) {
                self.tokens.push((end, line));
                return Ok(());
            }
            let Some(first) = self.rest.chars().next() else {
                return Err(Fail::syntax(opened, "a tag is not closed"));
            };
            let token = if first.is_alphabetic() || first == '_' {
                let bytes =
                    self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
                Token::Name(self.take(bytes).into())
            } else if first.is_ascii_digit() {
                self.number()?
            } else if first == '"' || first == '\'' {
                self.string(first)?
            } else {
                let Some(op) = OPERATORS.into_iter().find(|op| self.rest.starts_with(op)) else {
                    return Err(Fail::syntax(line, format!("{first:?} has no meaning in a tag")));
                };
                self.take(op.len());
                match op {
                    "(" | "[" | "{" => open.push(op),
                    ")" | "]" | "}" => {
                        let pair = [open.pop().unwrap_or(""), op].concat();
                        if !matches!(pair.as_str(), "()" | "[]" | "{}") {
                            return Err(Fail::syntax(line, format!("{op:?} closes nothing")));
                        }
                    }
                    _ => {}
                }
                Token::Op(op)
            };
            self.tokens.push((token, line));
        }
    }

    fn number(&mut self) -> Result<Token, Fail> {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let mut bytes = digits(self.rest);
        let mut is_float = false;
        if let Some(fraction) = self.rest[bytes..].strip_prefix('.')
            && fraction.starts_with(|c: char| c.is_ascii_digit())
        {
            bytes += 1 + digits(fraction);
            is_float = true;
        }
        if let Some(exponent) = self.rest[bytes..].strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['-', '+']));
            if exponent[sign..].starts_with(|c: char| c.is_ascii_digit()) {
                bytes += 1 + sign + digits(&exponent[sign..]);
                is_float = true;
            }
        }
        let line = self.line;
        let text = self.take(bytes).replace('_', "");
        let token =
            if is_float { text.parse().ok().map(Token::Float) } else { text.parse().ok().map(Token::Int) };
        token.ok_or_else(|| Fail::syntax(line, format!("the number {text} is too large")))
    }

    fn string(&mut self, quote: char) -> Result<Token, Fail> {
        let line = self.line;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                _ if c == quote => {
                    self.take(at + 1);
                    return Ok(Token::Str(text.into()));
                }
                '\\' => {
                    let Some((_, escaped)) = chars.next() else { break };
                    let digits = match escaped {
                        'x' => 2,
                        'u' => 4,
                        'U' => 8,
                        _ => 0,
                    };
                    if digits > 0 {
                        let code: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                        let value = u32::from_str_radix(&code, 16).ok().filter(|_| code.len() == digits);
                        let Some(c) = value.and_then(char::from_u32) else {
                            return Err(Fail::syntax(line, format!("\\{escaped}{code} is no character")));
                        };
                        text.push(c);
                    } else {
                        match escaped {
                            'n' => text.push('\n'),
                            't' => text.push('\t'),
                            'r' => text.push('\r'),
                            'b' => text.push('\u{8}'),
                            'f' => text.push('\u{c}'),
                            'v' => text.push('\u{b}'),
                            'a' => text.push('\u{7}'),
                            '0' => text.push('\0'),
                            '\n' => {}
                            '\\' | '\'' | '"' => text.push(escaped),
                            _ => text.extend(['\\', escaped]),
                        }
                    }
                }
                _ => text.push(c),
            }
        }
        Err(Fail::syntax(line, "a string is not closed"))
    }
}

/// The next `{{`, `{%` or `{#`.
fn next_tag(text: &str) -> Option<(usize, char)> {
    let bytes = text.as_bytes();
    let at = bytes.windows(2).position(|w| w[0] == b'{' && matches!(w[1], b'{' | b'%' | b'#'))?;
    Some((at, bytes[at + 1] as char))
}

/// The text before a tag: `-` strips all white space, else a block or comment alone on its line so far strips that.
fn strip_before(text: &str, sign: Option<char>, kind: char, line_starts: bool) -> &str {
    match sign {
        Some('-') => text.trim_end_matches(is_space),
        None if kind != '{' => {
            let line = text.rfind('\n').map_or(0, |at| at + 1);
            let alone = (line > 0 || line_starts) && text[line..].chars().all(is_space);
            if alone { &text[..line] } else { text }
        }
        _ => text,
    }
}

/// What Python's `str.isspace` holds for.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

//! Chat templates: messages in, text out, with what the messages say kept apart from what the template says.

use std::sync::Arc;

use draftwood_base::{Error, Result};
use serde_json::Value as Json;

use crate::control::ControlTokens;
use crate::jinja::{self, Ast, Fail, Fuel, Value};

/// Most bytes of a template: the longest known ones have 20 kB.
const MAX_SOURCE: usize = 256 * 1024;
/// Units of work of a rendering without data: well under a second, under 100 MB.
const WORK: u64 = 32 << 20;
/// Further units for each byte of the messages.
const WORK_PER_BYTE: u64 = 64;

/// A piece of a rendered chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Whether the template wrote a control token here. Other text may spell one, and is to be encoded as text.
    pub is_control: bool,
    /// The token's spelling, or the text.
    pub text: String,
}

/// A rendered chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// All of it.
    pub text: String,
    /// The same in pieces.
    pub segments: Vec<Segment>,
    /// Whether the text may be encoded as one: every control token spelled in it is the template's.
    pub is_plain: bool,
}

/// A parsed chat template and the control tokens of its tokenizer.
///
/// The template comes with a model file and is as untrusted as that; the module `jinja` says what bounds it.
#[derive(Debug)]
pub struct ChatTemplate {
    ast: Ast,
    control: ControlTokens,
    /// Noncharacters that the template itself contains.
    used: Vec<char>,
}

impl ChatTemplate {
    /// Parses `source`; `control` are the spellings of the tokenizer's control tokens.
    ///
    /// # Errors
    /// `InvalidArgument` with the line, for what is no Jinja or not supported in chat templates.
    pub fn new(source: &str, control: &[String]) -> Result<Self> {
        if source.len() > MAX_SOURCE {
            let expected = format!("at most {MAX_SOURCE} bytes");
            return Err(Error::invalid("the chat template", expected, format!("{} bytes", source.len()), ""));
        }
        let ast = jinja::parse(source).map_err(|fail| explain(fail, "valid Jinja"))?;
        let mut used = Vec::new();
        collect_noncharacters(source, &mut used);
        Ok(Self { ast, control: ControlTokens::new(control), used })
    }

    /// Renders a chat: `variables` is a JSON object with `messages` and whatever else is data, `tokens` are the special
    /// tokens by the names that templates use (`bos_token`).
    ///
    /// A control token spelled in the data is broken by a mark that occurs nowhere else (a Unicode noncharacter) before
    /// the template sees it, and the mark is taken out of the pieces afterwards. A spelling that starts in one string
    /// and ends in another is broken as well.
    ///
    /// # Errors
    /// `InvalidArgument` with the template's own words when it refuses the chat, with its line when it fails, or with
    /// the limit when it does not end.
    ///
    /// # Cost
    /// That of the template, bounded by a constant plus the size of the data.
    pub fn render(&self, variables: &str, tokens: &[(String, String)]) -> Result<Rendered> {
        let what = "the variables of a chat template";
        let parsed = serde_json::from_str(variables)
            .map_err(|error| Error::invalid(what, "a JSON object", error, "messages hold what JSON can"))?;
        let Json::Object(data) = &parsed else {
            return Err(Error::invalid(what, "a JSON object", "another value", ""));
        };
        self.refuse_single_characters(&parsed)?;
        let mark = self.unused_mark(&parsed)?;
        let mut names: Vec<(Arc<str>, Value)> = Vec::new();
        let mut work = WORK;
        for (name, value) in data {
            let value = self.value(value, mark).map_err(|fail| explain(fail, "able to hold the messages"))?;
            work = work.saturating_add(value.weight().saturating_mul(WORK_PER_BYTE));
            names.push((name.as_str().into(), value));
        }
        names.extend(
            tokens.iter().map(|(name, spelling)| (name.as_str().into(), Value::str(spelling.as_str()))),
        );
        let rendered = jinja::render(&self.ast, names, Fuel::new(work))
            .map_err(|fail| explain(fail, "able to render these messages"))?;

        let pieces = self.control.split(&rendered);
        let segments: Vec<Segment> = pieces
            .map(|(is_control, text)| Segment { is_control, text: text.replace(mark, "") })
            .filter(|segment| !segment.text.is_empty())
            .collect();
        let text = rendered.replace(mark, "");
        let written = segments.iter().filter(|segment| segment.is_control).count();
        let spelled = self.control.split(&text).filter(|(is_control, _)| *is_control).count();
        Ok(Rendered { text, segments, is_plain: written == spelled })
    }

    /// A control token of one character has no inside to put a mark in.
    fn refuse_single_characters(&self, data: &Json) -> Result<()> {
        let mut found = None;
        for_each_text(data, &mut |text| found = found.or_else(|| self.control.single_character(text)));
        found.map_or(Ok(()), |c| {
            let expected = format!("free of {c:?}, a control token that cannot be told from text");
            Err(Error::invalid("the messages of a chat", expected, "a message with it", ""))
        })
    }

    /// The first noncharacter that neither the data nor the template contain.
    fn unused_mark(&self, data: &Json) -> Result<char> {
        let mut used = self.used.clone();
        for_each_text(data, &mut |text| collect_noncharacters(text, &mut used));
        noncharacters().find(|c| !used.contains(c)).ok_or_else(|| {
            let expected = "text without one of the 66 Unicode noncharacters";
            Error::invalid("the messages of a chat", expected, "text with all of them", "")
        })
    }

    fn value(&self, data: &Json, mark: char) -> std::result::Result<Value, Fail> {
        Ok(match data {
            Json::Null => Value::None,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => n.as_i64().map_or(Value::Float(n.as_f64().unwrap_or(f64::NAN)), Value::Int),
            Json::String(text) => Value::str(&*self.control.break_up(text, mark)),
            Json::Array(items) => {
                let items: std::result::Result<_, _> =
                    items.iter().map(|item| self.value(item, mark)).collect();
                Value::data_list(items?)?
            }
            Json::Object(entries) => {
                let mut pairs = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    pairs.push((Value::str(&*self.control.break_up(key, mark)), self.value(value, mark)?));
                }
                Value::data_map(pairs)?
            }
        })
    }
}

fn explain(fail: Fail, expected: &str) -> Error {
    let hint = "render the chat yourself and pass it as a string";
    match fail {
        Fail::Raised(words) => {
            Error::invalid("the messages of a chat", "what the model's template accepts", words, "")
        }
        Fail::Error { line, message } => {
            Error::invalid("the chat template", expected, format!("{message} in line {line}"), hint)
        }
        Fail::OutOfWork => Error::invalid(
            "the chat template",
            expected,
            "a template that does not end in the work it may do",
            hint,
        ),
    }
}

/// U+FDD0 … U+FDEF and the last two of every plane: assigned to nothing, for ever.
pub(crate) fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || c as u32 & 0xfffe == 0xfffe
}

fn noncharacters() -> impl Iterator<Item = char> {
    let ends = (0..=16u32).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
    ('\u{fdd0}'..='\u{fdef}').chain(ends.filter_map(char::from_u32))
}

fn collect_noncharacters(text: &str, used: &mut Vec<char>) {
    for c in text.chars().filter(|&c| is_noncharacter(c)) {
        if !used.contains(&c) {
            used.push(c);
        }
    }
}

fn for_each_text(data: &Json, visit: &mut impl FnMut(&str)) {
    match data {
        Json::String(text) => visit(text),
        Json::Array(items) => items.iter().for_each(|item| for_each_text(item, visit)),
        Json::Object(entries) => {
            for (key, value) in entries {
                visit(key);
                for_each_text(value, visit);
            }
        }
        _ => {}
    }
}

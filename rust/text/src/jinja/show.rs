//! Values as text: Python's `str` and `repr`, and `json.dumps`.

use std::fmt::Write;

use super::fail::{Fail, Fuel};
use super::value::Value;

/// Python's `str(value)`; an undefined value is empty.
pub(super) fn text_of(value: &Value, fuel: &mut Fuel) -> Result<String, Fail> {
    match value {
        Value::Str(text) => {
            fuel.spend(text.len() as u64)?;
            Ok(text.to_string())
        }
        Value::Undefined(_) => Ok(String::new()),
        other => {
            fuel.spend(other.weight().saturating_mul(8))?;
            let mut out = String::new();
            repr(other, &mut out);
            Ok(out)
        }
    }
}

/// Python's `repr`. The caller has paid for the weight.
fn repr(value: &Value, out: &mut String) {
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(i) => out.push_str(&i.to_string()),
        Value::Float(f) => out.push_str(&float(*f)),
        Value::Str(text) => quoted(text, out),
        Value::List(items) => {
            out.push('[');
            separated(items.slice(), out, repr);
            out.push(']');
        }
        Value::Tuple(items) => {
            out.push('(');
            separated(items.slice(), out, repr);
            out.push_str(if items.slice().len() == 1 { ",)" } else { ")" });
        }
        Value::Map(map) => {
            out.push('{');
            separated(map.entries(), out, |(key, value), out| {
                repr(key, out);
                out.push_str(": ");
                repr(value, out);
            });
            out.push('}');
        }
        other => {
            let _ = write!(out, "<{}>", other.kind());
        }
    }
}

fn separated<T>(items: &[T], out: &mut String, mut show: impl FnMut(&T, &mut String)) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        show(item, out);
    }
}

fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if c == quote => out.extend(['\\', c]),
            _ if is_printable(c) => out.push(c),
            _ => {
                let code = c as u32;
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Nearly Python's `isprintable`: Rust escapes the same classes. Noncharacters count as printable here, because one
/// of them marks data (see `chat`) and must come out as it went in.
fn is_printable(c: char) -> bool {
    c == ' '
        || crate::chat::is_noncharacter(c)
        || matches!(c, '"' | '\'')
        // With a letter in front, since combining marks are escaped where they have nothing to combine with.
        || !['a', c].iter().collect::<String>().escape_debug().any(|shown| shown == '\\')
}

/// Python's `repr` of a float: the shortest digits that read back, with an exponent outside 1e-4 … 1e16.
pub(super) fn float(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "nan"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_string();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = value.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// Layout of `json.dumps`.
pub(super) struct Json {
    pub(super) indent: Option<String>,
    pub(super) item_separator: String,
    pub(super) key_separator: String,
    pub(super) ascii: bool,
    pub(super) sorted: bool,
}

/// `json.dumps(value)`, which is what transformers' `tojson` is.
pub(super) fn json(value: &Value, style: &Json, fuel: &mut Fuel) -> Result<String, Fail> {
    let mut out = String::new();
    write_json(value, style, 0, &mut out, fuel)?;
    Ok(out)
}

fn write_json(
    value: &Value,
    style: &Json,
    level: usize,
    out: &mut String,
    fuel: &mut Fuel,
) -> Result<(), Fail> {
    let start = out.len();
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(i) => out.push_str(&i.to_string()),
        Value::Float(f) if f.is_nan() => out.push_str("NaN"),
        Value::Float(f) if f.is_infinite() => out.push_str(if *f > 0.0 { "Infinity" } else { "-Infinity" }),
        Value::Float(f) => out.push_str(&float(*f)),
        Value::Str(text) => {
            fuel.spend(text.len() as u64)?;
            json_string(text, style.ascii, out);
        }
        Value::List(items) | Value::Tuple(items) => {
            out.push('[');
            for (i, item) in items.slice().iter().enumerate() {
                next_item(i, style, level + 1, out, fuel)?;
                write_json(item, style, level + 1, out, fuel)?;
            }
            close(items.slice().is_empty(), ']', style, level, out);
            fuel.spend(16)?;
            return Ok(());
        }
        Value::Map(map) => {
            let mut entries = Vec::with_capacity(map.entries().len());
            for (key, value) in map.entries() {
                let name = match key {
                    Value::Str(text) => text.to_string(),
                    other => {
                        let mut name = String::new();
                        write_json(other, style, level, &mut name, fuel)?;
                        name
                    }
                };
                fuel.spend(name.len() as u64 + 16)?;
                entries.push((name, value));
            }
            if style.sorted {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
            }
            out.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                next_item(i, style, level + 1, out, fuel)?;
                json_string(key, style.ascii, out);
                out.push_str(&style.key_separator);
                write_json(value, style, level + 1, out, fuel)?;
            }
            close(entries.is_empty(), '}', style, level, out);
            fuel.spend(16)?;
            return Ok(());
        }
        other => return Err(Fail::error(format!("a {} has no JSON form", other.kind()))),
    }
    fuel.spend(1 + (out.len() - start) as u64)
}

fn next_item(i: usize, style: &Json, level: usize, out: &mut String, fuel: &mut Fuel) -> Result<(), Fail> {
    if i > 0 {
        fuel.spend(style.item_separator.len() as u64)?;
        out.push_str(&style.item_separator);
    }
    if let Some(indent) = &style.indent {
        fuel.spend(1 + (indent.len() * level) as u64)?;
        out.push('\n');
        out.push_str(&indent.repeat(level));
    }
    Ok(())
}

fn close(empty: bool, bracket: char, style: &Json, level: usize, out: &mut String) {
    if let (Some(indent), false) = (&style.indent, empty) {
        out.push('\n');
        out.push_str(&indent.repeat(level));
    }
    out.push(bracket);
}

fn json_string(text: &str, ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            _ if c < ' ' || (ascii && !c.is_ascii() && !crate::chat::is_noncharacter(c)) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

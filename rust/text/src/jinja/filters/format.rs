//! Python's `format % values`.

use crate::jinja::fail::{Fail, Fuel};
use crate::jinja::show::{float, text_of};
use crate::jinja::value::Value;

/// Python's `format % values` with %s, %r (as %s), %d, %i, %f, %x and %%.
pub(in crate::jinja) fn percent_format(
    format: &str,
    values: &[Value],
    fuel: &mut Fuel,
) -> Result<Value, Fail> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let digits = after.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(after.len());
        let (width, precision) = after[..digits].split_once('.').unwrap_or((&after[..digits], ""));
        let kind = after[digits..].chars().next().unwrap_or('\0');
        rest = after.get(digits + kind.len_utf8()..).unwrap_or_default();
        if kind == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            return Err(Fail::error("a format needs more values"));
        };
        let (Ok(width), Ok(precision)) = (or_zero(width), or_zero(precision)) else {
            return Err(Fail::error("a format's width is too large"));
        };
        let text = match (kind, value.as_int(), value.as_number()) {
            ('s' | 'r', ..) => text_of(value, fuel)?,
            ('d' | 'i', Some(i), _) => i.to_string(),
            ('d' | 'i', None, Some(f)) => float(f.trunc()).trim_end_matches(".0").to_string(),
            ('x', Some(i), _) if i >= 0 => format!("{i:x}"),
            ('f', _, Some(f)) => {
                let shown = if after[..digits].contains('.') { precision } else { 6 };
                format!("{f:.shown$}")
            }
            _ => return Err(Fail::error(format!("%{kind} does not format a {}", value.kind()))),
        };
        let missing = width.saturating_sub(text.chars().count());
        fuel.spend((missing + text.len()) as u64)?;
        let fill = if after.starts_with('0') && kind != 's' { "0" } else { " " };
        out.push_str(&fill.repeat(missing));
        out.push_str(&text);
    }
    out.push_str(rest);
    Value::text(out, fuel)
}

fn or_zero(digits: &str) -> Result<usize, ()> {
    match digits {
        "" => Ok(0),
        digits => digits.parse().ok().filter(|&n| n <= 10_000).ok_or(()),
    }
}

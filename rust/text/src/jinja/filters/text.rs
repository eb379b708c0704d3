//! Filters that make a string of one: case, white space, escapes, JSON.

use crate::jinja::eval::{Given, Run};
use crate::jinja::fail::Fail;
use crate::jinja::methods;
use crate::jinja::show::{Json, json};
use crate::jinja::value::Value;

pub(super) fn text_filter(
    run: &mut Run<'_>,
    name: &str,
    value: &Value,
    given: &Given,
) -> Result<Value, Fail> {
    let text = methods::soft(run, value)?;
    let result = match name {
        "upper" => text.to_uppercase(),
        "lower" => text.to_lowercase(),
        "capitalize" => methods::capitalize(&text),
        "title" => {
            // Jinja starts words after white space and ( { [ < -, unlike Python's `title`.
            let mut starts = true;
            let mut out = String::with_capacity(text.len());
            for c in text.chars() {
                if starts {
                    out.extend(c.to_uppercase())
                } else {
                    out.extend(c.to_lowercase())
                }
                starts = c.is_whitespace() || matches!(c, '-' | '(' | '{' | '[' | '<');
            }
            out
        }
        "trim" => {
            let chars = match given.get(0, "chars") {
                None | Some(Value::None) => None,
                Some(chars) => Some(methods::soft(run, chars)?),
            };
            methods::strip(&text, true, true, chars.as_deref(), run)?.to_string()
        }
        "replace" => {
            given.only(name, &["s", "old", "new"])?;
            let (Some(old), Some(new)) = (given.get(0, "old"), given.get(1, "new")) else {
                return Err(Fail::error("replace takes what to replace and by what"));
            };
            let (old, new) = (methods::soft(run, old)?, methods::soft(run, new)?);
            let count = given.get(2, "count").cloned();
            return methods::replace(run, &text, &old, &new, count.as_ref());
        }
        "indent" => return indent(run, &text, given),
        _ => {
            run.fuel.spend(6 * text.len() as u64)?;
            let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            escaped.replace('\'', "&#39;").replace('"', "&#34;")
        }
    };
    Value::text(result, &mut run.fuel)
}

fn indent(run: &mut Run<'_>, text: &str, given: &Given) -> Result<Value, Fail> {
    given.only("indent", &["width", "first", "blank"])?;
    let indention = match given.get(0, "width") {
        None => "    ".to_string(),
        Some(Value::Str(text)) => text.to_string(),
        Some(width) => spaces(run, width, "indent takes an integer or a string")?,
    };
    let flag = |place, name| given.get(place, name).is_some_and(Value::is_true);
    let mut out = String::new();
    let with_end = format!("{text}\n");
    for (i, line) in methods::lines(&with_end, false).into_iter().enumerate() {
        let wanted = if i == 0 { flag(1, "first") } else { flag(2, "blank") || !line.is_empty() };
        run.fuel.spend((indention.len() + line.len() + 1) as u64)?;
        if i > 0 {
            out.push('\n');
        }
        if wanted {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Value::text(out, &mut run.fuel)
}

pub(super) fn to_json(run: &mut Run<'_>, value: &Value, given: &Given) -> Result<Value, Fail> {
    given.only("tojson", &["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let flag = |place, name| given.get(place, name).is_some_and(Value::is_true);
    let indent = match given.get(1, "indent") {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(width) => Some(spaces(run, width, "tojson takes an integer as indent")?),
    };
    let (mut item, mut key) = (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string());
    match given.get(2, "separators") {
        None | Some(Value::None) => {}
        Some(separators) => match separators.iterate(&mut run.fuel)?.slice() {
            [Value::Str(i), Value::Str(k)] => (item, key) = (i.to_string(), k.to_string()),
            _ => return Err(Fail::error("tojson takes two separators")),
        },
    }
    let style = Json {
        indent,
        item_separator: item,
        key_separator: key,
        ascii: flag(0, "ensure_ascii"),
        sorted: flag(3, "sort_keys"),
    };
    let text = json(value, &style, &mut run.fuel)?;
    Value::text(text, &mut run.fuel)
}

/// As many spaces as an argument says.
fn spaces(run: &mut Run<'_>, width: &Value, refusal: &str) -> Result<String, Fail> {
    let width = width.as_int().ok_or_else(|| Fail::error(refusal))?.max(0);
    run.fuel.spend(width as u64)?;
    Ok(" ".repeat(width as usize))
}

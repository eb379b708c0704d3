//! `value | filter`.

use std::sync::Arc;

use super::eval::{Given, Run};
use super::fail::{Fail, Fuel, STEP};
use super::show::{Json, float, json, text_of};
use super::value::Value;
use super::{methods, tests};

pub(super) const FILTERS: [&str; 41] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "sort",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];

pub(super) fn filter(run: &mut Run<'_>, name: &str, value: Value, given: &Given) -> Result<Value, Fail> {
    match name {
        "default" | "d" => {
            given.only(name, &["default_value", "boolean"])?;
            let falsy = given.get(1, "boolean").is_some_and(Value::is_true) && !value.is_true();
            let absent = matches!(value, Value::Undefined(_)) || falsy;
            Ok(if absent { given.get(0, "default_value").cloned().unwrap_or(Value::str("")) } else { value })
        }
        "length" | "count" => Ok(Value::Int(value.length(&mut run.fuel)? as i64)),
        "list" => Ok(Value::List(value.iterate(&mut run.fuel)?)),
        "items" => methods::filter_items(run, &value),
        "safe" => Ok(value),
        "string" => {
            let text = text_of(&value, &mut run.fuel)?;
            Value::text(text, &mut run.fuel)
        }
        "upper" | "lower" | "title" | "capitalize" | "trim" | "indent" | "replace" | "escape" | "e" => {
            text_filter(run, name, &value, given)
        }
        "tojson" => to_json(run, &value, given),
        "join" => join(run, &value, given),
        "first" | "last" => {
            let items = value.iterate(&mut run.fuel)?;
            let item = if name == "first" { items.slice().first() } else { items.slice().last() };
            Ok(item.cloned().unwrap_or_else(|| Value::Undefined(format!("the {name} of nothing").into())))
        }
        "reverse" => match &value {
            Value::Str(text) => {
                let reversed = text.chars().rev().collect();
                Value::text(reversed, &mut run.fuel)
            }
            other => {
                let items = other.iterate(&mut run.fuel)?;
                Value::list(items.slice().iter().rev().cloned().collect(), &mut run.fuel)
            }
        },
        "map" => map(run, &value, given),
        "select" | "reject" | "selectattr" | "rejectattr" => select(run, name, &value, given),
        "sort" | "unique" | "min" | "max" | "sum" | "dictsort" => ordered(run, name, &value, given),
        "batch" => batch(run, &value, given),
        "attr" => match given.get(0, "name") {
            Some(Value::Str(name)) => run.attribute(&value, name),
            _ => Err(Fail::error("attr takes a name")),
        },
        "bool" => Ok(Value::Bool(value.is_true())),
        "abs" | "int" | "float" | "round" => number(run, name, &value, given),
        _ => {
            let format = text_of(&value, &mut run.fuel)?;
            percent_format(&format, &given.positional, &mut run.fuel)
        }
    }
}

fn text_filter(run: &mut Run<'_>, name: &str, value: &Value, given: &Given) -> Result<Value, Fail> {
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
        Some(width) => {
            let width =
                width.as_int().ok_or_else(|| Fail::error("indent takes an integer or a string"))?.max(0);
            run.fuel.spend(width as u64)?;
            " ".repeat(width as usize)
        }
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

fn to_json(run: &mut Run<'_>, value: &Value, given: &Given) -> Result<Value, Fail> {
    given.only("tojson", &["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let flag = |place, name| given.get(place, name).is_some_and(Value::is_true);
    let indent = match given.get(1, "indent") {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(width) => {
            let width =
                width.as_int().ok_or_else(|| Fail::error("tojson takes an integer as indent"))?.max(0);
            run.fuel.spend(width as u64)?;
            Some(" ".repeat(width as usize))
        }
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

fn join(run: &mut Run<'_>, value: &Value, given: &Given) -> Result<Value, Fail> {
    given.only("join", &["d", "attribute"])?;
    let separator = match given.get(0, "d") {
        Some(separator) => text_of(separator, &mut run.fuel)?,
        None => String::new(),
    };
    let attribute = given.get(1, "attribute").cloned();
    let items = value.iterate(&mut run.fuel)?;
    let mut out = String::new();
    for (i, item) in items.slice().iter().enumerate() {
        let item = match &attribute {
            Some(attribute) => by_path(run, item, attribute, None)?,
            None => item.clone(),
        };
        let text = text_of(&item, &mut run.fuel)?;
        let separator = if i > 0 { separator.as_str() } else { "" };
        run.fuel.spend((separator.len() + text.len()) as u64)?;
        out.push_str(separator);
        out.push_str(&text);
    }
    Ok(Value::str(out))
}

/// `attribute` of filters: names and indexes with dots between; what is missing on the way is the default.
fn by_path(run: &mut Run<'_>, item: &Value, path: &Value, default: Option<&Value>) -> Result<Value, Fail> {
    let mut value = item.clone();
    let text = path.as_str();
    run.fuel.spend(STEP + text.map_or(0, str::len) as u64)?;
    let parts: Vec<Value> = match text {
        Some(text) => {
            text.split('.').map(|part| part.parse().map_or_else(|_| Value::str(part), Value::Int)).collect()
        }
        None => vec![path.clone()],
    };
    for key in parts {
        value = run.item(&value, &key)?;
        if let (Value::Undefined(_), Some(default)) = (&value, default) {
            value = default.clone();
        }
    }
    Ok(value)
}

fn map(run: &mut Run<'_>, value: &Value, given: &Given) -> Result<Value, Fail> {
    let items = value.iterate(&mut run.fuel)?;
    let mut out = Vec::new();
    if let Some(attribute) = given.get(usize::MAX, "attribute") {
        let default = given.get(usize::MAX, "default");
        for item in items.slice() {
            out.push(by_path(run, item, attribute, default)?);
        }
        return Value::list(out, &mut run.fuel);
    }
    let (name, rest) = split_name(given, "map", 0)?;
    if !FILTERS.contains(&&*name) {
        return Err(Fail::error(format!("there is no filter {name:?}")));
    }
    for item in items.slice() {
        // Its arguments may name `map` again, as deep as they are many.
        out.push(run.deeper(|run| filter(run, &name, item.clone(), &rest))?);
    }
    Value::list(out, &mut run.fuel)
}

/// The filter or test named by argument `place`, and the arguments after it.
fn split_name(given: &Given, callee: &str, place: usize) -> Result<(Arc<str>, Given), Fail> {
    match given.positional.get(place) {
        Some(Value::Str(name)) => {
            let rest =
                Given { positional: given.positional[place + 1..].to_vec(), named: given.named.clone() };
            Ok((name.clone(), rest))
        }
        _ => Err(Fail::error(format!("{callee} takes a name"))),
    }
}

fn select(run: &mut Run<'_>, name: &str, value: &Value, given: &Given) -> Result<Value, Fail> {
    let items = value.iterate(&mut run.fuel)?;
    let wanted = name.starts_with("select");
    let attribute = if name.ends_with("attr") {
        let Some(attribute) = given.positional.first() else {
            return Err(Fail::error(format!("{name} takes an attribute")));
        };
        Some(attribute.clone())
    } else {
        None
    };
    let place = usize::from(attribute.is_some());
    let test = if given.positional.len() > place { Some(split_name(given, name, place)?) } else { None };
    if let Some((test, _)) = test.as_ref().filter(|(test, _)| !tests::TESTS.contains(&&**test)) {
        return Err(Fail::error(format!("there is no test {test:?}")));
    }
    let mut out = Vec::new();
    for item in items.slice() {
        run.fuel.spend(STEP)?;
        let subject = match &attribute {
            Some(attribute) => by_path(run, item, attribute, None)?,
            None => item.clone(),
        };
        let holds = match &test {
            Some((test, rest)) => tests::test(run, test, &subject, rest)?,
            None => subject.is_true(),
        };
        if holds == wanted {
            out.push(item.clone());
        }
    }
    Value::list(out, &mut run.fuel)
}

/// Filters that compare elements: by an attribute, strings without regard to case unless asked.
fn ordered(run: &mut Run<'_>, name: &str, value: &Value, given: &Given) -> Result<Value, Fail> {
    let named = |name: &str| given.get(usize::MAX, name);
    let names: &[&str] = match name {
        "sort" => &["reverse", "case_sensitive", "attribute"],
        "dictsort" => &["case_sensitive", "by", "reverse"],
        "sum" => &["attribute", "start"],
        _ => &["case_sensitive", "attribute"],
    };
    given.only(name, names)?;
    let argument =
        |wanted: &str| names.iter().position(|n| *n == wanted).and_then(|place| given.get(place, wanted));
    let flag = |name: &str| argument(name).is_some_and(Value::is_true);
    let items = if name == "dictsort" { methods::filter_items(run, value)? } else { value.clone() };
    let items = items.iterate(&mut run.fuel)?;
    let by = match (name, named("by").or(argument("by")).and_then(Value::as_str)) {
        ("dictsort", Some("value")) => Some(Value::Int(1)),
        ("dictsort", _) => Some(Value::Int(0)),
        _ => argument("attribute").cloned(),
    };
    let mut keyed = Vec::with_capacity(items.slice().len());
    for item in items.slice() {
        let key = match &by {
            Some(path) => by_path(run, item, path, None)?,
            None => item.clone(),
        };
        let key = match &key {
            Value::Str(text) if !flag("case_sensitive") && name != "sum" => {
                Value::text(text.to_lowercase(), &mut run.fuel)?
            }
            _ => key,
        };
        keyed.push((key, item.clone()));
    }
    match name {
        "sum" => {
            let mut total = argument("start").cloned().unwrap_or(Value::Int(0));
            for (key, _) in &keyed {
                total = run.binary("+", &total, key)?;
            }
            Ok(total)
        }
        "unique" => {
            let mut kept: Vec<(Value, Value)> = Vec::new();
            'items: for (key, item) in keyed {
                for (other, _) in &kept {
                    if key.same_key(other, &mut run.fuel)? {
                        continue 'items;
                    }
                }
                kept.push((key, item));
            }
            Value::list(kept.into_iter().map(|(_, item)| item).collect(), &mut run.fuel)
        }
        _ => {
            let keys: Vec<&Value> = keyed.iter().map(|(key, _)| key).collect();
            let plain = |key: &&Value| key.as_number().is_some_and(|number| !number.is_nan());
            let mixed = keys.iter().find(|key| keys[0].as_str().is_some() != key.as_str().is_some());
            if let Some(key) = mixed.or_else(|| keys.iter().find(|key| key.as_str().is_none() && !plain(key)))
            {
                return Err(Fail::error(format!(
                    "{name} compares numbers or strings, got a {} among them",
                    key.kind()
                )));
            }
            // Paid before it starts, so that the comparison cannot fail midway.
            let weight: u64 = keys.iter().map(|key| key.weight()).sum();
            run.fuel.spend(weight.saturating_mul(u64::from(keys.len().max(2).ilog2()) + 1))?;
            let order = |a: &Value, b: &Value| match (a.as_str(), b.as_str(), a.as_int(), b.as_int()) {
                (Some(a), Some(b), ..) => a.cmp(b),
                (_, _, Some(a), Some(b)) => a.cmp(&b),
                _ => a.as_number().unwrap_or(0.0).total_cmp(&b.as_number().unwrap_or(0.0)),
            };
            let falling = name == "max" || flag("reverse");
            keyed.sort_by(|a, b| if falling { order(&b.0, &a.0) } else { order(&a.0, &b.0) });
            let mut sorted = keyed.into_iter().map(|(_, item)| item);
            if name == "min" || name == "max" {
                return Ok(sorted
                    .next()
                    .unwrap_or_else(|| Value::Undefined(format!("the {name} of nothing").into())));
            }
            Value::list(sorted.collect(), &mut run.fuel)
        }
    }
}

fn batch(run: &mut Run<'_>, value: &Value, given: &Given) -> Result<Value, Fail> {
    let size = given.get(0, "linecount").and_then(Value::as_int).and_then(|size| usize::try_from(size).ok());
    let Some(size) = size.filter(|&size| size > 0) else {
        return Err(Fail::error("batch takes a positive size"));
    };
    let items = value.iterate(&mut run.fuel)?;
    let mut out = Vec::new();
    for chunk in items.slice().chunks(size) {
        let mut chunk = chunk.to_vec();
        if let Some(fill) = given.get(1, "fill_with").filter(|_| chunk.len() < size) {
            run.fuel.spend(32 * (size - chunk.len()) as u64)?;
            chunk.resize(size, fill.clone());
        }
        out.push(Value::list(chunk, &mut run.fuel)?);
    }
    Value::list(out, &mut run.fuel)
}

fn number(run: &mut Run<'_>, name: &str, value: &Value, given: &Given) -> Result<Value, Fail> {
    let parsed = match value {
        Value::Str(text) => {
            run.fuel.spend(text.len() as u64)?;
            let text = text.trim().replace('_', "");
            match (name, text.parse::<i64>()) {
                ("int", Ok(i)) => Some(Value::Int(i)),
                _ => text.parse::<f64>().ok().map(Value::Float),
            }
        }
        other => other.as_number().is_some().then(|| other.clone()),
    };
    match (name, parsed) {
        ("int", Some(Value::Float(f))) if f.is_finite() => Ok(Value::Int(f as i64)),
        ("int", Some(Value::Float(_)) | None) => {
            Ok(given.get(0, "default").cloned().unwrap_or(Value::Int(0)))
        }
        ("int", Some(other)) => Ok(Value::Int(other.as_int().unwrap_or(0))),
        ("float", Some(other)) => Ok(Value::Float(other.as_number().unwrap_or(0.0))),
        ("float", None) => Ok(given.get(0, "default").cloned().unwrap_or(Value::Float(0.0))),
        (_, _) if value.as_number().is_none() => Err(Fail::error(format!("a {} is no number", value.kind()))),
        ("abs", _) => match value.as_int() {
            Some(i) => i.checked_abs().map(Value::Int).ok_or_else(|| Fail::error("a number is too large")),
            None => Ok(Value::Float(value.as_number().unwrap_or(0.0).abs())),
        },
        _ => {
            given.only(name, &["precision", "method"])?;
            let precision =
                given.get(0, "precision").and_then(Value::as_int).unwrap_or(0).clamp(-300, 300) as i32;
            let method = given.get(1, "method").and_then(Value::as_str);
            if let (Some(i), None | Some("common")) = (value.as_int(), method) {
                return Ok(Value::Int(round_integer(i, precision)));
            }
            let value = value.as_number().unwrap_or(0.0);
            let scale = 10f64.powi(precision);
            Ok(Value::Float(match method {
                Some("ceil") => (value * scale).ceil() / scale,
                Some("floor") => (value * scale).floor() / scale,
                // Rust prints the exact decimal expansion, rounded half to even, as Python's `round` does.
                _ if precision >= 0 => format!("{value:.*}", precision as usize).parse().unwrap_or(value),
                _ => (value * scale).round_ties_even() / scale,
            }))
        }
    }
}

/// Python's `round` of an integer: to tens, hundreds, … half to even, for a negative precision.
fn round_integer(value: i64, precision: i32) -> i64 {
    let Some(unit) = 10i128.checked_pow(precision.min(0).unsigned_abs()).filter(|unit| *unit <= 1 << 64)
    else {
        return 0;
    };
    let (quotient, rest) = (i128::from(value).div_euclid(unit), i128::from(value).rem_euclid(unit));
    let up = 2 * rest > unit || (2 * rest == unit && quotient % 2 != 0);
    i64::try_from((quotient + i128::from(up)) * unit).unwrap_or(value)
}

/// Python's `format % values` with %s, %r (as %s), %d, %i, %f, %x and %%.
pub(super) fn percent_format(format: &str, values: &[Value], fuel: &mut Fuel) -> Result<Value, Fail> {
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

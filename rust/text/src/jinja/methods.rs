//! Methods of Python's strings, dictionaries and lists that templates use. What would change a value is refused, as
//! in Jinja's immutable sandbox.

use super::eval::{Given, Run};
use super::fail::Fail;
use super::lex::is_space;
use super::show::text_of;
use super::value::Value;

const STR: [&str; 27] = [
    "strip",
    "lstrip",
    "rstrip",
    "split",
    "rsplit",
    "splitlines",
    "partition",
    "rpartition",
    "startswith",
    "endswith",
    "removeprefix",
    "removesuffix",
    "replace",
    "upper",
    "lower",
    "title",
    "capitalize",
    "find",
    "rfind",
    "count",
    "join",
    "isdigit",
    "isalpha",
    "isalnum",
    "isspace",
    "isupper",
    "islower",
];
const MAP: [&str; 10] =
    ["get", "items", "keys", "values", "copy", "pop", "popitem", "update", "setdefault", "clear"];
const LIST: [&str; 9] = ["index", "count", "append", "extend", "insert", "pop", "remove", "reverse", "sort"];

/// Whether values like `owner` have the method; Python finds it before an entry of the same name.
pub(super) fn has(owner: &Value, name: &str) -> bool {
    match owner {
        Value::Str(_) => STR.contains(&name),
        Value::Map(_) => MAP.contains(&name),
        Value::List(_) => LIST.contains(&name),
        Value::Tuple(_) => LIST[..2].contains(&name),
        Value::Loop(_) => matches!(name, "cycle"),
        _ => false,
    }
}

pub(super) fn call(run: &mut Run<'_>, owner: &Value, name: &str, given: &Given) -> Result<Value, Fail> {
    match owner {
        Value::Str(text) => string(run, text, name, given),
        Value::Map(map) => {
            let entries = map.entries();
            let items: Vec<Value> = match name {
                "get" => {
                    given.only(name, &["key", "default"])?;
                    let Some(key) = given.get(0, "key") else {
                        return Err(Fail::error("get takes a key"));
                    };
                    let found = map.get(key, &mut run.fuel)?;
                    return Ok(found.or(given.get(1, "default")).cloned().unwrap_or(Value::None));
                }
                "copy" => return Ok(owner.clone()),
                "keys" => entries.iter().map(|(key, _)| key.clone()).collect(),
                "values" => entries.iter().map(|(_, value)| value.clone()).collect(),
                "items" => return filter_items(run, owner),
                _ => {
                    return Err(Fail::error(format!(
                        "{name} would change a dictionary, which templates may not"
                    )));
                }
            };
            Value::list(items, &mut run.fuel)
        }
        Value::List(items) | Value::Tuple(items) => {
            let Some(wanted) = given.get(0, "value").filter(|_| matches!(name, "index" | "count")) else {
                return Err(Fail::error(format!("{name} would change a list, which templates may not")));
            };
            let mut places = Vec::new();
            for (place, item) in items.slice().iter().enumerate() {
                if wanted.equals(item, &mut run.fuel)? {
                    places.push(place);
                }
            }
            match (name, places.first()) {
                ("count", _) => Ok(Value::Int(places.len() as i64)),
                (_, Some(place)) => Ok(Value::Int(*place as i64)),
                _ => Err(Fail::error("the value is not in the list")),
            }
        }
        Value::Loop(state) if !given.positional.is_empty() => {
            Ok(given.positional[state.index % given.positional.len()].clone())
        }
        other => Err(Fail::error(format!("a {} has no method {name}", other.kind()))),
    }
}

/// Pairs (key, value) of a dictionary.
pub(super) fn filter_items(run: &mut Run<'_>, owner: &Value) -> Result<Value, Fail> {
    let mut pairs = Vec::new();
    match owner {
        Value::Undefined(_) => {}
        Value::Map(map) => {
            for (key, value) in map.entries() {
                pairs.push(Value::tuple(vec![key.clone(), value.clone()], &mut run.fuel)?);
            }
        }
        other => return Err(Fail::error(format!("a {} has no items", other.kind()))),
    }
    Value::list(pairs, &mut run.fuel)
}

fn string(run: &mut Run<'_>, text: &str, name: &str, given: &Given) -> Result<Value, Fail> {
    run.fuel.spend(2 * text.len() as u64)?;
    let argument = |place: usize, name: &str| match given.get(place, name) {
        None | Some(Value::None) => Ok(None),
        Some(Value::Str(text)) => Ok(Some(text.clone())),
        Some(other) => Err(Fail::error(format!("a string method takes strings, got a {}", other.kind()))),
    };
    let required = |name: &str| {
        argument(0, name)?.ok_or_else(|| Fail::error("a string method misses its argument".to_string()))
    };
    let result = match name {
        "strip" | "lstrip" | "rstrip" => {
            let chars = argument(0, "chars")?;
            strip(text, name != "rstrip", name != "lstrip", chars.as_deref(), run)?.to_string()
        }
        "upper" => text.to_uppercase(),
        "lower" => text.to_lowercase(),
        "title" => title(text),
        "capitalize" => capitalize(text),
        "replace" => {
            let (old, new) = (required("old")?, argument(1, "new")?.unwrap_or_default());
            return replace(run, text, &old, &new, given.get(2, "count"));
        }
        "removeprefix" => text.strip_prefix(&*required("prefix")?).unwrap_or(text).to_string(),
        "removesuffix" => text.strip_suffix(&*required("suffix")?).unwrap_or(text).to_string(),
        "join" => {
            let Some(values) = given.get(0, "iterable") else {
                return Err(Fail::error("join takes a list"));
            };
            let items = values.iterate(&mut run.fuel)?;
            let mut out = String::new();
            for (i, item) in items.slice().iter().enumerate() {
                let Some(part) = item.as_str() else {
                    return Err(Fail::error(format!("join takes strings, got a {}", item.kind())));
                };
                let separator = if i > 0 { text } else { "" };
                run.fuel.spend((separator.len() + part.len()) as u64)?;
                out.push_str(separator);
                out.push_str(part);
            }
            return Ok(Value::str(out));
        }
        "split" | "rsplit" => {
            return split(run, text, name, argument(0, "sep")?.as_deref(), given.get(1, "maxsplit"));
        }
        "splitlines" => {
            let keep = given.get(0, "keepends").is_some_and(Value::is_true);
            return strings(run, lines(text, keep));
        }
        "partition" | "rpartition" => {
            let separator = required("sep")?;
            let found = if name == "partition" { text.find(&*separator) } else { text.rfind(&*separator) };
            let parts = match found {
                Some(at) => [&text[..at], &separator, &text[at + separator.len()..]],
                None if name == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            return Value::tuple(parts.map(Value::str).to_vec(), &mut run.fuel);
        }
        "startswith" | "endswith" => {
            let Some(affix) = given.get(0, "prefix") else {
                return Err(Fail::error(format!("{name} takes a string")));
            };
            let affixes = match affix {
                Value::Tuple(items) => items.slice().to_vec(),
                other => vec![other.clone()],
            };
            for affix in &affixes {
                let Some(affix) = affix.as_str() else {
                    return Err(Fail::error(format!("{name} takes strings, got a {}", affix.kind())));
                };
                run.fuel.spend(affix.len() as u64)?;
                if if name == "startswith" { text.starts_with(affix) } else { text.ends_with(affix) } {
                    return Ok(Value::Bool(true));
                }
            }
            return Ok(Value::Bool(false));
        }
        "find" | "rfind" => {
            let part = required("sub")?;
            let at = if name == "find" { text.find(&*part) } else { text.rfind(&*part) };
            return Ok(Value::Int(at.map_or(-1, |at| text[..at].chars().count() as i64)));
        }
        "count" => return Ok(Value::Int(text.matches(&*required("sub")?).count() as i64)),
        "isupper" => return Ok(Value::Bool(is_cased(text, char::is_uppercase, char::is_lowercase))),
        "islower" => return Ok(Value::Bool(is_cased(text, char::is_lowercase, char::is_uppercase))),
        _ => {
            let class: fn(char) -> bool = match name {
                "isdigit" => |c| c.is_ascii_digit() || (!c.is_ascii() && c.is_numeric()),
                "isalpha" => char::is_alphabetic,
                "isalnum" => char::is_alphanumeric,
                _ => is_space,
            };
            return Ok(Value::Bool(!text.is_empty() && text.chars().all(class)));
        }
    };
    Value::text(result, &mut run.fuel)
}

/// Python's `strip`: white space, or any of `chars`, at the chosen ends.
pub(super) fn strip<'a>(
    text: &'a str,
    left: bool,
    right: bool,
    chars: Option<&str>,
    run: &mut Run<'_>,
) -> Result<&'a str, Fail> {
    let set: Option<Vec<char>> = chars.map(|chars| chars.chars().collect());
    run.fuel.spend(text.len() as u64 * (1 + set.as_ref().map_or(0, Vec::len) as u64))?;
    let goes = |c: char| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(&c));
    let text = if left { text.trim_start_matches(goes) } else { text };
    Ok(if right { text.trim_end_matches(goes) } else { text })
}

pub(super) fn replace(
    run: &mut Run<'_>,
    text: &str,
    old: &str,
    new: &str,
    count: Option<&Value>,
) -> Result<Value, Fail> {
    let most = match count.map(|count| count.as_int()) {
        None => usize::MAX,
        Some(Some(count)) => usize::try_from(count).unwrap_or(usize::MAX),
        Some(None) => return Err(Fail::error("replace takes an integer count")),
    };
    let matches = text.matches(old).count().min(most);
    run.fuel.spend((text.len() as u64).saturating_add((matches as u64).saturating_mul(new.len() as u64)))?;
    Ok(Value::str(if most == usize::MAX { text.replace(old, new) } else { text.replacen(old, new, most) }))
}

fn split(
    run: &mut Run<'_>,
    text: &str,
    name: &str,
    separator: Option<&str>,
    most: Option<&Value>,
) -> Result<Value, Fail> {
    let most = match most.map(|most| most.as_int()) {
        None => usize::MAX,
        Some(Some(most)) => usize::try_from(most).unwrap_or(usize::MAX),
        Some(None) => return Err(Fail::error("split takes an integer as its limit")),
    };
    let pieces = most.saturating_add(1);
    let mut parts: Vec<&str> = match separator {
        Some("") => return Err(Fail::error("split takes no empty separator")),
        Some(separator) if name == "split" => text.splitn(pieces, separator).collect(),
        Some(separator) => text.rsplitn(pieces, separator).collect(),
        // Runs of white space separate, none of them at the ends.
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim_matches(is_space);
            while !rest.is_empty() {
                let cut = if parts.len() == most {
                    None
                } else if name == "split" {
                    rest.split_once(is_space).map(|(part, rest)| (part, rest.trim_start_matches(is_space)))
                } else {
                    rest.rsplit_once(is_space).map(|(rest, part)| (part, rest.trim_end_matches(is_space)))
                };
                let (part, remaining) = cut.unwrap_or((rest, ""));
                parts.push(part);
                rest = remaining;
            }
            parts
        }
    };
    if name == "rsplit" {
        parts.reverse();
    }
    strings(run, parts)
}

fn strings(run: &mut Run<'_>, parts: Vec<&str>) -> Result<Value, Fail> {
    run.fuel.spend(parts.iter().map(|part| part.len() as u64 + 16).sum())?;
    Value::list(parts.into_iter().map(Value::str).collect(), &mut run.fuel)
}

/// Python's `splitlines`.
pub(super) fn lines(text: &str, keep: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, end) = match rest.find(ends) {
            Some(at) if rest[at..].starts_with("\r\n") => (at, at + 2),
            Some(at) => (at, at + rest[at..].chars().next().map_or(0, char::len_utf8)),
            None => (rest.len(), rest.len()),
        };
        parts.push(&rest[..if keep { end } else { line }]);
        rest = &rest[end..];
    }
    parts
}

/// Python's `str.title`: letters after what is no letter are capitals.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphabetic();
    }
    out
}

pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect(),
        None => String::new(),
    }
}

/// Whether `text` has letters of the `right` case and none of the `wrong` one.
pub(super) fn is_cased(text: &str, right: fn(char) -> bool, wrong: fn(char) -> bool) -> bool {
    text.chars().any(right) && !text.chars().any(wrong)
}

/// A value as a string method sees it.
pub(super) fn soft(run: &mut Run<'_>, value: &Value) -> Result<String, Fail> {
    text_of(value, &mut run.fuel)
}

//! Filters over the elements of a sequence: chosen, changed or joined one by one.

use crate::jinja::eval::{Given, Run};
use crate::jinja::fail::{Fail, STEP};
use crate::jinja::show::text_of;
use crate::jinja::tests;
use crate::jinja::value::Value;
use std::sync::Arc;

use super::{FILTERS, filter};

pub(super) fn join(run: &mut Run<'_>, value: &Value, given: &Given) -> Result<Value, Fail> {
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
pub(super) fn by_path(
    run: &mut Run<'_>,
    item: &Value,
    path: &Value,
    default: Option<&Value>,
) -> Result<Value, Fail> {
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

pub(super) fn map(run: &mut Run<'_>, value: &Value, given: &Given) -> Result<Value, Fail> {
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

pub(super) fn select(run: &mut Run<'_>, name: &str, value: &Value, given: &Given) -> Result<Value, Fail> {
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

pub(super) fn batch(run: &mut Run<'_>, value: &Value, given: &Given) -> Result<Value, Fail> {
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

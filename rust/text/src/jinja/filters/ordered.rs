//! Filters that compare or add the elements of a sequence.

use crate::jinja::eval::{Given, Run};
use crate::jinja::fail::Fail;
use crate::jinja::methods;
use crate::jinja::value::Value;

use super::elements::by_path;

/// Filters that compare elements: by an attribute, strings without regard to case unless asked.
pub(super) fn ordered(run: &mut Run<'_>, name: &str, value: &Value, given: &Given) -> Result<Value, Fail> {
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

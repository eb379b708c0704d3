//! `value | filter`: the names, and which file has each.

mod elements;
mod format;
mod numbers;
mod ordered;
mod text;

use elements::{batch, join, map, select};
pub(super) use format::percent_format;
use numbers::number;
use ordered::ordered;
use text::{text_filter, to_json};

use super::eval::{Given, Run};
use super::fail::Fail;
use super::methods;
use super::show::text_of;
use super::value::Value;

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

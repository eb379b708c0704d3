//! `value is test`.

use super::eval::{Given, Run};
use super::fail::Fail;
use super::methods;
use super::value::Value;

pub(super) const TESTS: [&str; 33] = [
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "integer",
    "float",
    "boolean",
    "true",
    "false",
    "mapping",
    "iterable",
    "sequence",
    "callable",
    "odd",
    "even",
    "divisibleby",
    "in",
    "sameas",
    "upper",
    "lower",
    "eq",
    "equalto",
    "ne",
    "lt",
    "lessthan",
    "le",
    "gt",
    "greaterthan",
    "ge",
    "filter",
    "test",
    "escaped",
];

pub(super) fn test(run: &mut Run<'_>, name: &str, value: &Value, given: &Given) -> Result<bool, Fail> {
    let operator = match name {
        "eq" | "equalto" | "sameas" => "==",
        "ne" => "!=",
        "lt" | "lessthan" => "<",
        "le" => "<=",
        "gt" | "greaterthan" => ">",
        "ge" => ">=",
        "in" => "in",
        "divisibleby" => "%",
        _ => "",
    };
    if !operator.is_empty() {
        let Some(other) = given.get(0, "other") else {
            return Err(Fail::error(format!("the test {name} takes a value to compare with")));
        };
        if name == "sameas" && value.kind() != other.kind() {
            return Ok(false);
        }
        if operator == "%" {
            return Ok(run.binary("%", value, other)?.as_number() == Some(0.0));
        }
        return run.compare(operator, value, other);
    }
    let is_even = || match value.as_int() {
        Some(i) => Ok(i % 2 == 0),
        None => Err(Fail::error(format!("a {} is neither odd nor even", value.kind()))),
    };
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined(_)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "none" => matches!(value, Value::None),
        "string" => value.as_str().is_some(),
        // Python counts truth values as numbers, Jinja's `integer` does not.
        "number" => value.as_number().is_some(),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "mapping" => matches!(value, Value::Map(_)),
        "sequence" | "iterable" => {
            matches!(
                value,
                Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Map(_) | Value::Undefined(_)
            )
        }
        "callable" => matches!(value, Value::Macro(_) | Value::Function(_) | Value::Method(_)),
        "odd" => !is_even()?,
        "even" => is_even()?,
        "upper" | "lower" => {
            let text = value.as_str().unwrap_or_default();
            run.fuel.spend(text.len() as u64)?;
            if name == "upper" {
                methods::is_cased(text, char::is_uppercase, char::is_lowercase)
            } else {
                methods::is_cased(text, char::is_lowercase, char::is_uppercase)
            }
        }
        "filter" => value.as_str().is_some_and(|name| super::filters::FILTERS.contains(&name)),
        "test" => value.as_str().is_some_and(|name| TESTS.contains(&name)),
        _ => false,
    })
}

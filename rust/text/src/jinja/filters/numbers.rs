//! Filters of numbers, which read strings too.

use crate::jinja::eval::{Given, Run};
use crate::jinja::fail::Fail;
use crate::jinja::value::Value;

pub(super) fn number(run: &mut Run<'_>, name: &str, value: &Value, given: &Given) -> Result<Value, Fail> {
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

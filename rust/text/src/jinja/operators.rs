//! Operators: arithmetic with Python's rules, comparisons, `in`.

use super::eval::Run;
use super::fail::Fail;
use super::filters;
use super::lookup::undefined;
use super::show::text_of;
use super::value::Value;

impl Run<'_> {
    pub(super) fn binary(&mut self, op: &str, left: &Value, right: &Value) -> Result<Value, Fail> {
        let fuel = &mut self.fuel;
        match (op, left, right) {
            ("~", ..) => {
                let text = text_of(left, fuel)? + &text_of(right, fuel)?;
                return Value::text(text, fuel);
            }
            (_, Value::Undefined(name), _) | (_, _, Value::Undefined(name)) => return Err(undefined(name)),
            ("+", Value::Str(a), Value::Str(b)) => {
                fuel.spend((a.len() + b.len()) as u64)?;
                return Ok(Value::str([&**a, &**b].concat()));
            }
            ("+", Value::List(a), Value::List(b)) => {
                return Value::list([a.slice(), b.slice()].concat(), fuel);
            }
            ("+", Value::Tuple(a), Value::Tuple(b)) => {
                return Value::tuple([a.slice(), b.slice()].concat(), fuel);
            }
            ("%", Value::Str(format), _) => {
                let values = match right {
                    Value::Tuple(items) => items.slice().to_vec(),
                    other => vec![other.clone()],
                };
                return filters::percent_format(format, &values, fuel);
            }
            ("*", Value::Str(_) | Value::List(_), _) if right.as_int().is_some() => {
                let times = right.as_int().unwrap_or(0).max(0) as u64;
                fuel.spend(left.weight().saturating_mul(times).saturating_mul(if left.as_str().is_some() {
                    1
                } else {
                    32
                }))?;
                return match left {
                    Value::List(items) => Value::list(
                        std::iter::repeat_n(items.slice(), times as usize).flatten().cloned().collect(),
                        fuel,
                    ),
                    _ => Ok(Value::str(left.as_str().unwrap_or_default().repeat(times as usize))),
                };
            }
            ("*", _, Value::Str(_) | Value::List(_)) if left.as_int().is_some() => {
                return self.binary(op, right, left);
            }
            _ => {}
        }
        let refuse =
            || Fail::error(format!("{op} does not apply to a {} and a {}", left.kind(), right.kind()));
        if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
            let exact = match op {
                "+" => a.checked_add(b),
                "-" => a.checked_sub(b),
                "*" => a.checked_mul(b),
                "//" | "%" | "/" if b == 0 => return Err(Fail::error("division by zero")),
                "//" => {
                    a.checked_div_euclid(b).map(|q| if b < 0 && a.rem_euclid(b) != 0 { q - 1 } else { q })
                }
                "%" => a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
                "**" if b >= 0 => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
                _ => return float_op(op, a as f64, b as f64).ok_or_else(refuse),
            };
            return exact.map(Value::Int).ok_or_else(too_large);
        }
        match (left.as_number(), right.as_number()) {
            (Some(_), Some(0.0)) if matches!(op, "/" | "//" | "%") => Err(Fail::error("division by zero")),
            (Some(a), Some(b)) => float_op(op, a, b).ok_or_else(refuse),
            _ => Err(refuse()),
        }
    }

    pub(super) fn compare(&mut self, op: &str, left: &Value, right: &Value) -> Result<bool, Fail> {
        match op {
            "==" => left.equals(right, &mut self.fuel),
            "!=" => Ok(!left.equals(right, &mut self.fuel)?),
            "in" => self.contains(right, left),
            "not in" => Ok(!self.contains(right, left)?),
            _ => {
                if let (Value::Undefined(name), _) | (_, Value::Undefined(name)) = (left, right) {
                    return Err(undefined(name));
                }
                let order = left.compare(right, &mut self.fuel)?;
                Ok(match op {
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                })
            }
        }
    }

    pub(super) fn contains(&mut self, container: &Value, item: &Value) -> Result<bool, Fail> {
        match container {
            Value::Str(text) => {
                let Some(part) = item.as_str() else {
                    return Err(Fail::error(format!("a {} cannot be searched in a string", item.kind())));
                };
                self.fuel.spend((text.len() + part.len()) as u64)?;
                Ok(text.contains(part))
            }
            Value::List(items) | Value::Tuple(items) => {
                for candidate in items.slice() {
                    if item.equals(candidate, &mut self.fuel)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(map) => Ok(map.get(item, &mut self.fuel)?.is_some()),
            Value::Undefined(_) => Ok(false),
            other => Err(Fail::error(format!("a {} contains nothing", other.kind()))),
        }
    }
}

fn float_op(op: &str, a: f64, b: f64) -> Option<Value> {
    Some(Value::Float(match op {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        "//" => (a / b).floor(),
        "%" => a - b * (a / b).floor(),
        "**" => a.powf(b),
        _ => return None,
    }))
}

pub(super) fn too_large() -> Fail {
    Fail::error("a number is too large")
}

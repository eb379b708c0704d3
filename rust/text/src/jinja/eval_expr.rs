//! Expressions: operators, look-ups, calls.

use std::sync::Arc;

use super::ast::Expr;
use super::eval::{Given, Run};
use super::fail::Fail;
use super::show::text_of;
use super::value::{Loop, Value};
use super::{filters, methods, tests};

impl<'t> Run<'t> {
    pub(super) fn expression(&mut self, expr: &'t Expr) -> Result<Value, Fail> {
        self.deeper(|run| run.evaluate(expr))
    }

    fn evaluate(&mut self, expr: &'t Expr) -> Result<Value, Fail> {
        Ok(match expr {
            Expr::Const(value) => value.clone(),
            Expr::Name(symbol) => self.lookup(*symbol),
            Expr::List(items) => {
                let items = self.all(items)?;
                Value::list(items, &mut self.fuel)?
            }
            Expr::Tuple(items) => {
                let items = self.all(items)?;
                Value::tuple(items, &mut self.fuel)?
            }
            Expr::Map(entries) => {
                let mut pairs = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    pairs.push((self.expression(key)?, self.expression(value)?));
                }
                Value::map(pairs, &mut self.fuel)?
            }
            Expr::Not(value) => Value::Bool(!self.expression(value)?.is_true()),
            Expr::Negative(value) => {
                let value = self.expression(value)?;
                match (value.as_int(), value.as_number()) {
                    (Some(i), _) => Value::Int(i.checked_neg().ok_or_else(too_large)?),
                    (None, Some(f)) => Value::Float(-f),
                    _ => return Err(Fail::error(format!("a {} has no negative", value.kind()))),
                }
            }
            Expr::Positive(value) => {
                let value = self.expression(value)?;
                if value.as_number().is_none() {
                    return Err(Fail::error(format!("a {} is no number", value.kind())));
                }
                value
            }
            Expr::And(sides) => {
                let left = self.expression(&sides[0])?;
                if left.is_true() { self.expression(&sides[1])? } else { left }
            }
            Expr::Or(sides) => {
                let left = self.expression(&sides[0])?;
                if left.is_true() { left } else { self.expression(&sides[1])? }
            }
            Expr::Binary(op, sides) => {
                let (left, right) = (self.expression(&sides[0])?, self.expression(&sides[1])?);
                self.binary(op, &left, &right)?
            }
            Expr::Compare(first, rest) => {
                let mut left = self.expression(first)?;
                for (op, right) in rest {
                    let right = self.expression(right)?;
                    if !self.compare(op, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            Expr::Choice(parts, otherwise) => match (self.expression(&parts[1])?.is_true(), otherwise) {
                (true, _) => self.expression(&parts[0])?,
                (false, Some(otherwise)) => self.expression(otherwise)?,
                (false, None) => Value::Undefined("the value of an if without else".into()),
            },
            Expr::Attribute(owner, name) => {
                let owner = self.expression(owner)?;
                self.attribute(&owner, name)?
            }
            Expr::Item(parts) => {
                let (owner, index) = (self.expression(&parts[0])?, self.expression(&parts[1])?);
                self.item(&owner, &index)?
            }
            Expr::Slice(owner, parts) => {
                let owner = self.expression(owner)?;
                let mut bounds = [None; 3];
                for (bound, part) in bounds.iter_mut().zip(parts) {
                    if let Some(part) = part {
                        let value = self.expression(part)?;
                        *bound = match value {
                            Value::None => None,
                            _ => Some(value.as_int().ok_or_else(|| {
                                Fail::error(format!("a slice takes integers, got a {}", value.kind()))
                            })?),
                        };
                    }
                }
                self.slice(&owner, bounds)?
            }
            Expr::Call(callee, arguments) => {
                // A method is called where it is looked up, without a value for "this method of this object".
                if let Expr::Attribute(owner, name) = &**callee {
                    let owner = self.expression(owner)?;
                    if methods::has(&owner, name) {
                        let given = self.given(arguments)?;
                        return methods::call(self, &owner, name, &given);
                    }
                    let callee = self.attribute(&owner, name)?;
                    let given = self.given(arguments)?;
                    return self.call(&callee, &given);
                }
                let callee = self.expression(callee)?;
                let given = self.given(arguments)?;
                self.call(&callee, &given)?
            }
            Expr::Filter(value, call) => {
                let value = self.expression(value)?;
                let given = self.given(&call.arguments)?;
                filters::filter(self, &call.name, value, &given)?
            }
            Expr::Test(value, call) => {
                let value = self.expression(value)?;
                let given = self.given(&call.arguments)?;
                Value::Bool(tests::test(self, &call.name, &value, &given)?)
            }
        })
    }

    fn all(&mut self, parts: &'t [Expr]) -> Result<Vec<Value>, Fail> {
        parts.iter().map(|part| self.expression(part)).collect()
    }

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

    /// `owner.name`: a method, else an entry.
    pub(super) fn attribute(&mut self, owner: &Value, name: &Arc<str>) -> Result<Value, Fail> {
        match owner {
            Value::Undefined(owner) => Err(undefined(owner)),
            Value::Namespace(index) => {
                self.fuel.spend(self.namespaces[*index].len() as u64)?;
                let found = self.namespaces[*index].iter().find(|(n, _)| n == name);
                Ok(found.map_or_else(|| Value::Undefined(name.clone()), |(_, value)| value.clone()))
            }
            Value::Loop(state) => Ok(loop_attribute(state, name)),
            _ if methods::has(owner, name) => Ok(Value::Method(Arc::new((owner.clone(), name.clone())))),
            Value::Map(map) => {
                let found = map.get(&Value::Str(name.clone()), &mut self.fuel)?;
                Ok(found.cloned().unwrap_or_else(|| Value::Undefined(name.clone())))
            }
            _ => Ok(Value::Undefined(name.clone())),
        }
    }

    /// `owner[index]`: an entry, else what `owner.index` gives.
    pub(super) fn item(&mut self, owner: &Value, index: &Value) -> Result<Value, Fail> {
        let place = |length: usize, index: i64| {
            let from_start = if index < 0 { index.checked_add(length as i64)? } else { index };
            usize::try_from(from_start).ok().filter(|&i| i < length)
        };
        let found = match (owner, index) {
            (Value::Undefined(owner), _) => return Err(undefined(owner)),
            (Value::Map(map), _) => map.get(index, &mut self.fuel)?.cloned(),
            (Value::List(items) | Value::Tuple(items), _) if index.as_int().is_some() => {
                let at = place(items.slice().len(), index.as_int().unwrap_or(0));
                at.map(|at| items.slice()[at].clone())
            }
            (Value::Str(text), _) if index.as_int().is_some() => {
                let length = owner.length(&mut self.fuel)?;
                let at = place(length, index.as_int().unwrap_or(0));
                at.and_then(|at| text.chars().nth(at)).map(|c| Value::str(c.to_string()))
            }
            _ => None,
        };
        match (found, index) {
            (Some(value), _) => Ok(value),
            (None, Value::Str(name)) => match owner {
                Value::Map(_) if !methods::has(owner, name) => Ok(Value::Undefined(name.clone())),
                _ => self.attribute(owner, name),
            },
            (None, _) => Ok(Value::Undefined(text_of(index, &mut self.fuel)?.into())),
        }
    }

    fn slice(&mut self, owner: &Value, [start, stop, step]: [Option<i64>; 3]) -> Result<Value, Fail> {
        let length = match owner {
            Value::Undefined(name) => return Err(undefined(name)),
            Value::Str(_) | Value::List(_) | Value::Tuple(_) => owner.length(&mut self.fuel)? as i64,
            other => return Err(Fail::error(format!("a {} cannot be sliced", other.kind()))),
        };
        let step = step.unwrap_or(1);
        if step == 0 {
            return Err(Fail::error("a slice's step cannot be zero"));
        }
        // Python's rules: bounds count from the end when negative, and are clamped to the sequence.
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        let clamp = |bound: Option<i64>, absent: i64| match bound {
            None => absent,
            Some(b) if b < 0 => b.saturating_add(length).clamp(low, high),
            Some(b) => b.clamp(low, high),
        };
        let (start, stop) = if step > 0 {
            (clamp(start, low), clamp(stop, high))
        } else {
            (clamp(start, high), clamp(stop, low))
        };
        let mut places = Vec::new();
        let mut at = start;
        while if step > 0 { at < stop } else { at > stop } {
            self.fuel.spend(8)?;
            places.push(at as usize);
            at = at.saturating_add(step);
        }
        match owner {
            Value::Str(text) => {
                let chars: Vec<char> = text.chars().collect();
                Value::text(places.into_iter().map(|i| chars[i]).collect(), &mut self.fuel)
            }
            Value::List(items) => {
                Value::list(places.into_iter().map(|i| items.slice()[i].clone()).collect(), &mut self.fuel)
            }
            Value::Tuple(items) => {
                Value::tuple(places.into_iter().map(|i| items.slice()[i].clone()).collect(), &mut self.fuel)
            }
            other => Ok(other.clone()),
        }
    }

    fn call(&mut self, callee: &Value, given: &Given) -> Result<Value, Fail> {
        match callee {
            Value::Macro(index) => self.call_macro(*index, given),
            Value::Method(method) => methods::call(self, &method.0, &method.1, given),
            Value::Function(name) => self.function(name, given),
            Value::Undefined(name) => Err(undefined(name)),
            other => Err(Fail::error(format!("a {} cannot be called", other.kind()))),
        }
    }

    fn function(&mut self, name: &str, given: &Given) -> Result<Value, Fail> {
        match name {
            "raise_exception" => {
                let message = given.get(0, "message").cloned().unwrap_or_else(|| Value::str(""));
                Err(Fail::Raised(text_of(&message, &mut self.fuel)?))
            }
            "strftime_now" => match given.get(0, "format") {
                Some(Value::Str(format)) => self.now(format),
                _ => Err(Fail::error("strftime_now takes a format")),
            },
            "range" => self.range(given),
            "namespace" => {
                let attributes = self.named_entries("namespace", given)?;
                self.namespaces.push(attributes);
                Ok(Value::Namespace(self.namespaces.len() - 1))
            }
            _ => {
                let entries = self.named_entries("dict", given)?;
                let entries = entries.into_iter().map(|(name, value)| (Value::Str(name), value)).collect();
                Value::map(entries, &mut self.fuel)
            }
        }
    }

    /// Entries of `namespace(mapping, name=value)` and `dict(…)`.
    fn named_entries(&mut self, callee: &str, given: &Given) -> Result<Vec<(Arc<str>, Value)>, Fail> {
        self.fuel.spend(64 * (1 + given.named.len() as u64))?;
        let mut entries: Vec<(Arc<str>, Value)> = Vec::new();
        match given.positional.as_slice() {
            [] => {}
            [Value::Map(map)] => {
                for (key, value) in map.entries() {
                    self.fuel.spend(64)?;
                    let Value::Str(key) = key else {
                        return Err(Fail::error(format!("{callee} takes names as keys")));
                    };
                    entries.push((key.clone(), value.clone()));
                }
            }
            _ => return Err(Fail::error(format!("{callee} takes one dictionary and named values"))),
        }
        entries.extend(given.named.iter().cloned());
        Ok(entries)
    }

    fn range(&mut self, given: &Given) -> Result<Value, Fail> {
        let numbers: Option<Vec<i64>> = given.positional.iter().map(Value::as_int).collect();
        let (start, stop, step) = match numbers.as_deref() {
            Some([stop]) => (0, *stop, 1),
            Some([start, stop]) => (*start, *stop, 1),
            Some([start, stop, step]) if *step != 0 => (*start, *stop, *step),
            _ => return Err(Fail::error("range takes one to three integers, and no step of zero")),
        };
        let mut items = Vec::new();
        let mut at = start;
        while if step > 0 { at < stop } else { at > stop } {
            self.fuel.spend(super::fail::SLOT)?;
            items.push(Value::Int(at));
            at = at.saturating_add(step);
        }
        Value::list(items, &mut self.fuel)
    }
}

fn loop_attribute(state: &Loop, name: &Arc<str>) -> Value {
    let items = state.items.slice();
    let (index, length) = (state.index, items.len());
    match &**name {
        "index" => Value::Int(index as i64 + 1),
        "index0" => Value::Int(index as i64),
        "revindex" => Value::Int((length - index) as i64),
        "revindex0" => Value::Int((length - index) as i64 - 1),
        "first" => Value::Bool(index == 0),
        "last" => Value::Bool(index + 1 == length),
        "length" => Value::Int(length as i64),
        "depth" => Value::Int(i64::from(state.depth)),
        "depth0" => Value::Int(i64::from(state.depth) - 1),
        "previtem" if index > 0 => items[index - 1].clone(),
        "nextitem" if index + 1 < length => items[index + 1].clone(),
        _ => Value::Undefined(name.clone()),
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

pub(super) fn undefined(name: &str) -> Fail {
    Fail::error(format!("{name:?} is undefined"))
}

fn too_large() -> Fail {
    Fail::error("a number is too large")
}

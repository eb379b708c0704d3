//! Look-ups: attributes, entries, slices.

use std::sync::Arc;

use super::eval::Run;
use super::fail::Fail;
use super::methods;
use super::show::text_of;
use super::value::{Loop, Value};

impl Run<'_> {
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

    pub(super) fn slice(
        &mut self,
        owner: &Value,
        [start, stop, step]: [Option<i64>; 3],
    ) -> Result<Value, Fail> {
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

pub(super) fn undefined(name: &str) -> Fail {
    Fail::error(format!("{name:?} is undefined"))
}

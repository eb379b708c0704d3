//! Values of a template. Containers never change after they were made and know their size, so that an operation
//! which walks one can be paid before it starts: `[x, x]` sixty times over is small in memory and endless to print.

use std::sync::Arc;

use super::fail::{Fail, Fuel, SLOT};

/// Deepest nesting of containers.
const MAX_DEPTH: u32 = 100;

/// A value; clones are cheap.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A name or key that does not exist; the name is for messages.
    Undefined(Arc<str>),
    /// `none`.
    None,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Str(Arc<str>),
    /// A list; what Python gives as a generator is a list too.
    List(Arc<Items>),
    /// A tuple.
    Tuple(Arc<Items>),
    /// A dictionary in insertion order.
    Map(Arc<Map>),
    /// `loop` of one iteration.
    Loop(Arc<Loop>),
    /// Index of a namespace of this run: the only thing that can be changed, so it never owns what owns it.
    Namespace(usize),
    /// Index of a macro of the template.
    Macro(usize),
    /// A global function.
    Function(&'static str),
    /// A method that was looked up but not called.
    Method(Arc<(Value, Arc<str>)>),
}

/// Elements of a list or tuple.
#[derive(Debug)]
pub(crate) struct Items {
    items: Vec<Value>,
    size: Size,
}

/// Entries of a dictionary.
#[derive(Debug)]
pub(crate) struct Map {
    entries: Vec<(Value, Value)>,
    size: Size,
}

/// State of one iteration of a `for`.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(super) items: Arc<Items>,
    pub(super) index: usize,
    pub(super) depth: u32,
}

/// What walking a value costs, shared parts counted as often as they appear, and how deep it nests.
#[derive(Debug, Clone, Copy)]
struct Size {
    weight: u64,
    depth: u32,
}

impl Items {
    pub(super) fn slice(&self) -> &[Value] {
        &self.items
    }
}

impl Map {
    pub(super) fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    /// Entries in an order that two equal dictionaries share: strings first, then numbers, none last.
    fn by_key(&self) -> Vec<&(Value, Value)> {
        let rank = |key: &Value| (key.as_str().is_none(), key.as_number().is_none());
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by(|(a, _), (b, _)| {
            let text = a.as_str().cmp(&b.as_str());
            let number = a.as_number().unwrap_or(0.0).total_cmp(&b.as_number().unwrap_or(0.0));
            rank(a).cmp(&rank(b)).then(text).then(number)
        });
        entries
    }

    /// The value of a key; the search is paid by `fuel`.
    pub(super) fn get(&self, key: &Value, fuel: &mut Fuel) -> Result<Option<&Value>, Fail> {
        for (k, v) in &self.entries {
            if key.same_key(k, fuel)? {
                return Ok(Some(v));
            }
        }
        Ok(None)
    }
}

fn total<'a>(parts: impl Iterator<Item = &'a Value>) -> Result<Size, Fail> {
    let mut size = Size { weight: 1, depth: 0 };
    for part in parts {
        size.weight = size.weight.saturating_add(part.weight());
        size.depth = size.depth.max(part.nesting());
    }
    size.depth += 1;
    if size.depth > MAX_DEPTH {
        return Err(Fail::error(format!("values may nest {MAX_DEPTH} levels, these nest deeper")));
    }
    Ok(size)
}

impl Value {
    pub(crate) fn str(text: impl Into<Arc<str>>) -> Self {
        Value::Str(text.into())
    }

    /// A string that the template makes: its bytes are paid.
    pub(super) fn text(text: String, fuel: &mut Fuel) -> Result<Self, Fail> {
        fuel.spend(text.len() as u64)?;
        Ok(Value::Str(text.into()))
    }

    pub(super) fn items(items: Vec<Value>, fuel: &mut Fuel) -> Result<Arc<Items>, Fail> {
        fuel.spend(SLOT * (1 + items.len() as u64))?;
        let size = total(items.iter())?;
        Ok(Arc::new(Items { items, size }))
    }

    /// A list.
    pub(crate) fn list(items: Vec<Value>, fuel: &mut Fuel) -> Result<Self, Fail> {
        Ok(Value::List(Self::items(items, fuel)?))
    }

    pub(super) fn tuple(items: Vec<Value>, fuel: &mut Fuel) -> Result<Self, Fail> {
        Ok(Value::Tuple(Self::items(items, fuel)?))
    }

    /// A dictionary; of equal keys the last value stays, at the place of the first.
    pub(crate) fn map(pairs: Vec<(Value, Value)>, fuel: &mut Fuel) -> Result<Self, Fail> {
        fuel.spend(2 * SLOT * (1 + pairs.len() as u64))?;
        let mut entries: Vec<(Value, Value)> = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            if !matches!(key, Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::None)
            {
                return Err(Fail::error(format!("a key must be a string or a number, got a {}", key.kind())));
            }
            let mut place = None;
            for (at, entry) in entries.iter().enumerate() {
                if key.same_key(&entry.0, fuel)? {
                    place = Some(at);
                    break;
                }
            }
            match place {
                Some(at) => entries[at].1 = value,
                None => entries.push((key, value)),
            }
        }
        let size = total(entries.iter().flat_map(|(k, v)| [k, v]))?;
        Ok(Value::Map(Arc::new(Map { entries, size })))
    }

    /// A list of a caller's data, which no template has to pay for.
    pub(crate) fn data_list(items: Vec<Value>) -> Result<Self, Fail> {
        let size = total(items.iter())?;
        Ok(Value::List(Arc::new(Items { items, size })))
    }

    /// A dictionary of a caller's data; its keys differ.
    pub(crate) fn data_map(entries: Vec<(Value, Value)>) -> Result<Self, Fail> {
        let size = total(entries.iter().flat_map(|(k, v)| [k, v]))?;
        Ok(Value::Map(Arc::new(Map { entries, size })))
    }

    /// What one walk over the value costs.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Value::Str(text) => 1 + text.len() as u64,
            Value::List(items) | Value::Tuple(items) => items.size.weight,
            Value::Map(map) => map.size.weight,
            Value::Loop(state) => state.items.size.weight,
            Value::Method(method) => 1 + method.0.weight(),
            _ => 1,
        }
    }

    fn nesting(&self) -> u32 {
        match self {
            Value::List(items) | Value::Tuple(items) => items.size.depth,
            Value::Map(map) => map.size.depth,
            Value::Loop(state) => state.items.size.depth + 1,
            Value::Method(method) => method.0.nesting() + 1,
            _ => 0,
        }
    }

    /// Name of the type, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "undefined value",
            Value::None => "none",
            Value::Bool(_) => "truth value",
            Value::Int(_) => "integer",
            Value::Float(_) => "float",
            Value::Str(_) => "string",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Map(_) => "dictionary",
            Value::Loop(_) => "loop",
            Value::Namespace(_) => "namespace",
            Value::Macro(_) | Value::Function(_) | Value::Method(_) => "function",
        }
    }

    /// Python's truth.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::List(items) | Value::Tuple(items) => !items.items.is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            _ => true,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Integers; truth values count, as in Python.
    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(i) => Some(*i),
            Value::Bool(b) => Some(i64::from(*b)),
            _ => None,
        }
    }

    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Value::Float(f) => Some(*f),
            other => other.as_int().map(|i| i as f64),
        }
    }

    /// Equality; walks no more than `fuel` pays.
    pub(super) fn equals(&self, other: &Value, fuel: &mut Fuel) -> Result<bool, Fail> {
        let sorted = if matches!(self, Value::Map(_) | Value::List(_)) { 8 } else { 1 };
        fuel.spend(self.weight().min(other.weight()).saturating_mul(sorted))?;
        Ok(self.same(other))
    }

    /// Equality of keys, cheap when the lengths differ.
    pub(super) fn same_key(&self, other: &Value, fuel: &mut Fuel) -> Result<bool, Fail> {
        match (self, other) {
            (Value::Str(a), Value::Str(b)) if a.len() != b.len() => {
                fuel.spend(1)?;
                Ok(false)
            }
            _ => self.equals(other, fuel),
        }
    }

    fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                a.items.len() == b.items.len() && a.items.iter().zip(&b.items).all(|(a, b)| a.same(b))
            }
            (Value::Map(a), Value::Map(b)) => {
                a.entries.len() == b.entries.len()
                    && a.by_key().iter().zip(b.by_key()).all(|(a, b)| a.0.same(&b.0) && a.1.same(&b.1))
            }
            (Value::Namespace(a), Value::Namespace(b)) | (Value::Macro(a), Value::Macro(b)) => a == b,
            (Value::Function(a), Value::Function(b)) => a == b,
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => a == b,
                _ => matches!((self.as_number(), other.as_number()), (Some(a), Some(b)) if a == b),
            },
        }
    }

    /// Order of numbers, of strings, and of lists of them.
    pub(super) fn compare(&self, other: &Value, fuel: &mut Fuel) -> Result<std::cmp::Ordering, Fail> {
        fuel.spend(1 + self.weight().min(other.weight()))?;
        let refuse = || Fail::error(format!("a {} and a {} have no order", self.kind(), other.kind()));
        match (self, other) {
            (Value::Str(a), Value::Str(b)) => Ok(a.chars().cmp(b.chars())),
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                for (a, b) in a.items.iter().zip(&b.items) {
                    let order = a.compare(b, fuel)?;
                    if order.is_ne() {
                        return Ok(order);
                    }
                }
                Ok(a.items.len().cmp(&b.items.len()))
            }
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => Ok(a.cmp(&b)),
                _ => match (self.as_number(), other.as_number()) {
                    (Some(a), Some(b)) => a.partial_cmp(&b).ok_or_else(refuse),
                    _ => Err(refuse()),
                },
            },
        }
    }

    /// What a `for` runs over.
    pub(super) fn iterate(&self, fuel: &mut Fuel) -> Result<Arc<Items>, Fail> {
        match self {
            Value::List(items) | Value::Tuple(items) => Ok(items.clone()),
            Value::Undefined(_) => Self::items(Vec::new(), fuel),
            Value::Map(map) => Self::items(map.entries.iter().map(|(k, _)| k.clone()).collect(), fuel),
            Value::Str(text) => {
                fuel.spend(SLOT * text.len() as u64)?;
                Self::items(
                    text.chars().map(|c| Value::str(c.encode_utf8(&mut [0; 4]) as &str)).collect(),
                    fuel,
                )
            }
            other => Err(Fail::error(format!("a {} cannot be iterated", other.kind()))),
        }
    }

    /// Number of elements, entries or characters.
    pub(super) fn length(&self, fuel: &mut Fuel) -> Result<usize, Fail> {
        match self {
            Value::List(items) | Value::Tuple(items) => Ok(items.items.len()),
            Value::Map(map) => Ok(map.entries.len()),
            Value::Str(text) => {
                fuel.spend(text.len() as u64)?;
                Ok(text.chars().count())
            }
            Value::Undefined(_) => Ok(0),
            other => Err(Fail::error(format!("a {} has no length", other.kind()))),
        }
    }
}

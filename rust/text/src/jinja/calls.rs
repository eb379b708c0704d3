//! Calls of macros, methods, and the functions that a template has.

use std::sync::Arc;

use super::eval::{Given, Run};
use super::fail::Fail;
use super::lookup::undefined;
use super::methods;
use super::show::text_of;
use super::value::Value;

impl Run<'_> {
    pub(super) fn call(&mut self, callee: &Value, given: &Given) -> Result<Value, Fail> {
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

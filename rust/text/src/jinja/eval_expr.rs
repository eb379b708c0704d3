//! Expressions: what each node of their tree evaluates to.

use super::ast::Expr;
use super::eval::Run;
use super::fail::Fail;
use super::operators::too_large;
use super::value::Value;
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
}

//! Expressions, with Jinja's precedence: choice, or, and, not, comparison, `+ -`, `~`, `* / // %`, `**`, sign, then
//! what follows a value: attributes, items, calls, filters, tests.

use std::sync::Arc;

use super::ast::{Arguments, Call, Expr};
use super::fail::Fail;
use super::filters::FILTERS;
use super::lex::Token;
use super::parse::Parser;
use super::tests::TESTS;
use super::value::Value;

impl Parser {
    pub(super) fn expression(&mut self) -> Result<Expr, Fail> {
        self.nested(|p| {
            let mut value = p.or()?;
            while p.skip_name("if") {
                p.link()?;
                let test = p.or()?;
                let otherwise = if p.skip_name("else") { Some(Box::new(p.expression()?)) } else { None };
                value = Expr::Choice(Box::new([value, test]), otherwise);
            }
            Ok(value)
        })
    }

    /// An expression, or several with commas between: a tuple.
    pub(super) fn tuple_or_expression(&mut self) -> Result<Expr, Fail> {
        let first = self.expression()?;
        self.rest_of_tuple(first, Self::expression)
    }

    /// The same without `… if …`, which belongs to a `for` tag.
    pub(super) fn tuple_without_choice(&mut self) -> Result<Expr, Fail> {
        let first = self.nested(Self::or)?;
        self.rest_of_tuple(first, |p| p.nested(Self::or))
    }

    fn rest_of_tuple(
        &mut self,
        first: Expr,
        part: impl Fn(&mut Self) -> Result<Expr, Fail>,
    ) -> Result<Expr, Fail> {
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_op(",") {
            if matches!(self.peek(), Token::BlockEnd | Token::VariableEnd) || self.is_op(")") {
                break;
            }
            parts.push(part(self)?);
        }
        Ok(Expr::Tuple(parts))
    }

    fn or(&mut self) -> Result<Expr, Fail> {
        let mut left = self.and()?;
        while self.skip_name("or") {
            self.link()?;
            left = Expr::Or(Box::new([left, self.and()?]));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, Fail> {
        let mut left = self.not()?;
        while self.skip_name("and") {
            self.link()?;
            left = Expr::And(Box::new([left, self.not()?]));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, Fail> {
        if self.skip_name("not") {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, Fail> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let op = match self.peek() {
                Token::Op(op @ ("==" | "!=" | "<" | "<=" | ">" | ">=")) => *op,
                Token::Name(name) if **name == *"in" => "in",
                Token::Name(name) if **name == *"not" && *self.peek_second() == Token::Name("in".into()) => {
                    self.next();
                    "not in"
                }
                _ => break,
            };
            self.next();
            rest.push((op, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    fn binary(
        &mut self,
        ops: &[&'static str],
        part: fn(&mut Self) -> Result<Expr, Fail>,
    ) -> Result<Expr, Fail> {
        let mut left = part(self)?;
        while let Some(op) = ops.iter().find(|op| self.is_op(op)) {
            self.next();
            self.link()?;
            left = Expr::Binary(op, Box::new([left, part(self)?]));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr, Fail> {
        self.binary(&["+", "-"], Self::concatenation)
    }

    fn concatenation(&mut self) -> Result<Expr, Fail> {
        self.binary(&["~"], Self::product)
    }

    fn product(&mut self) -> Result<Expr, Fail> {
        self.binary(&["*", "//", "/", "%"], Self::power)
    }

    fn power(&mut self) -> Result<Expr, Fail> {
        self.binary(&["**"], |p| p.signed(true))
    }

    fn signed(&mut self, filters: bool) -> Result<Expr, Fail> {
        let value = if self.skip_op("-") {
            Expr::Negative(Box::new(self.nested(|p| p.signed(false))?))
        } else if self.skip_op("+") {
            Expr::Positive(Box::new(self.nested(|p| p.signed(false))?))
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        if filters { self.filters_and_tests(value) } else { Ok(value) }
    }

    fn primary(&mut self) -> Result<Expr, Fail> {
        let token = self.peek().clone();
        match token {
            Token::Name(name) => {
                self.next();
                Ok(match &*name {
                    "true" | "True" => Expr::Const(Value::Bool(true)),
                    "false" | "False" => Expr::Const(Value::Bool(false)),
                    "none" | "None" => Expr::Const(Value::None),
                    _ => Expr::Name(self.symbol(&name)),
                })
            }
            Token::Str(first) => {
                self.next();
                let mut text = first;
                while let Token::Str(more) = self.peek().clone() {
                    self.next();
                    text = Arc::from(format!("{text}{more}"));
                }
                Ok(Expr::Const(Value::Str(text)))
            }
            Token::Int(i) => {
                self.next();
                Ok(Expr::Const(Value::Int(i)))
            }
            Token::Float(f) => {
                self.next();
                Ok(Expr::Const(Value::Float(f)))
            }
            Token::Op("(") => {
                self.next();
                if self.skip_op(")") {
                    return Ok(Expr::Tuple(Vec::new()));
                }
                let value = self.tuple_or_expression()?;
                self.expect_op(")")?;
                Ok(value)
            }
            Token::Op("[") => {
                self.next();
                let mut items = Vec::new();
                while !self.skip_op("]") {
                    if !items.is_empty() {
                        self.expect_op(",")?;
                        if self.skip_op("]") {
                            break;
                        }
                    }
                    items.push(self.expression()?);
                }
                Ok(Expr::List(items))
            }
            Token::Op("{") => {
                self.next();
                let mut entries = Vec::new();
                while !self.skip_op("}") {
                    if !entries.is_empty() {
                        self.expect_op(",")?;
                        if self.skip_op("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.expect_op(":")?;
                    entries.push((key, self.expression()?));
                }
                Ok(Expr::Map(entries))
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    fn postfix(&mut self, mut value: Expr) -> Result<Expr, Fail> {
        loop {
            value = if self.skip_op(".") {
                match self.peek().clone() {
                    Token::Int(i) => {
                        self.next();
                        Expr::Item(Box::new([value, Expr::Const(Value::Int(i))]))
                    }
                    _ => Expr::Attribute(Box::new(value), self.expect_name()?),
                }
            } else if self.skip_op("[") {
                self.subscript(value)?
            } else if self.is_op("(") {
                Expr::Call(Box::new(value), self.arguments()?)
            } else {
                return Ok(value);
            };
            self.link()?;
        }
    }

    fn subscript(&mut self, value: Expr) -> Result<Expr, Fail> {
        let mut parts: [Option<Box<Expr>>; 3] = [None, None, None];
        let mut colons = 0;
        while !self.skip_op("]") {
            if colons < 2 && self.skip_op(":") {
                colons += 1;
            } else if parts[colons].is_none() {
                parts[colons] = Some(Box::new(self.expression()?));
            } else {
                return Err(self.unexpected("\"]\""));
            }
        }
        match (colons, parts) {
            (0, [Some(index), ..]) => Ok(Expr::Item(Box::new([value, *index]))),
            (0, _) => Err(self.unexpected("an index")),
            (_, parts) => Ok(Expr::Slice(Box::new(value), parts)),
        }
    }

    fn filters_and_tests(&mut self, mut value: Expr) -> Result<Expr, Fail> {
        loop {
            value = if self.skip_op("|") {
                Expr::Filter(Box::new(value), self.filter_call()?)
            } else if self.skip_name("is") {
                self.test(value)?
            } else if self.is_op("(") {
                Expr::Call(Box::new(value), self.arguments()?)
            } else {
                return Ok(value);
            };
            self.link()?;
        }
    }

    pub(super) fn filter_call(&mut self) -> Result<Call, Fail> {
        let line = self.line();
        let name = self.expect_name()?;
        if !FILTERS.contains(&&*name) {
            return Err(Fail::syntax(line, format!("there is no filter {name:?}")));
        }
        let arguments = if self.is_op("(") { self.arguments()? } else { Arguments::default() };
        Ok(Call { name, arguments })
    }

    fn test(&mut self, value: Expr) -> Result<Expr, Fail> {
        let negated = self.skip_name("not");
        let line = self.line();
        let name = self.expect_name()?;
        if !TESTS.contains(&&*name) {
            return Err(Fail::syntax(line, format!("there is no test {name:?}")));
        }
        let starts_value = match self.peek() {
            Token::Name(name) => !matches!(&**name, "else" | "or" | "and" | "if" | "in" | "is" | "not"),
            Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Op("[" | "{") => true,
            _ => false,
        };
        let arguments = if self.is_op("(") {
            self.arguments()?
        } else if starts_value {
            let argument = self.primary()?;
            let argument = self.postfix(argument)?;
            Arguments { positional: vec![argument], named: Vec::new() }
        } else {
            Arguments::default()
        };
        let test = Expr::Test(Box::new(value), Call { name, arguments });
        Ok(if negated { Expr::Not(Box::new(test)) } else { test })
    }

    fn arguments(&mut self) -> Result<Arguments, Fail> {
        self.expect_op("(")?;
        let mut arguments = Arguments::default();
        let mut first = true;
        while !self.skip_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.skip_op(")") {
                    break;
                }
            }
            first = false;
            if let (Token::Name(name), Token::Op("=")) = (self.peek().clone(), self.peek_second()) {
                self.next();
                self.next();
                arguments.named.push((name, self.expression()?));
            } else if !arguments.named.is_empty() {
                return Err(self.unexpected("a named argument"));
            } else {
                arguments.positional.push(self.expression()?);
            }
        }
        Ok(arguments)
    }
}

//! Runs a parsed template: statements and scopes here, expressions in `eval_expr`.

use std::fmt::Write;
use std::sync::Arc;

use chrono::Local;

use super::ast::{Arguments, Ast, Expr, For, Stmt, StmtKind, Symbol, Target};
use super::fail::{Fail, Fuel, STEP};
use super::filters;
use super::scope::Scopes;
use super::show::text_of;
use super::value::{Loop, Value};

/// Deepest evaluation: statements, expressions and macro calls on the stack at once.
const MAX_DEPTH: u32 = 600;

/// Renders `ast` with `variables`.
pub(crate) fn render(ast: &Ast, variables: Vec<(Arc<str>, Value)>, fuel: Fuel) -> Result<String, Fail> {
    let symbol = |name: &str| ast.names.iter().position(|n| **n == *name);
    let mut scopes = Scopes::new(ast.names.len());
    for name in ["range", "namespace", "dict", "raise_exception", "strftime_now"] {
        if let Some(symbol) = symbol(name) {
            scopes.set(symbol, Value::Function(name));
        }
    }
    for (name, value) in variables {
        if let Some(symbol) = symbol(&name) {
            scopes.set(symbol, value);
        }
    }
    let mut run = Run {
        ast,
        fuel,
        scopes,
        namespaces: Vec::new(),
        loop_symbol: symbol("loop"),
        loops: 0,
        depth: 0,
        out: String::new(),
    };
    run.body(&ast.body)?;
    Ok(run.out)
}

/// Arguments of a call, evaluated.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(Arc<str>, Value)>,
}

impl Given {
    /// The argument at `place`, or called `name`.
    pub(super) fn get(&self, place: usize, name: &str) -> Option<&Value> {
        self.positional.get(place).or_else(|| self.named.iter().find(|(n, _)| **n == *name).map(|(_, v)| v))
    }

    /// Refuses arguments that the callee does not have.
    pub(super) fn only(&self, callee: &str, names: &[&str]) -> Result<(), Fail> {
        if self.positional.len() > names.len() {
            let most = names.len();
            return Err(Fail::error(format!(
                "{callee} takes {most} arguments, got {}",
                self.positional.len()
            )));
        }
        match self.named.iter().find(|(name, _)| !names.contains(&&**name)) {
            Some((name, _)) => Err(Fail::error(format!("{callee} has no argument {name:?}"))),
            None => Ok(()),
        }
    }
}

pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) struct Run<'t> {
    pub(super) ast: &'t Ast,
    pub(super) fuel: Fuel,
    scopes: Scopes,
    pub(super) namespaces: Vec<Vec<(Arc<str>, Value)>>,
    loop_symbol: Option<Symbol>,
    loops: u32,
    depth: u32,
    out: String,
}

impl<'t> Run<'t> {
    /// One level deeper while `inside` runs.
    pub(super) fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T, Fail>) -> Result<T, Fail> {
        self.fuel.spend(STEP)?;
        if self.depth == MAX_DEPTH {
            return Err(Fail::error("the template recurses too deeply"));
        }
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        result
    }

    fn body(&mut self, body: &'t [Stmt]) -> Result<Flow, Fail> {
        for stmt in body {
            match self.deeper(|run| run.statement(stmt)).map_err(|fail| fail.at(stmt.line))? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, text: &str) -> Result<(), Fail> {
        self.fuel.spend(text.len() as u64)?;
        self.out.push_str(text);
        Ok(())
    }

    fn statement(&mut self, stmt: &'t Stmt) -> Result<Flow, Fail> {
        match &stmt.kind {
            StmtKind::Data(text) => self.print(text)?,
            StmtKind::Print(value) => {
                let value = self.expression(value)?;
                let text = text_of(&value, &mut self.fuel)?;
                self.print(&text)?;
            }
            StmtKind::If(branches, otherwise) => {
                for (test, body) in branches {
                    if self.expression(test)?.is_true() {
                        return self.body(body);
                    }
                }
                return self.body(otherwise);
            }
            StmtKind::For(stmt) => self.run_loop(stmt)?,
            StmtKind::Set(target, value) => {
                let value = self.expression(value)?;
                self.assign(target, value)?;
            }
            StmtKind::Capture(target, body, calls) => {
                self.scopes.enter();
                let text = self.captured(body);
                self.scopes.leave();
                let mut value = text?;
                for call in calls {
                    let given = self.given(&call.arguments)?;
                    value = filters::filter(self, &call.name, value, &given)?;
                }
                self.assign(target, value)?;
            }
            StmtKind::Macro(symbol, index) => self.scopes.set(*symbol, Value::Macro(*index)),
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
            StmtKind::Body(body) => return self.body(body),
        }
        Ok(Flow::Next)
    }

    /// What `body` prints, as a value.
    fn captured(&mut self, body: &'t [Stmt]) -> Result<Value, Fail> {
        let outside = std::mem::take(&mut self.out);
        let result = self.body(body);
        let text = std::mem::replace(&mut self.out, outside);
        result?;
        Value::text(text, &mut self.fuel)
    }

    fn run_loop(&mut self, stmt: &'t For) -> Result<(), Fail> {
        let iterated = self.expression(&stmt.iterated)?;
        let mut items = iterated.iterate(&mut self.fuel)?;
        if let Some(test) = &stmt.filter {
            let mut kept = Vec::new();
            for item in items.slice() {
                self.fuel.spend(STEP)?;
                self.scopes.enter();
                let keep = self.assign(&stmt.target, item.clone()).and_then(|()| self.expression(test));
                self.scopes.leave();
                if keep?.is_true() {
                    kept.push(item.clone());
                }
            }
            items = Value::items(kept, &mut self.fuel)?;
        }
        if items.slice().is_empty() {
            return self.body(&stmt.otherwise).map(|_| ());
        }
        self.loops += 1;
        let depth = self.loops;
        for (index, item) in items.slice().iter().enumerate() {
            self.fuel.spend(STEP)?;
            self.scopes.enter();
            if let Some(symbol) = self.loop_symbol {
                self.scopes.set(symbol, Value::Loop(Arc::new(Loop { items: items.clone(), index, depth })));
            }
            let flow = self.assign(&stmt.target, item.clone()).and_then(|()| self.body(&stmt.body));
            self.scopes.leave();
            if matches!(flow?, Flow::Break) {
                break;
            }
        }
        self.loops -= 1;
        Ok(())
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<(), Fail> {
        match target {
            Target::Name(symbol) => {
                self.scopes.set(*symbol, value);
                Ok(())
            }
            Target::Attribute(symbol, name) => {
                let Value::Namespace(index) = self.lookup(*symbol) else {
                    let owner = &self.ast.names[*symbol];
                    return Err(Fail::error(format!(
                        "{owner}.{name} cannot be set, {owner} is no namespace"
                    )));
                };
                let attributes = &mut self.namespaces[index];
                match attributes.iter_mut().find(|(n, _)| n == name) {
                    Some(place) => place.1 = value,
                    None => attributes.push((name.clone(), value)),
                }
                Ok(())
            }
            Target::Unpack(targets) => {
                let items = value.iterate(&mut self.fuel)?;
                if items.slice().len() != targets.len() {
                    let (names, values) = (targets.len(), items.slice().len());
                    return Err(Fail::error(format!("{values} values cannot be assigned to {names} names")));
                }
                targets.iter().zip(items.slice()).try_for_each(|(t, v)| self.assign(t, v.clone()))
            }
        }
    }

    pub(super) fn lookup(&self, symbol: Symbol) -> Value {
        let found = self.scopes.get(symbol).cloned();
        found.unwrap_or_else(|| Value::Undefined(self.ast.names[symbol].clone()))
    }

    pub(super) fn given(&mut self, arguments: &'t Arguments) -> Result<Given, Fail> {
        let mut given = Given::default();
        for value in &arguments.positional {
            given.positional.push(self.expression(value)?);
        }
        for (name, value) in &arguments.named {
            given.named.push((name.clone(), self.expression(value)?));
        }
        Ok(given)
    }

    /// A macro sees its arguments and the names of the whole template.
    pub(super) fn call_macro(&mut self, index: usize, given: &Given) -> Result<Value, Fail> {
        let ast = self.ast;
        let called = &ast.macros[index];
        let names: Vec<&str> = called.parameters.iter().map(|(symbol, _)| &*ast.names[*symbol]).collect();
        given.only(&called.name, &names)?;
        let outside = self.scopes.enter_macro();
        let result = self.bind(&called.parameters, &names, given).and_then(|()| self.captured(&called.body));
        self.scopes.leave_macro(outside);
        result
    }

    fn bind(
        &mut self,
        parameters: &'t [(Symbol, Option<Expr>)],
        names: &[&str],
        given: &Given,
    ) -> Result<(), Fail> {
        for (place, (symbol, default)) in parameters.iter().enumerate() {
            let value = match (given.get(place, names[place]), default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => self.expression(default)?,
                (None, None) => Value::Undefined(names[place].into()),
            };
            self.scopes.set(*symbol, value);
        }
        Ok(())
    }

    pub(super) fn now(&mut self, format: &str) -> Result<Value, Fail> {
        self.fuel.spend(64 * format.len() as u64)?;
        let mut text = String::new();
        write!(text, "{}", Local::now().format(format))
            .map_err(|_| Fail::error(format!("strftime_now has no format {format:?}")))?;
        Value::text(text, &mut self.fuel)
    }
}

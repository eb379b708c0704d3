//! Tokens to statements; expressions are in `parse_expr`.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::{Ast, For, Macro, Stmt, StmtKind, Symbol, Target};
use super::fail::Fail;
use super::lex::{Located, Token, lex};

/// Deepest nesting of statements and expressions.
const MAX_NESTING: u32 = 100;
/// Most operations in one tag: chains such as `a + b + c` and `x | f | g` nest to the left without brackets.
const MAX_LINKS: u32 = 500;

/// Parses a template.
pub(crate) fn parse(source: &str) -> Result<Ast, Fail> {
    let mut parser = Parser {
        tokens: lex(source)?,
        at: 0,
        names: Vec::new(),
        symbols: HashMap::new(),
        macros: Vec::new(),
        nesting: 0,
        links: 0,
        loops: 0,
    };
    let body = parser.statements(&[])?;
    Ok(Ast { body, names: parser.names, macros: parser.macros })
}

pub(super) struct Parser {
    tokens: Vec<Located>,
    at: usize,
    names: Vec<Arc<str>>,
    symbols: HashMap<Arc<str>, Symbol>,
    macros: Vec<Macro>,
    nesting: u32,
    links: u32,
    /// Loops around the present tag, those outside its macro left out.
    loops: u32,
}

impl Parser {
    pub(super) fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    pub(super) fn peek_second(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
    }

    pub(super) fn line(&self) -> u32 {
        self.tokens[self.at].1
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        // The last token is the end, which stays.
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(o) if *o == op)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(n) if **n == *name)
    }

    pub(super) fn skip_op(&mut self, op: &str) -> bool {
        let skip = self.is_op(op);
        if skip {
            self.next();
        }
        skip
    }

    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let skip = self.is_name(name);
        if skip {
            self.next();
        }
        skip
    }

    pub(super) fn expect_op(&mut self, op: &str) -> Result<(), Fail> {
        if self.skip_op(op) { Ok(()) } else { Err(self.unexpected(&format!("{op:?}"))) }
    }

    pub(super) fn expect_name(&mut self) -> Result<Arc<str>, Fail> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.next();
                Ok(name)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    pub(super) fn unexpected(&self, expected: &str) -> Fail {
        let got = match self.peek() {
            Token::Data(_) | Token::VariableBegin | Token::BlockBegin => "text".to_string(),
            Token::VariableEnd | Token::BlockEnd => "the end of the tag".to_string(),
            Token::Name(name) => format!("{name:?}"),
            Token::Str(_) => "a string".to_string(),
            Token::Int(_) | Token::Float(_) => "a number".to_string(),
            Token::Op(op) => format!("{op:?}"),
            Token::End => "the end of the template".to_string(),
        };
        Fail::syntax(self.line(), format!("expected {expected}, got {got}"))
    }

    /// Counts a level of nesting while `inside` runs, so that no source can exhaust the stack.
    pub(super) fn nested<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T, Fail>) -> Result<T, Fail> {
        if self.nesting == MAX_NESTING {
            return Err(Fail::syntax(
                self.line(),
                format!("tags and brackets may nest {MAX_NESTING} levels"),
            ));
        }
        self.nesting += 1;
        let result = inside(self);
        self.nesting -= 1;
        result
    }

    /// Counts an operation of the tag.
    pub(super) fn link(&mut self) -> Result<(), Fail> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Fail::syntax(self.line(), format!("a tag may have {MAX_LINKS} operations")));
        }
        Ok(())
    }

    pub(super) fn symbol(&mut self, name: &Arc<str>) -> Symbol {
        *self.symbols.entry(name.clone()).or_insert_with(|| {
            self.names.push(name.clone());
            self.names.len() - 1
        })
    }

    /// Statements up to `{% end %}` for one of `ends`, whose name is left to read; up to the end without any.
    fn statements(&mut self, ends: &[&str]) -> Result<Vec<Stmt>, Fail> {
        self.nested(|p| {
            let mut body = Vec::new();
            loop {
                let line = p.line();
                p.links = 0;
                let kind = match p.peek().clone() {
                    Token::Data(text) => {
                        p.next();
                        StmtKind::Data(text)
                    }
                    Token::VariableBegin => {
                        p.next();
                        let value = p.tuple_or_expression()?;
                        if p.next() != Token::VariableEnd {
                            p.at -= 1;
                            return Err(p.unexpected("the end of the tag"));
                        }
                        StmtKind::Print(value)
                    }
                    Token::BlockBegin => {
                        p.next();
                        if ends.iter().any(|end| p.is_name(end)) {
                            return Ok(body);
                        }
                        p.tag()?
                    }
                    _ if ends.is_empty() => return Ok(body),
                    _ => return Err(p.unexpected(&format!("{{% {} %}}", ends[ends.len() - 1]))),
                };
                body.push(Stmt { line, kind });
            }
        })
    }

    fn block_end(&mut self) -> Result<(), Fail> {
        if *self.peek() == Token::BlockEnd {
            self.next();
            Ok(())
        } else {
            Err(self.unexpected("the end of the tag"))
        }
    }

    fn tag(&mut self) -> Result<StmtKind, Fail> {
        let line = self.line();
        let name = self.expect_name()?;
        match &*name {
            "if" => self.if_tag(),
            "for" => self.for_tag(),
            "set" => self.set_tag(),
            "macro" => self.macro_tag(),
            // transformers marks what an assistant wrote with it, for training; it prints its body.
            "generation" => {
                self.block_end()?;
                let body = self.statements(&["endgeneration"])?;
                self.next();
                self.block_end()?;
                Ok(StmtKind::Body(body))
            }
            "break" | "continue" if self.loops == 0 => {
                Err(Fail::syntax(line, format!("{name} is outside of a loop")))
            }
            "break" => self.block_end().map(|()| StmtKind::Break),
            "continue" => self.block_end().map(|()| StmtKind::Continue),
            other => Err(Fail::syntax(line, format!("{{% {other} %}} is not supported in chat templates"))),
        }
    }

    fn if_tag(&mut self) -> Result<StmtKind, Fail> {
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let test = self.tuple_or_expression()?;
            self.block_end()?;
            branches.push((test, self.statements(&["elif", "else", "endif"])?));
            match &*self.expect_name()? {
                "elif" => continue,
                "else" => {
                    self.block_end()?;
                    otherwise = self.statements(&["endif"])?;
                    self.next();
                }
                _ => {}
            }
            self.block_end()?;
            return Ok(StmtKind::If(branches, otherwise));
        }
    }

    fn for_tag(&mut self) -> Result<StmtKind, Fail> {
        let target = self.target(false)?;
        if !self.skip_name("in") {
            return Err(self.unexpected("\"in\""));
        }
        let iterated = self.tuple_without_choice()?;
        let filter = if self.skip_name("if") { Some(self.expression()?) } else { None };
        if self.is_name("recursive") {
            return Err(Fail::syntax(self.line(), "recursive loops are not supported in chat templates"));
        }
        self.block_end()?;
        self.loops += 1;
        let body = self.statements(&["else", "endfor"])?;
        self.loops -= 1;
        let otherwise = if self.skip_name("else") {
            self.block_end()?;
            self.statements(&["endfor"])?
        } else {
            Vec::new()
        };
        self.next();
        self.block_end()?;
        Ok(StmtKind::For(Box::new(For { target, iterated, filter, body, otherwise })))
    }

    fn set_tag(&mut self) -> Result<StmtKind, Fail> {
        let target = self.target(true)?;
        if self.skip_op("=") {
            let value = self.tuple_or_expression()?;
            self.block_end()?;
            return Ok(StmtKind::Set(target, value));
        }
        let mut filters = Vec::new();
        while self.skip_op("|") {
            filters.push(self.filter_call()?);
        }
        self.block_end()?;
        let body = self.statements(&["endset"])?;
        self.next();
        self.block_end()?;
        Ok(StmtKind::Capture(target, body, filters))
    }

    fn target(&mut self, attributes: bool) -> Result<Target, Fail> {
        let mut targets = vec![self.one_target(attributes)?];
        let mut is_tuple = false;
        while self.skip_op(",") {
            is_tuple = true;
            if !matches!(self.peek(), Token::Name(name) if **name != *"in") && !self.is_op("(") {
                break;
            }
            targets.push(self.one_target(attributes)?);
        }
        if is_tuple {
            return Ok(Target::Unpack(targets));
        }
        targets.pop().ok_or_else(|| self.unexpected("a name"))
    }

    fn one_target(&mut self, attributes: bool) -> Result<Target, Fail> {
        if self.skip_op("(") {
            let target = self.nested(|p| p.target(attributes))?;
            self.expect_op(")")?;
            return Ok(target);
        }
        let line = self.line();
        let name = self.expect_name()?;
        if matches!(&*name, "true" | "false" | "none" | "True" | "False" | "None" | "loop") {
            return Err(Fail::syntax(line, format!("{name} cannot be assigned")));
        }
        let symbol = self.symbol(&name);
        if attributes && self.skip_op(".") {
            let attribute = self.expect_name()?;
            if attribute.starts_with('_') {
                return Err(Fail::syntax(line, format!("{attribute} cannot be assigned")));
            }
            return Ok(Target::Attribute(symbol, attribute));
        }
        Ok(Target::Name(symbol))
    }

    fn macro_tag(&mut self) -> Result<StmtKind, Fail> {
        let name = self.expect_name()?;
        let symbol = self.symbol(&name);
        self.expect_op("(")?;
        let mut parameters = Vec::new();
        while !self.skip_op(")") {
            if !parameters.is_empty() {
                self.expect_op(",")?;
            }
            let parameter = self.expect_name()?;
            let parameter = self.symbol(&parameter);
            let default = if self.skip_op("=") { Some(self.expression()?) } else { None };
            if default.is_none() && matches!(parameters.last(), Some((_, Some(_)))) {
                return Err(Fail::syntax(
                    self.line(),
                    "a parameter without a default follows one with a default",
                ));
            }
            parameters.push((parameter, default));
        }
        self.block_end()?;
        let outside = std::mem::take(&mut self.loops);
        let body = self.statements(&["endmacro"])?;
        self.loops = outside;
        self.next();
        self.block_end()?;
        self.macros.push(Macro { name, parameters, body });
        Ok(StmtKind::Macro(symbol, self.macros.len() - 1))
    }
}

//! A parsed template.

use std::sync::Arc;

use super::value::Value;

/// Index of a name in [`Ast::names`].
pub(super) type Symbol = usize;

#[derive(Debug)]
pub(crate) struct Ast {
    pub(super) body: Vec<Stmt>,
    pub(super) names: Vec<Arc<str>>,
    pub(super) macros: Vec<Macro>,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: Arc<str>,
    pub(super) parameters: Vec<(Symbol, Option<Expr>)>,
    pub(super) body: Vec<Stmt>,
}

#[derive(Debug)]
pub(super) struct Stmt {
    pub(super) line: u32,
    pub(super) kind: StmtKind,
}

#[derive(Debug)]
pub(super) enum StmtKind {
    Data(Arc<str>),
    Print(Expr),
    /// Conditions with their bodies, and what runs if none holds.
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    For(Box<For>),
    Set(Target, Expr),
    /// `{% set x | filters %}…{% endset %}`: the filters are applied to the captured text.
    Capture(Target, Vec<Stmt>, Vec<Call>),
    Macro(Symbol, usize),
    Break,
    Continue,
    /// A body without a scope of its own.
    Body(Vec<Stmt>),
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) iterated: Expr,
    pub(super) filter: Option<Expr>,
    pub(super) body: Vec<Stmt>,
    pub(super) otherwise: Vec<Stmt>,
}

#[derive(Debug)]
pub(super) enum Target {
    Name(Symbol),
    /// `namespace.attribute`
    Attribute(Symbol, Arc<str>),
    Unpack(Vec<Target>),
}

/// A filter or test by name, with its arguments.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: Arc<str>,
    pub(super) arguments: Arguments,
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Arc<str>, Expr)>,
}

#[derive(Debug)]
pub(super) enum Expr {
    Const(Value),
    Name(Symbol),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    And(Box<[Expr; 2]>),
    Or(Box<[Expr; 2]>),
    Binary(&'static str, Box<[Expr; 2]>),
    /// A chain such as `a < b <= c`: each neighbour pair holds.
    Compare(Box<Expr>, Vec<(&'static str, Expr)>),
    /// `then if test else otherwise`
    Choice(Box<[Expr; 2]>, Option<Box<Expr>>),
    Attribute(Box<Expr>, Arc<str>),
    Item(Box<[Expr; 2]>),
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    Call(Box<Expr>, Arguments),
    Filter(Box<Expr>, Call),
    Test(Box<Expr>, Call),
}

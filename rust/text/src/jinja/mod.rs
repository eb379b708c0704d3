//! The part of Jinja that chat templates are written in, for templates that nobody vouches for.
//!
//! A template arrives inside a model file. It may loop for ever, double a string sixty times, or nest a list until
//! freeing it overflows the stack; engines for trusted templates answer some of that with a hang, gigabytes or an
//! abort. Here every step, byte and slot is paid from one budget before it is made ([`fail::Fuel`]), containers know
//! what walking them costs ([`value`]), and sources and values nest to a fixed depth. There is no file, no clock, no
//! attribute that leads out of the values.
//!
//! The language is Jinja 2 as transformers sets it up: `trim_blocks`, `lstrip_blocks`, loop controls, `generation`,
//! `raise_exception`, `strftime_now`, `tojson` as `json.dumps`; strings print as Python prints them. Left out, and
//! refused by name when a template is parsed: inheritance, includes, `call`, `filter` and `with` blocks, recursive
//! loops, and filters of web pages. What Python makes a generator is a list.

mod ast;
mod calls;
mod eval;
mod eval_expr;
mod fail;
mod filters;
mod lex;
mod lookup;
mod methods;
mod operators;
mod parse;
mod parse_expr;
mod scope;
mod show;
mod tests;
mod value;

pub(crate) use ast::Ast;
pub(crate) use eval::render;
pub(crate) use fail::{Fail, Fuel};
pub(crate) use parse::parse;
pub(crate) use value::Value;

//! Chat templates: Jinja programs that come with a model file and are as untrusted as it is.

use chrono::Local;
use draftwood_base::{Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error as JinjaError, ErrorKind};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::fmt::Write as _;
use std::io;

/// Work that one rendering may do: instructions, and a unit per 64 bytes made. A long chat needs some thousands; a
/// template that never ends is stopped within a second.
const FUEL: u64 = 4_000_000;

/// Most bytes of a template: the longest known ones have 20 kB.
const MOST_SOURCE: usize = 1 << 20;

/// A compiled chat template with the dialect of transformers: `trim_blocks`, `lstrip_blocks`, loop controls, Python's
/// string methods, `raise_exception`, `strftime_now`, and a `tojson` that writes what Python's `json.dumps` writes.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the line and the words of the parser.
    pub fn new(source: &str) -> Result<Self> {
        if source.len() > MOST_SOURCE {
            let expected = format!("at most {MOST_SOURCE} bytes");
            return Err(Error::invalid("the chat template", expected, format!("{} bytes", source.len()), ""));
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| refused("the chat template", "valid Jinja", &error))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        let template = environment.add_template_owned("chat", source.to_owned());
        template.map_err(|error| refused("the chat template", "valid Jinja", &error))?;
        Ok(Self { environment })
    }

    /// Renders the variables, a JSON object: `messages`, `add_generation_prompt`, `bos_token`, `eos_token`, ….
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the template's own words when it refuses the chat, or when it fails, never ends
    /// or writes without end.
    pub fn render(&self, variables: &str) -> Result<String> {
        let variables: serde_json::Value = serde_json::from_str(variables).map_err(|error| {
            Error::invalid("the variables of a chat template", "a JSON object", error, "")
        })?;
        let template = self.environment.get_template("chat");
        template
            .and_then(|template| template.render(Value::from(Serde(&variables))))
            .map_err(|error| refused("the messages of a chat", "what the model's template accepts", &error))
    }
}

fn refused(what: &str, expected: &str, error: &JinjaError) -> Error {
    let words = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "a template that does not end".to_owned(),
        (kind, None) => kind.to_string(),
        (_, Some(detail)) => detail.to_owned(),
    };
    let hint = error.line().map_or(String::new(), |line| format!("line {line} of the template"));
    Error::invalid(what, expected, words, hint)
}

fn raise_exception(words: String) -> Result<Value, JinjaError> {
    Err(JinjaError::new(ErrorKind::InvalidOperation, words))
}

fn strftime_now(format: &str) -> Result<String, JinjaError> {
    let mut text = String::new();
    write!(text, "{}", Local::now().format(format)).map_err(|_| {
        JinjaError::new(ErrorKind::InvalidOperation, format!("strftime_now: no format {format:?}"))
    })?;
    Ok(text)
}

/// Python's separators: `", "` and `": "`.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

fn to_json(value: &Value, options: Kwargs) -> Result<Value, JinjaError> {
    let indent: Option<usize> = options.get("indent")?;
    // Accepted and at their only meaning here: keys keep their order and non-ASCII text stays as it is.
    let (_, _): (Option<bool>, Option<bool>) = (options.get("ensure_ascii")?, options.get("sort_keys")?);
    options.assert_all_used()?;
    let mut json = Vec::new();
    let written = match indent.map(|n| " ".repeat(n.min(16))) {
        Some(spaces) => value.serialize(&mut Serializer::with_formatter(
            &mut json,
            PrettyFormatter::with_indent(spaces.as_bytes()),
        )),
        None => value.serialize(&mut Serializer::with_formatter(&mut json, PythonFormatter)),
    };
    written.map_err(|error| JinjaError::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(Value::from_safe_string(String::from_utf8_lossy(&json).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, variables: &str) -> Result<String> {
        ChatTemplate::new(source)?.render(variables)
    }

    #[test]
    fn the_dialect_of_transformers() {
        let source = "{% for m in messages %}\n    {% if loop.first %}{% continue %}{% endif %}\n\
                      <{{ m.role.upper() }}>{{ m['content'].strip() }}\n{% endfor %}{{ {'a': [1, 'é<']} | tojson }}";
        let text =
            render(source, r#"{"messages": [{"role": "s"}, {"role": "u", "content": " hi "}]}"#).unwrap();
        assert_eq!(text, "<U>hi\n{\"a\": [1, \"é<\"]}");
        assert_eq!(
            render("{{ x | tojson(indent=2) }}", r#"{"x": {"b": 1, "a": []}}"#).unwrap(),
            "{\n  \"b\": 1,\n  \"a\": []\n}"
        );
        assert_eq!(render("{{ strftime_now('%Y') }}", "{}").unwrap().len(), 4);
    }

    #[test]
    fn a_template_is_untrusted() {
        let never = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}\
                     {% endfor %}{% endfor %}";
        let cases = [
            ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
            (never, "does not end"),
            ("{% set s = 'x' * 1000000 %}{% for i in range(9999) %}{% set s = s ~ s %}{% endfor %}", ""),
            ("{{ 1 / 0 }}", ""),
            ("{{ messages.nothing.there }}", ""),
            ("{{ strftime_now('%!') }}", "no format"),
            ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ""),
            ("{% for %}", "valid Jinja"),
            ("{{ x", "valid Jinja"),
        ];
        for (source, words) in cases {
            let start = std::time::Instant::now();
            let error = render(source, r#"{"messages": []}"#).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument(_)));
            assert!(error.to_string().contains(words), "{error}");
            assert!(start.elapsed().as_secs() < 5, "{source}");
        }
        assert!(render("x", "[").is_err());
        assert!(ChatTemplate::new(&"x".repeat(MOST_SOURCE + 1)).is_err());
    }
}

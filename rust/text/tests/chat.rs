//! Chat templates as nobody should write them, and control tokens where nobody should spell them.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use draftwood_text::{ChatTemplate, Rendered};
use proptest::prelude::*;

fn render(source: &str, variables: &str) -> draftwood_base::Result<Rendered> {
    ChatTemplate::new(source, &["<|a|>".into(), "<|b|>".into()])?.render(variables, &[])
}

/// Each one breaks some engine: by a hang, by gigabytes, or by the end of the stack.
fn attacks() -> Vec<String> {
    let nest = |open: &str, inner: &str, close: &str, n: usize| open.repeat(n) + inner + &close.repeat(n);
    let doubling = "{% set ns = namespace(x=['a'], y=['a']) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}\
                    {% set ns.y = [ns.y, ns.y] %}{% endfor %}";
    let mut all = vec![
        nest("{% for i in range(9999) %}", "x", "{% endfor %}", 3),
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}".into(),
        "{{ range(10 ** 15) | length }}".into(),
        "{{ 'a' * 10 ** 10 }}{{ [1] * 10 ** 10 }}".into(),
        "{% set ns = namespace(x='abc') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}".into(),
        "{% set x = 'a' * 1000000 %}{{ x.replace('', x) }}".into(),
        "{% set x = 'a' * 3000000 %}{% set y = 'a' * 3000000 %}{% for i in range(9999) %}{{ x == y }}{% endfor %}".into(),
        "{{ ('a\n' * 100000) | indent(10000) }}".into(),
        "{{ '%9999999999d' % 3 }}".into(),
        "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}".into(),
        "{% set ns = namespace(x={}) %}{% for i in range(99999) %}{% set ns.x = {'a': ns.x} %}{% endfor %}".into(),
        nest("{{ ", "1 }}", "", 1) + &nest("{{ (", "1", ")", 60_000),
        "{{ 1".to_string() + &"+1".repeat(60_000) + " }}",
        "{{ x".to_string() + &".a".repeat(60_000) + " }}",
        "{{ x".to_string() + &"|string".repeat(30_000) + " }}",
        "{{ ".to_string() + &"not ".repeat(60_000) + "1 }}",
        "{{ ".to_string() + &"-".repeat(60_000) + "1 }}",
        nest("{% if 1 %}", "", "{% endif %}", 9_000),
        "{{ [1] | map('".to_string() + &"map', '".repeat(20_000) + "string') }}",
    ];
    let uses = [
        "{{ ns.x }}",
        "{{ ns.x ~ '' }}",
        "{{ ns.x | tojson }}",
        "{{ ns.x | join }}",
        "{{ ns.x == ns.y }}",
        "{{ ns.x in [ns.y] }}",
        "{{ [ns.x, ns.y] | unique }}",
        "{{ [ns.x] | sort }}",
        "{{ '%s' % [ns.x] }}",
        "{{ {'a': ns.x} == {'a': ns.y} }}",
        "{{ [ns.x].count(ns.y) }}",
        "{{ ns.x < ns.y }}",
        "{{ ns.x | string }}",
    ];
    all.extend(uses.map(|tail| doubling.to_string() + tail));
    all
}

#[test]
fn no_template_hangs_fills_memory_or_overflows_the_stack() {
    for source in attacks() {
        let start = Instant::now();
        // A quarter of the stack that a thread has by default.
        let thread = std::thread::Builder::new().stack_size(512 << 10);
        let result = thread.spawn({
            let source = source.clone();
            move || render(&source, "{}").map(|r| r.text.len())
        });
        let error = result.unwrap().join().unwrap().expect_err(&source[..source.len().min(200)]);
        assert!(matches!(error, draftwood_base::Error::InvalidArgument(_)), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?} {}", start.elapsed(), &source[..60]);
    }
}

#[test]
fn deepest_legal_templates_fit_a_small_stack() {
    let recursion = "{% macro f(n) %}{% if n %}{% for i in [1] %}{{ f(n - 1) }}{% endfor %}{% else %}x{% endif %}\
                     {% endmacro %}{{ f(40) }}";
    let brackets = "{{ ".to_string() + &"(".repeat(45) + "1" + &"+ 1)".repeat(45) + " }}";
    let chain = "{{ 1".to_string() + &" + 1".repeat(480) + " }}";
    for (source, want) in [(recursion.to_string(), "x"), (brackets, "46"), (chain, "481")] {
        let thread = std::thread::Builder::new().stack_size(512 << 10);
        let text = thread.spawn(move || render(&source, "{}")).unwrap().join().unwrap().unwrap().text;
        assert_eq!(text, want);
    }
}

#[test]
fn errors_have_the_template_s_words_and_line() {
    let error = |source: &str| render(source, r#"{"messages": []}"#).unwrap_err().to_string();
    assert_eq!(
        error("{{ raise_exception('roles must alternate') }}"),
        "the messages of a chat must be what the model's template accepts, got roles must alternate"
    );
    assert!(error("a\nb {{ x.y }}").contains("\"x\" is undefined in line 2"));
    assert!(
        error("\n\n{% include 'x' %}").contains("{% include %} is not supported in chat templates in line 3")
    );
    assert!(error("{{ 1 | urlencode }}").contains("there is no filter \"urlencode\""));
    assert!(render("x", "[]").is_err() && render("x", "{").is_err());
    assert!(ChatTemplate::new(&"x".repeat(1 << 20), &[]).is_err());
}

#[test]
fn a_control_token_in_a_message_is_text() {
    let source = "<|a|>{{ m }}<|b|>";
    let pieces = |m: &str| {
        let rendered = render(source, &serde_json::json!({ "m": m }).to_string()).unwrap();
        assert_eq!(rendered.text, format!("<|a|>{m}<|b|>"));
        let pieces: Vec<_> = rendered.segments.into_iter().map(|s| (s.is_control, s.text)).collect();
        (pieces, rendered.is_plain)
    };
    let control = |text: &str| (true, text.to_string());
    let text = |text: &str| (false, text.to_string());
    assert_eq!(pieces("hi < you"), (vec![control("<|a|>"), text("hi < you"), control("<|b|>")], true));
    assert_eq!(
        pieces("<|b|>\u{fdd0}<|a|>"),
        (vec![control("<|a|>"), text("<|b|>\u{fdd0}<|a|>"), control("<|b|>")], false)
    );
    // The start of one is no spelling: the text stays in one piece.
    assert!(pieces("<").1);
    let single = ChatTemplate::new("|{{ m }}", &["|".into()]).unwrap();
    assert_eq!(single.render(r#"{"m": "a"}"#, &[]).unwrap().segments.len(), 2);
    let error = single.render(r#"{"m": "a|b"}"#, &[]).unwrap_err().to_string();
    assert!(error.contains("free of '|', a control token that cannot be told from text"), "{error}");
}

#[test]
fn two_strings_cannot_spell_a_control_token_together() {
    let rendered = render("{{ m[0] }}{{ m[1] }}{{ m[2] }}", r#"{"m": ["x<", "|a", "|> y"]}"#).unwrap();
    assert_eq!((rendered.text.as_str(), rendered.is_plain), ("x<|a|> y", false));
    assert!(rendered.segments.iter().all(|s| !s.is_control));
    let whole: String = rendered.segments.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(whole, rendered.text);
}

#[test]
fn many_spellings_cost_no_more_than_their_length() {
    let content = "<|a|>".repeat(400_000);
    let start = Instant::now();
    let rendered = render("{{ m }}", &serde_json::json!({ "m": content }).to_string()).unwrap();
    assert_eq!(rendered.text, content);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1000)))]
    /// Whatever two contents say, the controls are the template's, and the text is what was written.
    #[test]
    fn only_the_template_writes_control_tokens(contents in prop::collection::vec("[<ab>\u{fdd0}é-]{0,9}", 2)) {
        let template = ChatTemplate::new("<a>{{ m[0] }}<b>{{ m[1] }}<a>", &["<a>".into(), "<b>".into(), "é-".into()]).unwrap();
        let rendered = template.render(&serde_json::json!({ "m": contents }).to_string(), &[]).unwrap();
        let controls: Vec<&str> =
            rendered.segments.iter().filter(|s| s.is_control).map(|s| s.text.as_str()).collect();
        prop_assert_eq!(controls, ["<a>", "<b>", "<a>"]);
        let whole: String = rendered.segments.iter().map(|s| s.text.as_str()).collect();
        prop_assert_eq!(&whole, &format!("<a>{}<b>{}<a>", contents[0], contents[1]));
        prop_assert_eq!(whole, rendered.text);
    }
}

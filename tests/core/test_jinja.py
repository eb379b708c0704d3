# ruff: noqa: E501
"""The template language against jinja2 as transformers sets it up: same text, or an error in both."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import draftwood as dw
from draftwood import _core

render_jinja_template = pytest.importorskip("transformers.utils.chat_template_utils").render_jinja_template

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": 'Says "rain" or <sun> & more – naïve',
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["a", "b"]}, "days": {}}},
    },
}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm", "days": 3}}}
MESSAGES = [
    {"role": "system", "content": "Be brief.\n"},
    {"role": "user", "content": "  Hi 'there' \"you\"\tö 日本 🙂 \n\n"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes </think> no", "tool_calls": [CALL]},
    {"role": "tool", "content": '{"rain": true}'},
    {"role": "user", "content": ""},
]
DATA = {
    "n": 7, "neg": -3, "big": 2**40, "half": 0.5, "tiny": 1e-7, "huge": 1e22, "one": 1.0, "yes": True, "no": False,
    "nothing": None, "text": "Hello, World", "spaces": " \t a  b\n c ", "empty": "", "word": "straße ÉCOLE",
    "lines": "a\nb\r\nc\n\nd", "items_list": [3, 1, 2], "names": ["b", "A", "c", "a"], "nested": [[1, 2], [3], []],
    "mixed": [1, "a", None, True, 2.5], "person": {"name": "Ann", "age": 30, "tags": ["x", "y"], "items": 5},
    "people": [{"n": "b", "v": 2, "in": {"k": 1}}, {"n": "a", "v": 1}, {"n": "B", "v": 2, "in": {"k": 0}}],
    "quotes": "it's \"fine\" \\ \n\x07\x7f\u00a0\u200b\u0301é", "tool": TOOL,
}  # fmt: skip


def ours(source: str, variables: dict, tokens: dict | None = None) -> str:
    template = _core.ChatTemplate(source, [])
    return template.render(json.dumps(variables), list((tokens or {}).items()))[0]


def theirs(source: str, variables: dict, messages: list | None = None) -> str:
    rendered, _ = render_jinja_template(conversations=[messages or []], chat_template=source, **variables)
    return rendered[0]


def both(source: str, variables: dict) -> None:
    """Asserts equal text, or that both refuse."""
    try:
        expected = theirs(source, variables)
    except Exception as error:
        with pytest.raises(dw.InvalidArgument):
            pytest.fail(f"jinja2 refuses ({error}), ours gives {ours(source, variables)!r}")
        return
    assert ours(source, variables) == expected


EXPRESSIONS = """
n + 1 | n - 2.5 | n * 3 | n / 2 | n // 2 | neg // 2 | neg % 2 | n % -3 | half % 0.3 | n ** 2 | 2 ** -1 | -n | +n | big * 2
n / 0 | n % 0 | n // 0 | 1 + '1' | '1' + 1 | 'a' * 3 | 3 * 'a' | [1] * 2 | [1] + [2] | (1,) + (2,) | [1] + (2,)
n ~ text | nothing ~ yes | [1] ~ 'a' | 'a' ~ undefined | 'a' + undefined | 1 + 2 ~ 3 | 2 + 3 * 4 ** 2 | -2 ** 2 | (1, 2) ~ ''
1 == 1.0 | 1 == true | 'a' == 'a' | [1, 2] == [1, 2] | [1] == (1,) | {'a': 1, 'b': 2} == {'b': 2, 'a': 1} | none == none
1 < 2 | 1 < 2 < 3 | 1 < 3 > 2 == 2 | 'a' < 'b' | 'B' < 'a' | 'a' < 1 | none < 1 | [1, 2] < [1, 3] | 1 != 2 | undefined == none
1 in [1, 2] | 'ell' in text | 'x' not in text | 'name' in person | 3 in 'abc' | 1 in undefined | not 1 in [2] | 1 in 5
yes and no | yes or no | not yes | nothing or 'd' | empty or 'x' | 0 and 1 | undefined or 'u' | not undefined | [] or {}
'a' if yes else 'b' | 'a' if no | ('a' if no) is defined | 'a' if no else 'b' if yes else 'c'
person.name | person['name'] | person.missing | person['missing'] | person.missing.x | undefined.x | person.tags[0] | person.tags.1
text[0] | text[-1] | text[100] | text[1:3] | text[::-1] | text[-3:] | items_list[::2] | items_list[5:1:-1] | text[::0] | names[:-1]
items_list[1] | items_list['a'] | items_list[1.5] | undefined[0] | n[0] | n.x | nested[0][1] | (1, 2)[1] | {'a': 1}['a'] | text[:undefined]
[1, 'a', none, true, 1.5, [2], (3,), {'k': 'v'}] | (1,) | () | {} | [] | {'a': {'b': [1]}} | {1: 2, 'x': none} | 1, 2
n | neg | half | tiny | huge | one | yes | no | nothing | quotes | [quotes] | mixed | person.tags | 1e16 | 123456789.0 | 0.0001
[half, tiny, huge, one] | -0.0 | 1e15 | 1_000 | 'a' 'b' | 'a\\n\\t\\x41\\u00e9\\\\\\'' | "q'q" | ["it's"] | ['"'] | ["'\\""]
text is string | n is number | yes is number | yes is integer | n is integer | half is float | yes is boolean | nothing is none
person is mapping | names is sequence | text is sequence | person is sequence | names is iterable | n is iterable | text is iterable
undefined is defined | n is defined | person.x is undefined | 3 is odd | 3 is even | 6 is divisibleby 3 | 6 is divisibleby(4) | 'a' is odd
n is eq 7 | n is equalto(7) | n is ne 7 | n is lt 8 | n is gt 8 | n is ge 7 | n is in [7] | 'x' is in text | yes is true | 1 is true
no is false | 'ABC' is upper | 'abc' is lower | 'Abc' is upper | n is not none | n is not defined | nothing is sameas none | range is callable
text | upper | text | lower | word | title | word | capitalize | spaces | trim | '--a-' | trim('-') | text | length | names | length
undefined | length | n | length | text | replace('l', 'L') | text | replace('l', 'L', 1) | text | replace('', '-') | n | replace(7, 8)
names | join | names | join(', ') | [1, none, 'a'] | join('-') | people | join(',', attribute='n') | 'abc' | join('.') | undefined | join
names | first | names | last | [] | first | text | first | items_list | sort | names | sort | names | sort(case_sensitive=true)
items_list | sort(reverse=true) | people | sort(attribute='v') | people | map(attribute='n') | list | people | map(attribute='in.k') | list
people | map(attribute='in.k', default=9) | list | names | map('upper') | list | items_list | map('string') | join(',') | mixed | sort
people | selectattr('in') | list | length | people | selectattr('v', 'equalto', 2) | map(attribute='n') | list | mixed | select | list
people | rejectattr('v', 'gt', 1) | list | mixed | reject('none') | list | items_list | select('odd') | list | names | reject('in', ['a']) | list
items_list | sum | people | sum(attribute='v') | items_list | min | items_list | max | [] | min | names | unique | list | names | min
names | reverse | list | text | reverse | person | items | list | person | dictsort | list | person | list | text | list | nested | sum(start=[])
n | string | n | float | '3.7' | int | 'x' | int | 'x' | int(5) | '12' | int | 3.9 | int | neg | abs | 2.5 | round | 3.14159 | round(2) | half | int
1.15 | round(1) | 2.5 | round(0, 'ceil') | 25 | round(-1) | nothing | default('d') | undefined | default('d') | empty | default('d', true)
empty | d('d') | no | default('x', boolean=true) | text | safe | '<a href="x">\\'&' | e | '%s-%d' | format('a', 3) | '%5.2f|' | format(3.14159)
'%s' % text | '%d%%' % 5 | '%05d' % 42 | '%s %s' % (1, 'b') | '%s' % [1] | '%x' % 255 | '%s' | format
lines | indent | lines | indent(2, true) | lines | indent(2, true, true) | text | indent('> ', true) | [1, 2, 3, 4] | batch(3) | list | items_list | string
person | tojson | tool | tojson | tool | tojson(indent=2) | quotes | tojson | mixed | tojson | [tiny, huge, one] | tojson | {} | tojson(indent=4)
tool | tojson(separators=(',', ':')) | word | tojson(ensure_ascii=true) | {'b': 1, 'a': [1]} | tojson(sort_keys=true, indent=2) | undefined | tojson
text.upper() | text.lower() | word.title() | word.capitalize() | spaces.strip() | spaces.lstrip() | spaces.rstrip() | 'xxaxx'.strip('x')
spaces.split() | text.split(', ') | 'a,b,c'.split(',', 1) | 'a,b,c'.rsplit(',', 1) | 'a b  c'.split(none, 1) | text.split('') | ''.split() | ''.split(',')
lines.splitlines() | lines.splitlines(true) | text.startswith('He') | text.endswith(('d', 'x')) | text.startswith(1) | text.find('o') | text.rfind('o')
text.find('zz') | text.count('l') | text.replace('o', '0') | text.replace('o', '0', 1) | ', '.join(names) | ','.join([1]) | 'a-b'.partition('-') | 'ab'.rpartition('-')
'12'.isdigit() | 'a1'.isalnum() | 'ab'.isalpha() | ' '.isspace() | ''.isdigit() | 'AB'.isupper() | 'a'.islower() | 'abc'.removeprefix('a') | 'abc'.removesuffix('c')
person.get('name') | person.get('x') | person.get('x', 'd') | person.items() | list | person.keys() | list | person.values() | list | names.index('A')
names.index('zz') | names.count('a') | names.append('x') | person.update({}) | person.pop('name') | text.nope() | n.strip() | undefined() | n() | person.items is defined
range(3) | list | range(1, 4) | list | range(5, 0, -2) | list | range(3) | length | dict(a=1, b='x') | namespace(a=1).a | namespace(a=1).b
strftime_now('%Y') | length | text | nope | text is nope | raise_exception('no') | [1, 2 | {'a' | 1 + | text..x | 'unclosed | a b
"""


def expressions() -> list[str]:
    """The expressions between the bars; a bar in front of a filter's name belongs to its expression."""
    cells: list[str] = []
    for line in EXPRESSIONS.strip().splitlines():
        parts = line.split(" | ")
        at = 0
        while at < len(parts):
            cell = parts[at]
            while at + 1 < len(parts) and _continues(parts[at + 1]):
                at += 1
                cell += " | " + parts[at]
            cells.append(cell)
            at += 1
    return cells


_FILTERS = [
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "length",
    "replace",
    "join",
    "first",
    "last",
    "sort",
    "map",
    "list",
    "selectattr",
    "select",
    "rejectattr",
    "reject",
    "sum",
    "min",
    "max",
    "unique",
    "reverse",
    "items",
    "dictsort",
    "string",
    "float",
    "int",
    "abs",
    "round",
    "default",
    "d",
    "safe",
    "e",
    "format",
    "indent",
    "batch",
    "tojson",
    "nope",
]


def _continues(cell: str) -> bool:
    name = cell.split("(")[0].split(" ")[0]
    return name in _FILTERS


@pytest.mark.parametrize("expression", expressions())
def test_expressions_equal_jinja(expression):
    both("{{ " + expression + " }}", DATA)


TEMPLATES = {
    "loop": "{% for x in names %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}"
    "{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('o', 'e') }}{{ loop.depth }};{% endfor %}",
    "scopes": "{% set x = 1 %}{% for i in items_list %}{{ x }}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}{{ i }}",
    "if scope": "{% if yes %}{% set x = 1 %}{% endif %}{{ x }}{% if no %}{% elif n == 7 %}seven{% else %}other{% endif %}",
    "namespace": "{% set ns = namespace(a=1, b=[]) %}{% for i in items_list %}{% set ns.a = ns.a + i %}"
    "{% set ns.b = ns.b + [i] %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c }}",
    "set attribute of no namespace": "{% set person.x = 1 %}",
    "unpack": "{% for k, v in person.items() %}{{ k }}={{ v }};{% endfor %}{% set a, b = 1, 2 %}{{ a }}{{ b }}"
    "{% for (a, b) in [[1, 2]] %}{{ a }}{{ b }}{% endfor %}",
    "unpack too many": "{% set a, b = [1, 2, 3] %}",
    "filtered loop": "{% for m in people if m.v > 1 %}{{ loop.index }}{{ m.n }}{% else %}none{% endfor %}"
    "{% for m in people if m.v > 9 %}x{% else %}none{% endfor %}",
    "break": "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "macro": "{% macro f(a, b=2, c=none) %}[{{ a }}{{ b }}{{ c }}{{ n }}]{% endmacro %}{{ f(1) }}{{ f(1, c=3) }}{{ f(b=1, a=4) | upper }}"
    "{% for i in range(2) %}{{ f(i) }}{% endfor %}",
    "macro too many": "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}",
    "macro default order": "{% macro f(a=1, b) %}{% endmacro %}", "break in macro": "{% for i in n %}{% macro f() %}{% break %}"
    "{% endmacro %}{% endfor %}",
    "recursion": "{% macro down(k) %}{{ k }}{% if k > 0 %}{{ down(k - 1) }}{% endif %}{% endmacro %}{{ down(9) }}",
    "macro scope": "{% set g = 1 %}{% macro f() %}{{ g }}{{ hidden }}{% endmacro %}{% for hidden in [1] %}{{ f() }}{% endfor %}{% set g = 2 %}{{ f() }}",
    "capture": "{% set x %}a {{ n }}\n{% endset %}[{{ x }}]{% set y | upper | trim %} b {% endset %}[{{ y }}]",
    "raw": "{% raw %}{{ x }}{% if %}{% endraw %}{%- raw -%}  {{ y }}  {%- endraw -%}  z",
    "comments": "a {# {{ b }} #} c {#- d -#}  e\n  {# f #}\n g",
    "generation": "{% for m in names %}{% generation %}{{ m }}\n{% endgeneration %}{% endfor %}",
    "brackets in tags": "{{ {'a': {'b': 1}} }}{{ {'a': {}}['a'] }}{{ '}}' }}{{ '%}' }}{{ \"{{\" }}",
    "blocks": "{% if yes %}\n  a\n  {% if no %}\n  b\n  {% else %}\n    c\n  {% endif %}\nd\n{% endif %}\n",
    "signs": "a  {%- if yes -%}  b  {%- endif %}  c {%+ if yes +%} \n d{% endif %}\n{{- n -}}  e \n\n",
    "trailing": "x\n\n", "trailing block": "{% if yes %}x{% endif %}\n", "carriage": "a\r\nb\rc{% if yes %}\r\nd{% endif %}\r\n",
    "undefined loop": "{% for x in undefined %}x{% else %}e{% endfor %}", "loop over number": "{% for x in n %}{% endfor %}",
    "loop over text": "{% for c in 'aé' %}<{{ c }}>{% endfor %}", "dict loop": "{% for k in person %}{{ k }},{% endfor %}",
    "unknown tag": "{% nope %}", "unclosed": "{% if yes %}x", "wrong end": "{% if yes %}{% endfor %}", "else alone": "{% else %}",
    "elif": "{% if n < 0 %}a{% elif n > 5 and n < 9 %}b{% else %}c{% endif %}", "empty": "", "text": "just text",
    "tuple print": "{{ 1, 2 }}", "inline": "{{ ('a' if yes else 'b') + 'c' if n else 'd' }}",
    "chain": "{{ names | map('upper') | select('ne', 'C') | sort | join('+') }}",
    "items attribute": "{{ person['items'] }}{{ person.items() | list | length }}",
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_statements_equal_jinja(name):
    both(TEMPLATES[name], DATA)


FRAGMENTS = [
    "{% if yes %}", "{%- if no %}", "{% else %}", "{%- else -%}", "{% endif %}", "{%- endif -%}", "{%+ endif +%}",
    "{% for i in [1, 2] %}", "{%- for i in [1] -%}", "{% endfor %}", "{%- endfor %}", "{{ n }}", "{{- n -}}", "{{ i }}",
    "{# c #}", "{#- c -#}", "{#+ c +#}", "{% set i = 3 %}", "{%- set x = i -%}", "{% raw %}{{{% endraw %}", "\n", "\n\n", "  ", "\t",
    " \n  ", "a", "b c", "{", "}", "%", "{% break %}", "\r\n", "\u00a0", "\u2028",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14))
def test_white_space_and_nesting_equal_jinja(fragments):
    both("".join(fragments), DATA)


LETTERS = st.text(st.characters(categories=["L", "N", "P", "S"], max_codepoint=0x24FF), max_size=6)
NUMBERS = st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | LETTERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_values_print_as_in_python(value):
    for source in ("{{ x }}", "{{ [x] }}", "{{ x | tojson }}", "{{ x | tojson(indent=2) }}", "{{ [x] == [y] }}"):
        both(source, {"x": value, "y": value})


STYLES = {
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "qwen": """{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- "# Tools\n\n<tools>" }}
    {%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string
        and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls or [] %}
            {%- if (loop.first and content) or (not loop.first) %}{{- '\n' }}{%- endif %}
            {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '<tool_call>\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
            {%- if tool_call.arguments is string %}
                {{- tool_call.arguments }}
            {%- else %}
                {{- tool_call.arguments | tojson }}
            {%- endif %}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' }}{{- content }}{{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}""",
    "llama-3.1": """{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not date_string is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday Date: " + date_string + "\n\n" }}
{%- if tools is not none %}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\n\n" }}{%- endfor %}
{%- endif %}
{{- system_message }}{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("one call only") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", ' }}{{- '"parameters": ' }}{{- tool_call.arguments | tojson }}{{- "}" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
    {%- endif %}
{%- endfor %}""",
    "macros": """{%- macro render_type(spec, required=false) -%}
    {%- if spec.type == "array" -%}{{ render_type(spec['items']) + "[]" }}
    {%- elif spec.enum -%}{{ '"' + spec.enum | join('" | "') + '"' }}
    {%- elif spec.type == "object" and spec.properties -%}
        {{- "{\n" }}
        {%- for name, value in spec.properties | items -%}
            {{ name + ("?" if name not in (spec.required or []) else "") }}: {{ render_type(value) }}
            {%- if not loop.last -%}{{ ", " }}{%- endif -%}
        {%- endfor -%}
        {{- "}" }}
    {%- else -%}{{ spec.type | default("any") }}
    {%- endif -%}
{%- endmacro -%}
{%- for tool in tools -%}{{ tool.function.name }}({{ render_type(tool.function.parameters) }}){%- endfor -%}
{%- for message in messages | rejectattr("role", "equalto", "system") | list %}[{{ message.role | upper }}]{% endfor %}""",
}


@pytest.mark.parametrize("tools", [None, [TOOL]], ids=["plain", "tools"])
@pytest.mark.parametrize("style", STYLES)
def test_templates_in_the_style_of_known_models(style, tools):
    variables = {"tools": tools, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
    if tools is None and style == "macros":
        variables["tools"] = []
    expected = theirs(STYLES[style], variables, MESSAGES)
    assert ours(STYLES[style], {**variables, "messages": MESSAGES, "documents": None}) == expected

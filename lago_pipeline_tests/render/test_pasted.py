"""JSON text pasted from Hightouch."""

from time import perf_counter

import pytest

from lago_pipeline.errors import TemplateError
from lago_pipeline.render.pasted import read_pasted
from lago_pipeline.render.template import event_template
from lago_pipeline_tests.render.rendering import body, rendered, usage_sync

HIGHTOUCH = """{
  "event": {
    "code": "seats",
    "external_subscription_id": "{{ row.subscription }}",
    "properties": {
      "bare": {{ row.value }},
      "quoted": "{{ row.value }}",
      "mixed": "v={{ row.value }}",
      "number": 1.10,
      "yes": true
    }
  }
}"""


def error(text: str) -> str:
    """Paste a text that must be refused, and give the words."""
    with pytest.raises(TemplateError) as raised:
        event_template(usage_sync(text))
    return str(raised.value)


@pytest.mark.parametrize("outer", [True, False])
def test_with_and_without_the_outer_event(outer: bool) -> None:
    """Lago's own envelope and the bare object mean the same."""
    inner = '"code": "seats", "external_subscription_id": "{{ row.s }}", "properties": {"n": {{ row.n }}}'
    text = f'{{"event": {{{inner}}}}}' if outer else f"{{{inner}}}"
    sent = body(rendered(text, s="sub", n=2))
    assert (sent["external_subscription_id"], sent["properties"]) == ("sub", {"n": "2"})


def test_bare_and_quoted_placeholders() -> None:
    """Bare placeholders keep their type, quoted ones are text; constants keep every digit."""
    sent = body(rendered(HIGHTOUCH, subscription="sub", value=1e-7))["properties"]
    assert sent == {
        "bare": "0.0000001",
        "quoted": "0.0000001",
        "mixed": "v=0.0000001",
        "number": "1.10",
        "yes": "true",
    }


def test_nulls_leave_bare_properties_out() -> None:
    """A null is no property where it stood bare, and an empty text where it stood in quotes."""
    sent = body(rendered(HIGHTOUCH, subscription="sub", value=None))["properties"]
    assert sent == {"quoted": "", "mixed": "v=", "number": "1.10", "yes": "true"}


@pytest.mark.parametrize(
    ("json_value", "expected"),
    [
        ("{{ row.v | json }}", 'a "quoted" \\ text\n'),
        ("{{- row.v -}}", 'a "quoted" \\ text\n'),
        ('"{{ row["v"] | upcase }}"', 'A "QUOTED" \\ TEXT\n'),
        ('"{{ row.none | default: \\"n/a\\" }}"', "n/a"),
        ('"{{ row.none | default: "n/a" }}"', "n/a"),
        (r'"tab\tand é \" {{ row.n }}"', 'tab\tand é " 1'),
        ('"{% if row.n == 1 %}one{% else %}more{% endif %}"', "one"),
        ('"{% assign x = row.n | plus: 1 %}{{ x }}"', "2"),
        ('"{% raw %}{{ n }}{% endraw %}"', "{{ n }}"),
        ('"two\nlines"', "two\nlines"),
    ],
)
def test_values_of_pasted_text(json_value: str, expected: str) -> None:
    """JSON's escapes are undone once, Liquid is left as it was written."""
    text = f'{{"code": "c", "external_subscription_id": "s", "properties": {{"p": {json_value}}}}}'
    event = rendered(text, v='a "quoted" \\ text\n', n=1, none=None)
    assert body(event)["properties"] == {"p": expected}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"code": "c",}', 1),
        ('{\n"code": "c"\n"x": 1}', 3),
        (
            '{\n"code": "{{ row.a\n | upcase }}",\n"x": {{ row.b\n}}\n"y": 1}',
            6,
        ),  # a comma too many is placed by Python's version
        ('{\n"code": "two\nlines",\n x: 1}', 4),
        ('{\n"code": "c",\n"p": "\\q"}', 3),
        ("{\n'code': 'c'}", 2),
        ("", 1),
        ("seats", 1),
        ('{"code": "unclosed}', 1),
    ],
)
def test_bad_json_names_the_line(text: str, line: int) -> None:
    """The line of a mistake is the line in the text that was pasted."""
    assert f"not valid JSON near line {line}:" in error(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n{% if row.x %}"code": "c"{% endif %}}', "line 2: {% if row.x %} stands outside quotes"),
        ('{"code": "c", "code": "d"}', "the key 'code' appears twice"),
        ('{"event": {"properties": {"a": 1, "a": 2}}}', "the key 'a' appears twice"),
        ('{ {{ row.k }}: "c"}', "a key cannot be the placeholder {{ row.k }}"),
        ("{{ row.everything }}", "must be one object"),
        ('[{"code": "c"}]', "must be one object"),
        ('{"event": null}', "must be one object"),
        (
            '{"code": "c", "external_subscription_id": "s", "properties": {"{{ row.k }}": 1}}',
            "cannot hold Liquid",
        ),
        (
            '{"code": "c", "external_subscription_id": "s", "properties": {"a\\u0000": 1}}',
            "NUL",
        ),
        (
            '{"code": "c", "external_subscription_id": "s", "properties": {"p": {"q": 1}}}',
            "event.properties.p must be one value",
        ),
        ('{"code": "c", "external_subscription_id": "{{ row.s", "p": {{ row.p }}}', "event.p: Lago drops"),
        ('{"code": "c", "external_customer_id": "{{ row.c }}"}', "write external_subscription_id"),
    ],
)
def test_what_pasted_text_may_not_do(text: str, words: str) -> None:
    """Text that is no event says what is wrong with it."""
    assert words in error(text)


def test_an_unclosed_text_is_refused_at_once() -> None:
    """A forgotten quote after many placeholders does not keep the parser busy for ever."""
    started = perf_counter()
    with pytest.raises(TemplateError, match="not valid JSON"):
        read_pasted('{"code": "' + "{{ row.a }}" * 200)
    assert perf_counter() - started < 5

"""Liquid over rows: which columns it reads, exact numbers, no clock, and errors that stay in their row."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lago_pipeline_tests.render.rendering import (
    all_events,
    body,
    mapping,
    problem,
    properties,
    rendered,
    text,
)

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**15), max_value=10**15)


@pytest.fixture
def odd_zone() -> Iterator[None]:
    """Let the machine's own time zone be far from every other."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "XXX-13:45"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("liquid", "row", "expected"),
    [
        ("{{ row['Column Name'] }}", {"Column Name": 1}, "1"),
        ('{{ row["Column Name"] | plus: 1 }}', {"Column Name": 1}, "2"),
        ("{{ row.UPPER }}", {"UPPER": 1, "upper": 2}, "1"),
        ("{{ row.my-column }}", {"my-column": 1}, "1"),
        ("{{ row.größe }}", {"größe": 1}, "1"),
        ("{{ row.size }}", {"size": 7}, "7"),
        ("{{ row.size | plus: 1 }}", {"size": 7}, "8"),
        ("{{ row.first | plus: 1 }}", {"first": 7}, "8"),
        ("{{ row.last | plus: 1 }}", {"last": 7}, "8"),
        ("{{ row.meta.key }}", {"meta": {"key": "v"}}, "v"),
        ("{{ row.meta['a b'][1] }}", {"meta": {"a b": [1, 2]}}, "2"),
        ("{{ row.meta.size }}", {"meta": {"size": "L"}}, "L"),
        ("{{- row.x -}}", {"x": 5}, "5"),
        ("  {{ row.x }}\n", {"x": 1e-7}, "0.0000001"),
        ("a {{- row.x -}} b", {"x": 5}, "a5b"),
        ("{{ row.x if row.y else row.z }}", {"x": 1, "y": True, "z": 2}, "1"),
        ("{{ row.x if row.y else row.z }}", {"x": 1, "y": None, "z": Decimal("1E+3")}, "1000"),
        ("{{ row.x | upcase if row.y == 'b' else 'none' }}", {"x": "a", "y": "b"}, "A"),
        ("{% if row.x > 1 %}many{% else %}one{% endif %}", {"x": Decimal("1.5")}, "many"),
        ("{% assign y = row.x | times: 2 %}{{ y }}", {"x": Decimal("0.1")}, "0.2"),
        ("{% capture y %}{{ row.x }}!{% endcapture %}{{ y }}", {"x": 1e22}, "10000000000000000000000!"),
        ("x{% echo row.x %}", {"x": 1e-7}, "x0.0000001"),
        ("{% for i in row.x %}{{ i }};{% endfor %}", {"x": [1, Decimal("1E+2"), True]}, "1;100;true;"),
        ("{% case row.x %}{% when 0.1 %}tenth{% else %}other{% endcase %}", {"x": Decimal("0.1")}, "tenth"),
    ],
)
def test_liquid(liquid: str, row: dict[str, object], expected: str) -> None:
    """Columns of any name, nested keys, ternaries, tags and whitespace control give the value meant."""
    assert text(liquid, **row) == expected


@pytest.mark.parametrize(
    ("liquid", "value", "expected"),
    [
        ("{{ row.x | default: 5 }}", None, "5"),
        ("{{ row.x | default: 5 }}", "", "5"),
        ("{{ row.x | default: 5 }}", False, "5"),
        ("{{ row.x | default: 5, allow_false: true }}", False, "false"),
        ("{{ row.x | default: 5 }}", 0, "0"),
        ("{{ row.x | default: 5 }}", Decimal("0.00"), "0.00"),
        ("{{ row.x.key | default: 5 }}", {"other": 1}, "5"),
        ("{{ row.x.key | default: 5 }}", None, "5"),
        ("{{ row.x.key | default: 5 }}", {"key": 3}, "3"),
        ("{% if row.x.key %}y{% else %}n{% endif %}", {}, "n"),
    ],
)
def test_defaults(liquid: str, value: object, expected: str) -> None:
    """`default` and `if` stand in for nulls and for keys that a JSON column lacks, never for a zero."""
    assert text(liquid, x=value) == expected


@pytest.mark.parametrize(
    "liquid", ["{{ row.x }}", "{{ row.x | json }}", "{{ row.y if row.x }}", "{{ row.z.k }}"]
)
def test_a_typed_null_leaves_the_property_out(liquid: str) -> None:
    """One placeholder that comes to nothing sends no property."""
    assert properties(liquid, x=None, y=1, z={"k": None}) == {}


@pytest.mark.parametrize(
    "value", ['a\n"b" \\ é', "5", "", 5, True, Decimal("1.10"), {"a": [1, Decimal("1.50"), None]}, [0.5]]
)
@pytest.mark.parametrize(
    "liquid",
    ["{{ row.x | json }}", "{{ row.x | json if true else 1 }}", "{{ 1 if false else row.x || json }}"],
)
def test_a_trailing_json_is_undone(liquid: str, value: object) -> None:
    """`| json` around a whole value changes nothing: the body is encoded once, by us."""
    assert properties(liquid, x=value) == properties("{{ row.x }}", x=value)


def test_json_inside_text_is_json() -> None:
    """Within text `json` writes JSON, with exact numbers."""
    assert text("v={{ row.x | json }}", x={"a": Decimal("1.10"), "é": 'q"'}) == 'v={"a":1.10,"é":"q\\""}'
    assert text("v={{ row.x | json }}", x=Decimal("1E-7")) == "v=0.0000001"


@pytest.mark.parametrize(
    ("liquid", "x", "expected"),
    [
        ("{{ row.x | plus: 0.2 }}", Decimal("0.1"), "0.3"),
        ("{{ row.x | plus: 0.2 }}", 0.1, "0.3"),
        ("{{ row.x | plus: '0.2' }}", "0.1", "0.3"),
        ("{{ row.x | minus: 1 }}", 2**63 + 1, str(2**63)),
        ("{{ row.x | times: 3 }}", Decimal("0.000000001"), "0.000000003"),
        ("{{ row.x | times: 1.00000000000000000000000001 }}", 1, "1.00000000000000000000000001"),
        ("{{ row.x | divided_by: 4 }}", 10, "2"),
        ("{{ row.x | divided_by: 4 }}", Decimal(10), "2.5"),
        ("{{ row.x | divided_by: 4.0 }}", 10, "2.5"),
        ("{{ row.x | modulo: 3 }}", -7, "2"),
        ("{{ row.x | modulo: 0.3 }}", Decimal("-0.1"), "0.2"),
        ("{{ row.x | round }}", Decimal("2.5"), "3"),
        ("{{ row.x | round: 2 }}", Decimal("1.005"), "1.01"),
        ("{{ row.x | round: -2 }}", 1250, "1300"),
        ("{{ row.x | ceil }}", Decimal("1.000000000000000000001"), "2"),
        ("{{ row.x | floor }}", Decimal("-1.000000000000000000001"), "-2"),
        ("{{ row.x | abs }}", Decimal("-1.10"), "1.10"),
        ("{{ row.x | at_most: 1.5 }}", Decimal("1.6"), "1.5"),
        ("{{ row.x | at_least: 1 }}", Decimal("0.9"), "1"),
        ("{{ row.x | sum }}", [Decimal("0.1"), Decimal("0.2"), 2**63], f"{2**63}.3"),
        ("{{ row.x | sum: 'q' }}", [{"q": Decimal("0.1")}, {"q": "2"}], "2.1"),
        ("{{ row.x | sum }}", [], "0"),
        ("{% if row.x == 0.1 %}y{% endif %}", Decimal("0.1"), "y"),
        ("{% if row.x == 0.1 %}y{% endif %}", 0.1, "y"),
        ("{% if row.x <= 0.1 %}y{% endif %}", Decimal("0.1"), "y"),
        ("{{ row.x | append: ' kg' }}", Decimal("1E-7"), "0.0000001 kg"),
        ("{{ 'kg ' | append: row.x }}", 1e22, "kg 10000000000000000000000"),
        ("{{ row.x | append: '!' }}", True, "true!"),
        ("{{ row.x | append: '!' }}", datetime(2026, 1, 5, tzinfo=UTC), "2026-01-05T00:00:00Z!"),
        ("{{ 'a' | append: row.x }}", None, "a"),
        ("{{ row.x | join: '+' }}", [Decimal("1E-7"), 2, None], "0.0000001+2+"),
        ("{{ row.x | slice: 0, 3 }}", Decimal("1E-7"), "0.0"),
    ],
)
def test_arithmetic_is_exact(liquid: str, x: object, expected: str) -> None:
    """Numbers stay exact through every filter, and are spelled as plain decimals."""
    assert text(liquid, x=x) == expected


@given(left=DECIMALS, right=DECIMALS)
@settings(max_examples=150)
def test_any_decimals_add_and_multiply_exactly(left: Decimal, right: Decimal) -> None:
    """Sums and products are those of exact arithmetic, to the last digit."""
    row = {"x": left, "y": right}
    assert Decimal(text("{{ row.x | plus: row.y }}", **row)) == left + right
    assert Decimal(text("{{ row.x | minus: row.y }}", **row)) == left - right
    scaled = int(left.scaleb(6)) * int(right.scaleb(6))
    product = text("{{ row.x | times: row.y }}", **row)
    assert int(Decimal(product.replace(".", ""))) == scaled


@pytest.mark.parametrize(
    ("liquid", "x", "words"),
    [
        ("{{ row.x | plus: 1 }}", None, "plus: None is not a number"),
        ("{{ row.x | plus: 1 }}", "abc", "plus: 'abc' is not a number"),
        ("{{ row.x | plus: 1 }}", "9" * 5000, "is not a number"),
        ("{{ row.x | plus: 1 }}", "1e999999999", "is not a number"),
        ("{{ row.x | plus: 1 }}", "1e99999999999999999999", "is not a number"),
        ("{{ row.x | plus: 0.5 }}", 10**70, "plus: no exact result"),
        ("{{ row.x | times: true }}", 1, "times: true is not a number"),
        ("{{ row.x | divided_by: 0 }}", 1, "no exact result"),
        ("{{ row.x | modulo: 0 }}", Decimal(1), "no exact result"),
        ("{{ row.x | sum }}", [1, None], "sum: None is not a number"),
        ("{{ row.x | sum: 'q' }}", [{"q": 1}, {}], "'q'"),
        ("{{ row.x.key }}", {}, "row.x.key is undefined"),
        ("{{ row.x.key }}", "text", "row.x.key is undefined"),
        ("{{ row.x[3] }}", [1], "index out of range"),
        ("a {{ row.x.key }}", {}, "row.x.key is undefined"),
        ("{{ row.x.key | upcase }}", {}, "row.x.key is undefined"),
        ("{{ row.x.key | plus: 1 }}", {}, "row.x.key is undefined"),
        ("v={{ row.x.key | json }}", {}, "row.x.key is undefined"),
        ("{{ row.x | base64_decode }}", "éé", "ASCII"),
        ("{{ row.x | base64_decode }}", "/w==", "utf-8"),
        ("{{ row.x | compact: 'k' }}", {"a": 1}, "k"),
        ("{{ row.x | date: '%F' }}", "soon", "date: 'soon' is not a time"),
        ("{{ row.x | date: '%F' }}", None, "date: None is not a time"),
        (
            "{{ row.x | date: '%F' }}",
            datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=5))),
            "range",
        ),
        ("{{ '2026-01-05' | date: row.x }}", None, "date: None is not a format"),
        ("{% if row.x > 1 %}y{% endif %}", "text", "not supported"),
    ],
)
def test_errors_of_a_row(liquid: str, x: object, words: str) -> None:
    """A value that an expression cannot take refuses its row, in one short line with the reason."""
    told = problem(liquid, x=x)
    assert told.startswith("template_error: ")
    assert words in told
    assert len(told) < 400
    assert "\n" not in told


def test_errors_stay_in_their_row() -> None:
    """The rows before and after a bad one become events."""
    event = mapping(properties={"p": "{{ row.x.key }}"})
    events, counts = all_events(
        event, ["id", "at", "x"], [[n, "2026-01-05", {"key": n} if n != 2 else {}] for n in (1, 2, 3)]
    )
    assert [each.problem is None for each in events] == [True, False, True]
    assert (counts.rows, counts.events, counts.problems) == (3, 3, 1)


@pytest.mark.usefixtures("odd_zone")
@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("%s", "2026-01-05T00:00:00Z", "1767571200"),
        ("%s", "2026-01-05", "1767571200"),
        ("%s", datetime(2026, 1, 5), "1767571200"),  # noqa: DTZ001 - as a database gives it
        ("%s", datetime(2026, 1, 5, tzinfo=timezone(timedelta(hours=2))), "1767564000"),
        ("%s", 1767571200.9, "1767571200"),
        ("%Y-%m-%d %H:%M", "2026-01-05T00:30:00+02:00", "2026-01-04 22:30"),
        ("%H", datetime(2026, 1, 5, 1, tzinfo=timezone(timedelta(hours=2))), "23"),
        ("%Y%m", 1767571200, "202601"),
        ("%%s is %s", "2026-01-05", "%s is 1767571200"),
    ],
)
def test_dates_know_no_machine(pattern: str, value: object, expected: str) -> None:
    """`date` reads and writes the source's zone, whatever the machine's own is."""
    assert text(f"{{{{ row.x | date: '{pattern}' }}}}", x=value) == expected


@pytest.mark.parametrize("word", ["now", "today"])
def test_there_is_no_clock(word: str) -> None:
    """The time of the run never gets into an event, not by a literal and not by a column."""
    assert "the clock is not part of the row" in problem(f"{{{{ '{word}' | date: '%s' }}}}")
    assert "the clock is not part of the row" in problem("{{ row.x | date: '%s' }}", x=word)
    sometimes = f"{{% if row.x %}}{{% assign {word} = 1 %}}{{% endif %}}{{{{ {word} }}}}"
    assert text(sometimes, x=True) == "1"
    assert word in problem(sometimes, x=False)


def test_a_hightouch_timestamp() -> None:
    """The usual `date: '%s'` gives the event's own second."""
    event = rendered(mapping(timestamp="{{ row.at | date: '%s' }}"), at="2026-01-05T10:00:00.750+00:00")
    assert body(event)["timestamp"] == "1767607200"

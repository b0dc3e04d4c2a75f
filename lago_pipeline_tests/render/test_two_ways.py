"""Compiled or not, a template has one meaning: the same events and the same words for every row."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lago_pipeline.arrow import column_values
from lago_pipeline.errors import TemplateError
from lago_pipeline.event import Event, events_of
from lago_pipeline.render.inputs import Inputs, stamps
from lago_pipeline.render.liquid import LiquidEnvironment
from lago_pipeline.render.partition_events import RenderCounts, partition_events
from lago_pipeline.render.renderer import EventRenderer
from lago_pipeline.render.template import event_template
from lago_pipeline.values import PLAUSIBLE_MS, plausible_timestamp_ms, property_text, seconds_text
from lago_pipeline_tests.render.liquids import COLUMNS, EVERYTHING, TIMES, Maker
from lago_pipeline_tests.render.rendering import DAY, NOON, mapping, stored_as, usage_sync

FILTERS = tuple(sorted(LiquidEnvironment(ZoneInfo("UTC")).filters))
SEEDS = st.integers(0, 2**64)


def both(
    event: Mapping[str, object], rows: Sequence[Mapping[str, object]], zone: str = "UTC"
) -> tuple[list[Event], list[Event], RenderCounts]:
    """Render rows by the compiled template, and each by python-liquid."""
    sync = usage_sync(event, zone=zone, primary_key=())
    renderer = EventRenderer(sync, event_template(sync), DAY)
    stored = stored_as([str(index) for index in range(len(rows))], *(tuple(row.values()) for row in rows))
    counts = RenderCounts()
    pieces = partition_events(renderer, tuple(rows[0]), [stored], counts)
    compiled = list(chain.from_iterable(map(events_of, pieces)))
    liquid = [renderer.event(row.row_key, dict(zip(rows[0], row.values(), strict=True))) for row in stored]
    return compiled, liquid, counts


def agree(maker: Maker) -> int:
    """Make a template and rows of any kind, which must come out alike, and count the events that are sent."""
    event, rows = maker.event(), [maker.row() for _ in range(4)]
    try:
        compiled, liquid, _ = both(event, rows)
    except TemplateError:
        return 0
    assert compiled == liquid, (event, rows)
    compiled_alike, liquid_alike, _ = both(event, rows[:1] * 4)
    assert compiled_alike == liquid_alike, (event, rows[0])
    return sum(each.problem is None for each in compiled)


@given(SEEDS)
@settings(max_examples=25)
def test_one_meaning(seed: int) -> None:
    """Any template gives the same events for any rows, and refuses the same rows in the same words."""
    maker = Maker(seed, FILTERS)
    for _ in range(10):
        agree(maker)


def test_made_up_templates_send_events() -> None:
    """The comparison is not one of refusals alone."""
    maker = Maker(1, FILTERS)
    assert sum(agree(maker) for _ in range(60)) > 30


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter(name: str) -> None:
    """Each filter means the same by itself, whatever it is given."""
    maker = Maker(FILTERS.index(name), [name])
    for _ in range(10):
        agree(maker)


@pytest.mark.parametrize("operator", ["==", "!=", "<", ">", "<=", ">=", "contains"])
def test_every_comparison(operator: str) -> None:
    """Values of every type compare alike with every constant, on either side."""
    rows = [{"id": 1, "at": NOON, "a": value} for value in EVERYTHING]
    for constant in ("1", "2.50", "-7", "'text'", "'5'", "true", "nil", "empty", "blank"):
        for condition in (f"row.a {operator} {constant}", f"{constant} {operator} row.a"):
            event = mapping(properties={"p": f"{{{{ 'yes' if {condition} else 'no' }}}}"})
            compiled, liquid, _ = both(event, rows)
            assert compiled == liquid, condition


def good(name: str) -> object:
    """A value that no filter minds."""
    return {"j": {"k": "v"}, "at": NOON}.get(name, f"{name} 12")


@pytest.mark.parametrize(
    ("liquid", "uncovered"),
    [
        ("{{ row.a }}", False),
        ("{{ row['Column Name'] | upcase | append: row.b }}", False),
        ("{{ row.j.k | default: 'none' }}", False),
        ("{{ row.a | size | plus: 1.5 | round: 2 | json }}", False),
        ("{{ row.a if row.b contains '1' and not row.A == 'x' else row.size | downcase }}", False),
        (
            "{% if row.a == 'x' %}{% assign y = row.b %}{% else %}{% assign y = 2 %}{% endif %}{{ y -}} !",
            False,
        ),
        ("{% capture y %}{{ row.a }}{% endcapture %}{% unless y == blank %}{{ y }}{% endunless %}", False),
        ("a{# note #}{% comment %}b{% endcomment %}{% liquid echo row.a %}", False),
        ("{{ row.at | date: '%s' }}", False),
        ("{% for pair in row.j %}{{ pair[0] }}={{ pair[1] }}{% endfor %}", True),
        ("{% case row.a %}{% when 'x' %}1{% else %}2{% endcase %}", True),
        ("{{ (1..3) | join: '-' }}{{ row.a }}", True),
    ],
)
def test_what_is_compiled(liquid: str, uncovered: bool) -> None:
    """The usual Liquid is compiled and renders good rows by itself; the rest is told by its field."""
    event = mapping(properties={"p": liquid})
    way = event_template(usage_sync(event)).compiled.way
    assert way == ("compiled, but python-liquid for properties.p" if uncovered else "compiled")
    compiled, liquids, counts = both(event, [{name: good(name) for name in COLUMNS}] * 2)
    assert compiled == liquids
    assert compiled[0].problem is None
    assert counts.singly == 0


def test_a_filter_is_called_once_a_row() -> None:
    """What a template says twice is worked out once."""
    properties = {"p": "{{ row.a | upcase }}", "q": "<{{ row.a | upcase | append: row.b }}>"}
    template = event_template(usage_sync(mapping(code="{{ row.a | upcase }}", properties=properties)))
    assert template.compiled.source.count("if type(c0) is str else") == 1


def test_a_piece_of_a_batch_is_rendered_as_if_it_were_whole() -> None:
    """Arrow's slices begin in the middle of a buffer; a few values need escapes, in JSON or in an id."""
    codes = ["plain", "a:b%c", "%3A"]
    texts = ["x", 'quote " and \\', "\x07", "ü", "\x00"]
    rows = [
        (index, NOON, codes[index % 3], texts[(index * 7) % 5] if index > 20 else "plain")
        for index in range(40)
    ]
    columns = ("id", "at", "code", "text")
    sync = usage_sync(mapping(code="{{ row.code }}", properties={"p": "{{ row.text }}", "q": '"'}))
    renderer = EventRenderer(sync, event_template(sync), DAY)
    whole = stored_as([f"{index:02}" for index in range(40)], *rows)
    for start in range(40):
        piece = whole.between(start, min(40, start + 7))
        (events,) = partition_events(renderer, columns, [piece], RenderCounts())
        assert list(events_of(events)) == [
            renderer.event(row.row_key, dict(zip(columns, row.values(), strict=True))) for row in piece
        ]


SPELLINGS: list[list[object]] = [
    ["2026-01-05T10:00:00Z", "2026-01-05T10:00:00.1234Z", "2026-01-05 23:59:59+05:30", "2026-01-05T10Z"],
    ["2026-01-05 10:00:00", "2026-01-05T10:00:00.999999", "2026-01-05", " 2026-01-05 10:00:00", "20260105"],
    ["2026-03-29 01:30:00", "2026-03-29 02:30:00", "2026-10-25 02:30:00", "1999-01-01 00:00:00"],
    ["2026-01-05 10:00:00", "2026-01-05 24:00:00", "2026-01-05 10:00:60", "2026-02-30 10:00:00", "now"],
    ["2026-01-05 10:00:00", "1767571200", "2026-01-05 10:00:00.1234567", "2026-01-05 10:00", "2026-01-05 10"],
    [
        "2026-01-05 10:00:00",
        "2026-01-05 10:00:00,5",
        "2026-01-05T10:00:00 Z",
        "2026-01-05T100000",
        "2026-01-05 ",
    ],
    ["2026-03-28 12:00:00", "2026-03-29 01:30:00", "2026-03-29 02:30:00", "2026-03-29 03:30:00"],
    ["2026-10-25 01:30:00", "2026-10-25 02:30:00", "2026-10-25 03:30:00"],
    [1, None, 2**70],
    [0.1, 1e22, None],
    TIMES,
    list(EVERYTHING),
]
COLUMN_VALUES = st.sampled_from(SPELLINGS).flatmap(lambda kind: st.lists(st.sampled_from(kind), min_size=1))


@given(COLUMN_VALUES, st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Pacific/Chatham"]))
@settings(max_examples=120)
def test_whole_columns_and_single_values_agree(values: list[object], zone_key: str) -> None:
    """A column taken at once has the texts and instants that its values have each by themselves."""
    zone = ZoneInfo(zone_key)
    rows = stored_as(["k"] * len(values), *((value,) for value in values))
    given_values = [row.values()[0] for row in rows]
    inputs = Inputs(rows, ["column"], zone)
    texts = zip(column_values(inputs.texts("column")), inputs.left, strict=True)
    assert ["refused" if is_left else text for text, is_left in texts] == [
        _tried(property_text, value) for value in given_values
    ]
    instants = [_tried(plausible_timestamp_ms, value, zone) for value in given_values]
    found = inputs.instants("column")
    pairs = zip(found.tolist(), column_values(stamps(found)), instants, strict=True)
    for instant, stamp, expected in pairs:
        if expected is None:
            assert instant not in PLAUSIBLE_MS
        else:
            assert (instant, stamp) == (expected, seconds_text(expected))


def _tried(convert: Any, *arguments: object) -> Any:
    try:
        return convert(*arguments)
    except ValueError:
        return "refused" if convert is property_text else None

"""Who an event is: ids that never meet, the same bytes everywhere, and the template's hash."""

import os
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lago_pipeline.event import default_transaction_id
from lago_pipeline.render.rules import MAX_TRANSACTION_ID_BYTES
from lago_pipeline.render.template import event_template
from lago_pipeline.spool.keys import row_keys
from lago_pipeline_tests.render.rendering import NOON, body, mapping, renderer, usage_sync

PART = st.text(alphabet="a:%3A25\x00é ", max_size=6)


def transaction_id(event: str | Mapping[str, object] | None = None, /, key: str = "1", **row: object) -> str:
    """Render a row with this row key, and give the id or the reason."""
    rendered = renderer(event or mapping()).event(key, {"id": 1, "at": NOON, **row})
    return rendered.transaction_id or str(rendered.problem)


def test_the_default_form() -> None:
    """The id is prefix, code and primary key, with ':' and '%' escaped inside each."""
    of_sync = renderer(mapping(code="a:b"), prefix="50%")
    event = of_sync.event("eu%3A1:2", {"id": 1, "at": NOON})
    assert event.transaction_id == "50%25:a%3Ab:eu%3A1:2"
    assert body(event)["transaction_id"] == event.transaction_id


@given(st.lists(st.tuples(PART, PART, PART, PART), min_size=2, max_size=2, unique=True))
@settings(max_examples=200)
def test_two_keys_never_share_an_id(pair: list[tuple[str, str, str, str]]) -> None:
    """Different prefixes, codes or keys of two columns never come to the same id."""
    ids = set()
    for prefix, code, first, second in pair:
        [key] = row_keys([[first], [second]], [[first], [second]], ["ss"])
        ids.add(default_transaction_id(prefix, code, key))
    assert len(ids) == 2


def test_a_template_of_its_own() -> None:
    """A custom id is sent as it is, and a typed number as its text."""
    assert transaction_id(mapping(transaction_id="{{ row.x }}"), x=Decimal("1E+3")) == "1000"
    assert transaction_id(mapping(transaction_id="a:{{ row.x | upcase }}%"), x="b") == "a:B%"


@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_ids_that_lagos_index_refuses(letter: str) -> None:
    """An id may have 2000 bytes and not one more."""
    event = mapping(transaction_id="{{ row.x }}")
    longest = letter * (MAX_TRANSACTION_ID_BYTES // len(letter.encode()))
    assert transaction_id(event, x=longest) == longest
    told = transaction_id(event, x=longest + letter)
    assert told.startswith("transaction_id_too_long: ")
    assert len(told) < 200


def test_a_default_id_can_be_too_long() -> None:
    """A very long primary key refuses its row."""
    assert transaction_id(key="x" * 1988).startswith("seats:seats:xxx")
    assert transaction_id(key="x" * 1989).startswith("transaction_id_too_long: ")


SCRIPT = """
import hashlib
from datetime import datetime, timezone, timedelta, date
from decimal import Decimal
from uuid import UUID
from lago_pipeline.values import Unsupported
from lago_pipeline_tests.render.rendering import all_events, mapping

event = mapping(
    code="{{ row.x | append: 'é' }}",
    properties={
        "p": "{{ row.x }}", "j": "{{ row.j }}", "naive": "{{ row.naive }}", "aware": "v{{ row.aware }}",
        "day": "{{ row.aware | date: '%Y-%m-%d %H:%M %Z %s' }}", "far": "{{ row.naive | date: '%A %c' }}",
        "keys": "{% for pair in row.j %}{{ pair[0] }}={{ pair[1] }};{% endfor %}",
    },
)
aware = datetime(2026, 7, 5, 1, 30, tzinfo=timezone(timedelta(hours=2)))
rows = [
    [1, datetime(2026, 1, 5, 3), Decimal("1.10"), {"b": 1, "a": [1.5, {"c": 0}]}, date(2026, 3, 9), aware],
    [2, "2026-01-05", "text", {"u": [UUID(int=5)]}, date(2026, 1, 1), "2026-07-05T01:30:00+02:00"],
    [3, "2026-01-05", "twin", {}, None, aware], [3, "2026-01-05", "twin", {}, b"bytes", aware],
    [None, 1767571200, "keyless", {}, b"bytes", aware],
]
events, counts = all_events(event, ["id", "at", "x", "j", "naive", "aware"], rows)
assert [each.problem is None for each in events] == [True, True, False, False, False], events
print(hashlib.sha256(repr(events).encode()).hexdigest(), counts.digest)
"""


def test_the_same_bytes_in_every_process_and_zone() -> None:
    """Events, ids and fingerprints do not depend on the machine's zone, hash seed or locale."""
    settings_of = [
        {"TZ": "UTC", "PYTHONHASHSEED": "1", "LC_ALL": "C"},
        {"TZ": "Pacific/Chatham", "PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8"},
        {"TZ": "XXX-13:45", "PYTHONHASHSEED": "3", "PYTHONOPTIMIZE": "0"},
    ]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT], env={**os.environ, **each}, stdout=subprocess.PIPE, text=True
        )
        for each in settings_of
    ]
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(set(outputs)) == 1


BASE: dict[str, Any] = {
    "prefix": "p",
    "primary_key": ("id",),
    "time_column": "at",
    "zone": "UTC",
}
EVENT = mapping(properties={"p": "{{ row.x }}"})


def template_hash(event: str | Mapping[str, object] = EVENT, **changes: Any) -> str:
    """Give the hash of a sync's template."""
    return event_template(usage_sync(event, **{**BASE, **changes})).hash


def test_the_hash_stays() -> None:
    """The same declaration has the same hash, whichever object holds it."""
    assert template_hash() == template_hash(mapping(properties={"p": "{{ row.x }}"}))
    assert len(template_hash()) == 32


@pytest.mark.parametrize(
    "changes",
    [
        {"event": mapping(code="other", properties={"p": "{{ row.x }}"})},
        {"event": mapping(properties={"p": "{{ row.y }}"})},
        {"event": mapping(properties={"q": "{{ row.x }}"})},
        {"event": mapping(properties={"p": "{{ row.x }}", "q": 1})},
        {"event": '{"code": "seats", "external_subscription_id": "sub", "properties": {"p": "{{ row.x }}"}}'},
        {"prefix": "q"},
        {"primary_key": ("id", "part")},
        {"primary_key": ("part",)},
        {"time_column": "used_at"},
        {"zone": "Europe/Berlin"},
    ],
)
def test_the_hash_changes(changes: dict[str, Any]) -> None:
    """Whatever can change an event changes the hash."""
    assert template_hash(**changes) != template_hash()


@pytest.mark.parametrize("pair", [(1, "1"), (None, ""), (10**30, 10**30 + 1), (1.5, 1.25), (True, 1)])
def test_the_hash_sees_every_constant(pair: tuple[object, object]) -> None:
    """Constants of any size and type count, each as it was written."""
    hashes = {template_hash(mapping(properties={"p": value})) for value in pair}
    assert len(hashes) == 2


def test_the_hash_ignores_what_changes_no_event() -> None:
    """Where rows come from and how they are sent has nothing to do with what an event says."""
    sync = usage_sync(EVENT, **BASE)
    renamed = type(sync)("other", sync.source, sync.event, sync.transaction_id_prefix, "elsewhere")
    assert event_template(renamed).hash == event_template(sync).hash

"""Whether the event that Lago holds under an id is the one that we mean."""

from typing import Any

import pytest

from lago_pipeline.event import Event
from lago_pipeline.lago.readback import difference
from lago_pipeline.lago.windows import Window
from lago_pipeline_tests.deliver.world import event

EVENT = Event(
    row_key="1",
    event_index=0,
    transaction_id="a:api:1",
    code="api",
    external_subscription_id="sub_1",
    timestamp_ms=1_767_225_600_123,
    properties='{"n":"10.50","region":"eu"}',
    body=b"{}",
    fingerprint=b"f" * 16,
    problem=None,
)
HELD: dict[str, Any] = {
    "lago_id": None,
    "transaction_id": "a:api:1",
    "code": "api",
    "external_subscription_id": "sub_1",
    "timestamp": "2026-01-01T00:00:00.123Z",
    "properties": {"n": "10.50", "region": "eu"},
}


@pytest.mark.parametrize(
    "held",
    [
        {},
        {"timestamp": "2026-01-01T01:00:00.123+01:00"},
        {"timestamp": "2026-01-01T00:00:00.123456Z"},
        {"properties": {"n": 10.5, "region": "eu"}},
        {"properties": {"n": "10.5", "region": "eu"}},
        {"properties": {"n": "10.50", "region": "eu", "computed": "3.0"}},
    ],
)
def test_the_same_event_however_it_is_spelled(held: dict[str, Any]) -> None:
    """Numbers as numbers, timestamps in milliseconds, and what an expression added is Lago's own."""
    assert difference(EVENT, HELD | held) is None


@pytest.mark.parametrize(
    ("held", "word"),
    [
        ({"code": "other"}, "code"),
        ({"external_subscription_id": "sub_2"}, "subscription"),
        ({"external_subscription_id": None}, "subscription"),
        ({"timestamp": "2026-01-01T00:00:00.124Z"}, "timestamp"),
        ({"timestamp": "2026-01-01T00:00:00.123"}, "timestamp"),
        ({"timestamp": "soon"}, "timestamp"),
        ({"timestamp": None}, "timestamp"),
        ({"properties": {"n": "10.51", "region": "eu"}}, "n '10.51' where the row says '10.50'"),
        ({"properties": {"n": "10.50", "region": "EU"}}, "region"),
        ({"properties": {"n": "10.50"}}, "region None"),
        ({"properties": {"n": None, "region": "eu"}}, "n None"),
        ({"properties": None}, "n None"),
        ({"properties": []}, "n None"),
    ],
)
def test_a_different_event_is_told_in_words(held: dict[str, Any], word: str) -> None:
    """The words name what Lago holds."""
    words = difference(EVENT, HELD | held)
    assert words is not None
    assert word in words
    assert words.startswith("Lago holds ")


def test_words_are_short() -> None:
    """A held value of any length becomes one short line."""
    words = difference(EVENT, HELD | {"properties": {"n": "x" * 10_000}})
    assert words is not None
    assert len(words) < 200


def test_an_event_without_properties_has_none_to_compare() -> None:
    """Lago's own properties do not matter."""
    bare = Event("1", 0, "a:api:1", "api", "sub_1", EVENT.timestamp_ms, "{}", b"{}", b"f" * 16, None)
    assert difference(bare, HELD) is None


def test_a_window_reaches_beyond_its_events() -> None:
    """Servers before v1.48.0 may hold an event a little beside its instant."""
    instant = event(1).timestamp_ms or 0
    window = Window.around([event(1), event(2, timestamp_ms=instant + 5000)])
    assert window.first_ms < instant
    assert window.last_ms > instant + 5000

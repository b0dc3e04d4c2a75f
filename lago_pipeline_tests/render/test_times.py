"""The event's timestamp: the row's own instant, in the row's own partition."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lago_pipeline.partition import Partition, epoch_ms
from lago_pipeline_tests.render.rendering import DAY, body, mapping, renderer

ZONES = st.timezones() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
BERLIN = ZoneInfo("Europe/Berlin")


def timestamp(at: object, partition: Partition = DAY, zone: str = "UTC") -> str:
    """Render a row used at this time, and give what is sent or the reason's word."""
    event = renderer(mapping(), partition, zone=zone).event("1", {"id": 1, "at": at})
    return str(body(event)["timestamp"]) if event.problem is None else event.problem.partition(":")[0]


@given(st.integers(0, 86_400_000_000 - 1), ZONES)
@settings(max_examples=200)
def test_any_instant_of_the_partition(microseconds: int, zone: ZoneInfo | timezone) -> None:
    """An instant in any zone is sent as the same millisecond, rounded down, however it is spelled."""
    instant = (DAY.start + timedelta(microseconds=microseconds)).astimezone(zone)
    sent = timestamp(instant)
    assert re.fullmatch(r"\d+(\.\d{1,3})?", sent)
    assert int(Decimal(sent) * 1000) == DAY.start_ms + microseconds // 1000
    assert timestamp(instant.isoformat()) == sent
    assert timestamp(Decimal(DAY.start_ms) / 1000 + Decimal(microseconds) / 1_000_000) == sent


@pytest.mark.parametrize(
    ("at", "sent"),
    [
        ("2026-01-05T00:00:00Z", "1767571200"),
        (date(2026, 1, 5), "1767571200"),
        ("2026-01-05T23:59:59.999999Z", "1767657599.999"),
        (Decimal("1767657599.99999999999999999999999999999999"), "1767657599.999"),
        ("2026-01-06T00:00:00+00:01", "1767657540"),
        ("2026-01-04T23:59:59.999999Z", "timestamp_outside_partition"),
        ("2026-01-06T00:00:00Z", "timestamp_outside_partition"),
        (1767657600, "timestamp_outside_partition"),
        (1767571200000, "timestamp_in_milliseconds"),
        ("1767571200000", "timestamp_in_milliseconds"),
        ("1999-01-05", "invalid_timestamp"),
        ("2026-01-05T25:61", "invalid_timestamp"),
        (None, "invalid_timestamp"),
        (True, "invalid_timestamp"),
        (float("nan"), "not_a_number"),
    ],
)
def test_a_partition_is_half_open(at: object, sent: str) -> None:
    """The first instant belongs to the partition, the first of the next one does not."""
    assert timestamp(at) == sent


@pytest.mark.parametrize(
    ("at", "sent"),
    [
        ("2026-10-24T23:59:59.999", "timestamp_outside_partition"),
        ("2026-10-25T00:00:00", str(epoch_ms(datetime(2026, 10, 24, 22, tzinfo=UTC)) // 1000)),
        ("2026-10-25T02:30:00", str(epoch_ms(datetime(2026, 10, 25, 0, 30, tzinfo=UTC)) // 1000)),
        ("2026-10-25T02:30:00+01:00", str(epoch_ms(datetime(2026, 10, 25, 1, 30, tzinfo=UTC)) // 1000)),
        ("2026-10-25T23:59:59", str(epoch_ms(datetime(2026, 10, 25, 22, 59, 59, tzinfo=UTC)) // 1000)),
        ("2026-10-26T00:00:00", "timestamp_outside_partition"),
    ],
)
def test_a_day_of_25_hours(at: str, sent: str) -> None:
    """A local day with a change of the clocks holds each of its times once; an ambiguous one is the first."""
    long_day = Partition(
        "2026-10-25", datetime(2026, 10, 25, tzinfo=BERLIN), datetime(2026, 10, 26, tzinfo=BERLIN)
    )
    assert timestamp(at, long_day, "Europe/Berlin") == sent


def test_a_timestamp_of_the_template() -> None:
    """`event.timestamp` replaces the time column and is held to the same partition."""
    of_day = renderer(mapping(timestamp="{{ row.billed_at }}"))
    inside = of_day.event("1", {"id": 1, "at": "2030-01-01", "billed_at": "2026-01-05T12:00:00.5Z"})
    assert body(inside)["timestamp"] == "1767614400.5" + "00"
    assert inside.timestamp_ms == 1767614400500
    outside = of_day.event("1", {"id": 1, "at": "2026-01-05", "billed_at": "2026-01-07"})
    assert outside.problem == "timestamp_outside_partition: '2026-01-07' is not in 2026-01-05"


def test_a_quoted_timestamp_is_the_same_instant() -> None:
    """A datetime that went through text is still the instant it was, with and without a zone."""
    event = '{"code": "c", "external_subscription_id": "s", "timestamp": "{{ row.at }}"}'
    aware = datetime(2026, 1, 5, 12, tzinfo=timezone(timedelta(hours=2)))
    naive = datetime(2026, 1, 5, 12)  # noqa: DTZ001 - as a database gives it
    for at, zone in ((aware, "Europe/Berlin"), (naive, "Europe/Berlin"), (1767600000, "UTC")):
        quoted = renderer(event, zone=zone).event("1", {"id": 1, "at": at})
        bare = renderer(mapping(), zone=zone).event("1", {"id": 1, "at": at})
        assert body(quoted)["timestamp"] == body(bare)["timestamp"]

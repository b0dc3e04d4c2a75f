"""The sieve of a chunk gives the rows and the latest instant that testing each value alone would give."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from zoneinfo import ZoneInfo

import pytest

from lago_pipeline.partition import Partition
from lago_pipeline.source.sieve import RowSieve
from lago_pipeline.source.window import TimeKind, TimeWindow

ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Asia/Beirut")]
# a plain day, one of 23 hours, and one of 25
DAYS = [(1, 1), (3, 29), (10, 25)]


def _day_of(zone: ZoneInfo, month: int, day: int) -> Partition:
    start = datetime(2026, month, day, tzinfo=zone)
    return Partition(f"{start:%m-%d %Z}", start, datetime(2026, month, day + 1, tzinfo=zone))


def _hour_of(zone: ZoneInfo, month: int, day: int, hour: int) -> Partition:
    start = datetime(2026, month, day, hour, tzinfo=zone)
    return Partition(f"{start:%m-%d %H %Z}", start, start.replace(hour=hour + 1))


PARTITIONS = [
    *(_day_of(zone, *day) for zone in ZONES for day in DAYS),
    *(_hour_of(zone, 1, 1, hour) for zone in ZONES for hour in (0, 13)),
    _hour_of(ZONES[0], 3, 29, 1),
    _hour_of(ZONES[0], 10, 25, 0),
]
FORMS = [
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M", "%Y-%m-%d",
    "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S.%fZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%S+02:00",
    "%Y%m%dT%H%M%S", "%Y-%m-%dT%H", "%Y-%m-%d %H:75:00", "%Y-%m-%d %H:00:60", "%Y-%m-%d 24:%M",
    "%Y-%m-%dT25:%M:00Z", "%Y-%m-%d %H:75:00Z", "%Y-%m-%dT99Z",
    "%Y-%m-%dT99:%M:00", "%Y-%m-%d %H:%M:%S\n", "%Y-02-30 %H:%M:%S", "x%Y-%m-%d", "",
]  # fmt: skip
Spelled = Callable[[datetime, ZoneInfo], object]


def _text(form: str) -> Spelled:
    return lambda moment, zone: moment.astimezone(zone).strftime(form)


def _naive(moment: datetime, zone: ZoneInfo) -> object:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _day(moment: datetime, zone: ZoneInfo) -> object:
    return moment.astimezone(zone).date()


def _numbers(moment: datetime, _: ZoneInfo) -> object:
    seconds = moment.timestamp()
    choices = [int(seconds), seconds, Decimal(str(seconds)), int(seconds * 1000), int(f"{moment:%Y%m%d}")]
    return choices[moment.minute % len(choices)]


SPELLED: dict[TimeKind, list[Spelled]] = {
    TimeKind.SQLITE: [*map(_text, FORMS), _numbers],
    TimeKind.NAIVE: [_naive, _day],
    TimeKind.EPOCH: [
        _numbers,
        lambda moment, _: int(moment.timestamp()),
        lambda moment, _: moment.timestamp(),
    ],
}


def moments(partition: Partition) -> Iterator[datetime]:
    """Instants around both bounds, and farther away."""
    for bound in (partition.start.astimezone(UTC), partition.end.astimezone(UTC)):
        for step in (0, -1, 1, -0.001, *range(-7_500, 7_501, 1_500), -90_000, -30_000, 30_000, 90_000):
            yield bound + timedelta(seconds=step)


@pytest.mark.parametrize("kind", list(SPELLED))
def test_a_sieve_agrees_with_the_test_of_each_value(kind: TimeKind) -> None:
    """In chunks of one spelling and of all, in days and hours, near a change of the clocks or far from it."""
    for partition in PARTITIONS:
        for zone in ZONES[:3]:
            window = TimeWindow(partition, kind, zone)
            chunks = [[spelled(at, zone) for at in moments(partition)] for spelled in SPELLED[kind]]
            for chunk in (*chunks, list(chain.from_iterable(chunks))[::7]):
                check_chunk(window, chunk)


def check_chunk(window: TimeWindow, chunk: list[object]) -> None:
    """Compare a sieve's answers with those of one value after the other."""
    rows = list(enumerate(chunk))
    instants_ms = [window.instant_ms(value) for value in chunk]
    assert RowSieve(window, 1).all([*rows, (-1, None)]) == ([*rows, (-1, None)], max(instants_ms)), window
    if not window.is_exact:  # else the database has told the rows
        held = [window.partition.holds(instant) for instant in instants_ms]
        expected = [row for row, is_held in zip(rows, held, strict=True) if is_held]
        latest_ms = max((window.instant_ms(value) for _, value in expected), default=-1)
        assert RowSieve(window, 1).held(list(rows)) == (expected, latest_ms), (window, chunk)


def test_what_no_time_can_be_is_carried_all_the_same() -> None:
    """A driver's text for an impossible date, beside true ones, stops nothing."""
    day = datetime(2026, 1, 1, tzinfo=UTC)
    window = TimeWindow(Partition("2026-01-01", day, day + timedelta(days=1)), TimeKind.NAIVE, ZONES[0])
    noon = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - naive is what is tested
    rows = [("2026-01-00",), (noon,)]
    assert RowSieve(window, 0).held(rows) == (rows, window.instant_ms(noon))

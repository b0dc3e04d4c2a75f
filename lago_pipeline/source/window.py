"""The bounds of one partition as a database compares them, by the kind of its time column.

Bounds may fetch a little more than the partition where a database cannot compare exactly (SQLite's text,
local times near a change of the clocks); `TimeWindow.instant_ms` is the exact test, made in Python.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from lago_pipeline.errors import ConfigError
from lago_pipeline.partition import Partition
from lago_pipeline.refusals import ProblemError
from lago_pipeline.values import MILLISECONDS_FROM, plausible_timestamp_ms, timestamp_ms

Row = tuple[Any, ...]
_EPOCH_DIGITS = (0, 3, 6, 9)
_DAY = timedelta(days=1)
_MILLISECOND = timedelta(milliseconds=1)
_SPELLED_OUT = (
    "(substr({0}, 14, 1) = ':' and substr({0}, 17, 1) = ':' and substr({0}, 20) not glob '*[^.0-9Z]*')"
)
"""SQL for text whose first ten characters are its day, in the source's zone or, with a Z, in UTC."""
_TIME_FUNCTION = re.compile(r"\b(datetime|unixepoch|strftime|julianday)\s*\(", re.IGNORECASE)


class TimeKind(StrEnum):
    """How a source stores the time column."""

    AWARE = "aware"
    NAIVE = "naive"
    EPOCH = "epoch"
    SQLITE = "sqlite"


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A partition seen from a source: its bounds to bind, and the exact test for one row."""

    partition: Partition
    kind: TimeKind
    zone: ZoneInfo

    @property
    def is_exact(self) -> bool:
        """Whether the database's own comparison decides, so that no row needs the test in Python."""
        return self.kind is TimeKind.AWARE or (self.kind is TimeKind.NAIVE and not self.clock_change)

    @property
    def clock_change(self) -> timedelta:
        """By how much the zone's clocks change around the partition."""
        offsets = self._offsets_around()
        return max(offsets) - min(offsets)

    def instant_ms(self, value: object) -> int:
        """The instant that a time of the source means, in epoch milliseconds; -1 for none.

        A time that is no timestamp means the day its first ten characters name, so that the row is carried,
        with its reason, by exactly one partition.
        """
        try:
            return plausible_timestamp_ms(value, self.zone)
        except ProblemError:
            return _nominal_ms(value, self.zone)

    def bounds(self, prefix: str = "") -> Mapping[str, object]:
        """Values for the names that `condition` uses."""
        return {f"{prefix}{name}": value for name, value in self._bounds().items()}

    def _bounds(self) -> Mapping[str, object]:
        match self.kind:
            case TimeKind.AWARE:
                return {
                    "start": self.partition.start.astimezone(UTC),
                    "end": self.partition.end.astimezone(UTC),
                }
            case TimeKind.NAIVE:
                start, end = self.naive_bounds()
                return {"start": start, "end": end}
            case TimeKind.EPOCH:
                return {**self._epoch_bounds()}
            case TimeKind.SQLITE:
                return {**self._text_bounds(), **self._epoch_bounds()}

    def condition(self, column: str, prefix: str = "") -> str:
        """The SQL condition on a quoted column that fetches at least the partition's rows.

        `prefix` begins each name, so that two windows can stand in one query.
        """
        plain = [("start", "end")]
        numbers = [("start_day", "end_day"), *((f"start_{n}", f"end_{n}") for n in _EPOCH_DIGITS)]
        text = [("start", "end"), ("start_basic", "end_basic"), ("start_digits", "end_digits")]
        pairs = {TimeKind.EPOCH: numbers, TimeKind.SQLITE: text + numbers}.get(self.kind, plain)
        ranges = [f"({column} >= :{prefix}{start} and {column} < :{prefix}{end})" for start, end in pairs]
        if self.kind is TimeKind.SQLITE:
            near = f"{column} >= :{prefix}start_near and {column} < :{prefix}end_near"
            ranges[0] = f"({ranges[0]} and ({near} or not {_SPELLED_OUT.format(column)}))"
            # at the turn of a year, `2026-` lies between basic dates, also between those that are numbers
            for basic in (1, len(text)):
                ranges[basic] = f"({ranges[basic]} and substr({column}, 5, 1) <> '-')"
        return " or ".join(ranges)

    def own_bounds(self) -> Mapping[str, object]:
        """Values for a query that uses `:start` and `:end` itself: exact, in the time column's own terms."""
        start, end = (self._first_local(moment) for moment in (self.partition.start, self.partition.end))
        match self.kind:
            case TimeKind.AWARE:
                return self._bounds()
            case TimeKind.NAIVE:
                return {"start": start.replace(tzinfo=None), "end": end.replace(tzinfo=None)}
            case TimeKind.EPOCH:
                return {"start": self.partition.start_ms // 1000, "end": self.partition.end_ms // 1000}
            case TimeKind.SQLITE:
                return {"start": _text(start), "end": _text(end)}

    def _first_local(self, moment: datetime) -> datetime:
        """The local time from which rows belong after `moment`; a doubled hour lies before it as a whole."""
        local = moment.astimezone(self.zone)
        if not local.fold:
            return local
        before = local.replace(fold=0).utcoffset() or timedelta(0)
        return (moment.astimezone(UTC) + before).replace(tzinfo=self.zone)

    def numeric_own_bounds(self) -> Mapping[str, int] | None:
        """As `own_bounds`, in epoch seconds, where a query on SQLite may have meant numbers."""
        if self.kind is not TimeKind.SQLITE:
            return None
        return {"start": self.partition.start_ms // 1000, "end": self.partition.end_ms // 1000}

    def check_own_bounds(self, query: str) -> None:
        """Raise ConfigError where SQLite would compare text times wrongly: `T` sorts after a blank."""
        is_midnight = all(len(str(bound)) == 10 for bound in self.own_bounds().values())
        if self.kind is TimeKind.SQLITE and not is_midnight and not _TIME_FUNCTION.search(query):
            raise ConfigError(
                "source.query compares text with :start and :end, which are not midnight in source.timezone: "
                "write datetime(column) >= :start and datetime(column) < :end"
            )

    def naive_bounds(self) -> tuple[datetime, datetime]:
        """Local bounds, widened by what the zone's clocks change nearby."""
        start, end = self.partition.start.astimezone(UTC), self.partition.end.astimezone(UTC)
        offsets = self._offsets_around()
        return (start + min(offsets)).replace(tzinfo=None), (end + max(offsets)).replace(tzinfo=None)

    def _offsets_around(self) -> list[timedelta]:
        """The zone's offsets from UTC around the partition: more than one where the clocks change."""
        start, end = self.partition.start.astimezone(UTC), self.partition.end.astimezone(UTC)
        moments = (start - _DAY, start, end, end + _DAY)
        return [moment.astimezone(self.zone).utcoffset() or timedelta(0) for moment in moments]

    def _epoch_bounds(self) -> Mapping[str, int]:
        """Seconds, and what is fetched only to be refused, never missed in silence.

        That is milliseconds, microseconds, nanoseconds, and days such as 20260131.
        """
        start_ms, end_ms = self.partition.start_ms, self.partition.end_ms
        bounds = {"start_day": int(self._wide_day(-1)), "end_day": int(self._wide_day(2))}
        for digits in _EPOCH_DIGITS:
            bounds[f"start_{digits}"] = start_ms * 10**digits // 1000
            bounds[f"end_{digits}"] = -(-end_ms * 10**digits // 1000)
        return bounds

    def _text_bounds(self) -> Mapping[str, str]:
        """Date prefixes a day wider on each side: an offset moves a local date by at most one day.

        Epochs of any precision stored as text share their first ten digits, the seconds. The letter keeps
        basic dates text: SQLite compares digits as a number with columns of a numeric type.
        """
        start, end = self._wide_day(-1), self._wide_day(2)
        return {
            "start": f"{start[:4]}-{start[4:6]}-{start[6:]}",
            "end": f"{end[:4]}-{end[4:6]}-{end[6:]}",
            **self._near_days(),
            "start_basic": f"{self._wide_day(-2)}T",
            "end_basic": f"{end}T",
            "start_digits": str(self.partition.start_ms // 1000),
            "end_digits": str(-(-self.partition.end_ms // 1000)),
        }

    def _near_days(self) -> Mapping[str, str]:
        """The days of the partition in the source's zone and in UTC, and one more where clocks change."""
        more = _DAY if self.clock_change else timedelta(0)
        # in UTC: a zone's own arithmetic is that of its clock on the wall
        start, end = self.partition.start.astimezone(UTC), self.partition.end.astimezone(UTC)
        first, last = start - more, end - _MILLISECOND + more
        starts = {first.astimezone(zone).date() for zone in (self.zone, UTC)}
        ends = {last.astimezone(zone).date() + _DAY for zone in (self.zone, UTC)}
        return {"start_near": f"{min(starts)}", "end_near": f"{max(ends)}"}

    def _wide_day(self, days: int) -> str:
        """The UTC day so many days from the partition's start, or from its end if they are positive."""
        moment = self.partition.start if days < 0 else self.partition.end
        return f"{(moment.astimezone(UTC) + days * _DAY):%Y%m%d}"


def _text(moment: datetime) -> str:
    """The shortest spelling that compares well with both `2026-01-01 …` and `2026-01-01T…`."""
    midnight = (moment.hour, moment.minute, moment.second) == (0, 0, 0)
    return moment.strftime("%Y-%m-%d" if midnight else "%Y-%m-%d %H:%M:%S")


def _nominal_ms(value: object, zone: ZoneInfo) -> int:
    """The instant a refused time seems to mean: too fine an epoch, a day as a number, or a leading date."""
    text = str(value).strip()
    try:
        number = Decimal(text)
    except InvalidOperation:
        return _day_ms(text[:10], zone)
    if not number.is_finite() or number.adjusted() > 20:
        return -1
    if number < 10**8:
        return _day_ms(str(int(number)), zone)
    while number >= MILLISECONDS_FROM:
        number = number.scaleb(-3)
    return int(number * 1000)


def _day_ms(text: str, zone: ZoneInfo) -> int:
    try:
        return timestamp_ms(text, zone)
    except ProblemError:
        return -1

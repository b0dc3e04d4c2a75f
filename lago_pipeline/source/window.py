"""The bounds of one partition as a database compares them, by the kind of its time column.

Bounds may fetch a little more than the partition where a database cannot compare exactly (SQLite's text,
local times near a change of the clocks); `TimeWindow.holds` is the exact test, made in Python.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from lago_pipeline.partition import Partition
from lago_pipeline.refusals import ProblemError
from lago_pipeline.values import timestamp_ms

_DAY = timedelta(days=1)


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
        return self.kind is TimeKind.AWARE

    def holds(self, value: object) -> bool:
        """Whether a row with this time belongs to the partition.

        A time that is no timestamp belongs to the day its first ten characters name, so that the row is
        carried, with its reason, by exactly one partition.
        """
        try:
            return self.partition.holds(timestamp_ms(value, self.zone))
        except ProblemError:
            return self.partition.holds(_nominal_ms(value, self.zone))

    def bounds(self) -> Mapping[str, object]:
        """Values for the names that `condition` uses."""
        match self.kind:
            case TimeKind.AWARE:
                return {
                    "start": self.partition.start.astimezone(UTC),
                    "end": self.partition.end.astimezone(UTC),
                }
            case TimeKind.NAIVE:
                start, end = self._naive_bounds()
                return {"start": start, "end": end}
            case TimeKind.EPOCH:
                return {**self._epoch_bounds()}
            case TimeKind.SQLITE:
                return {**self._text_bounds(), **self._epoch_bounds()}

    def condition(self, column: str) -> str:
        """The SQL condition on a quoted column that fetches at least the partition's rows."""
        plain = [("start", "end")]
        epoch = [("start_s", "end_s"), ("start_ms", "end_ms")]
        text = [("start", "end"), ("start_basic", "end_basic")]
        pairs = {TimeKind.EPOCH: epoch, TimeKind.SQLITE: text + epoch}.get(self.kind, plain)
        return " or ".join(f"({column} >= :{start} and {column} < :{end})" for start, end in pairs)

    def own_bounds(self) -> Mapping[str, object]:
        """Values for a query that uses `:start` and `:end` itself: exact, in the time column's own terms."""
        start, end = (moment.astimezone(self.zone) for moment in (self.partition.start, self.partition.end))
        match self.kind:
            case TimeKind.AWARE:
                return {"start": start, "end": end}
            case TimeKind.NAIVE:
                return {"start": start.replace(tzinfo=None), "end": end.replace(tzinfo=None)}
            case TimeKind.EPOCH:
                return {"start": self.partition.start_ms // 1000, "end": self.partition.end_ms // 1000}
            case TimeKind.SQLITE:
                return {"start": _text(start), "end": _text(end)}

    def _naive_bounds(self) -> tuple[datetime, datetime]:
        """Local bounds, widened by what the zone's clocks change nearby: `holds` decides the rest."""
        start, end = self.partition.start.astimezone(UTC), self.partition.end.astimezone(UTC)
        moments = (start - _DAY, start, end, end + _DAY)
        offsets = [moment.astimezone(self.zone).utcoffset() or timedelta(0) for moment in moments]
        return (start + min(offsets)).replace(tzinfo=None), (end + max(offsets)).replace(tzinfo=None)

    def _epoch_bounds(self) -> Mapping[str, int]:
        """Seconds, and milliseconds too: such rows are fetched to be refused, never missed in silence."""
        start_ms, end_ms = self.partition.start_ms, self.partition.end_ms
        return {
            "start_s": start_ms // 1000,
            "end_s": -(-end_ms // 1000),
            "start_ms": start_ms,
            "end_ms": end_ms,
        }

    def _text_bounds(self) -> Mapping[str, str]:
        """Date prefixes a day wider on each side: an offset moves a local date by at most one day."""
        start = (self.partition.start.astimezone(UTC) - _DAY).date()
        end = (self.partition.end.astimezone(UTC) + 2 * _DAY).date()
        return {
            "start": start.isoformat(),
            "end": end.isoformat(),
            "start_basic": f"{start:%Y%m%d}",
            "end_basic": f"{end:%Y%m%d}",
        }


def _text(moment: datetime) -> str:
    """The shortest spelling that compares well with both `2026-01-01 …` and `2026-01-01T…`."""
    midnight = (moment.hour, moment.minute, moment.second) == (0, 0, 0)
    return moment.strftime("%Y-%m-%d" if midnight else "%Y-%m-%d %H:%M:%S")


def _nominal_ms(value: object, zone: ZoneInfo) -> int:
    try:
        if isinstance(value, int | float | Decimal):
            return int(value)  # epoch milliseconds: refused later, but in the partition they mean
        return timestamp_ms(str(value).strip()[:10], zone)
    except (ProblemError, OverflowError, ValueError):
        return -1

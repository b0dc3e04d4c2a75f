"""Tells the rows of a window from others that were fetched with them, a column at a time.

Most times can be told apart by their first characters, or by comparing numbers; only the others are parsed.
The answers are those of `TimeWindow.instant_ms` for each value.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import cached_property
from itertools import compress
from typing import Any

from lago_pipeline.source.window import Row, TimeWindow

_HOUR = timedelta(hours=1)
_DIGITS = str.maketrans("123456789", "000000000")
_SHAPE = re.compile(r"0000-00-00(?:[ T]00(?P<minutes>:00)(?P<seconds>:00(?:\.0+)?)?(?P<utc>Z)?)?")
"""A time as text, with its digits made 0: in UTC where a Z says so, else in the source's zone."""
_HOUR_TENS, _HOUR_CHARACTERS, _MINUTE_TENS, _SECOND_TENS = 11, 13, 14, 17
_NUMBERS = frozenset((int, float, Decimal))
_FIRST_SECOND, _LAST_SECOND = 946_684_800, 4_102_444_800
"""2000 and 2100: what is an epoch in seconds for sure."""

Verdicts = Sequence[bool | None]
"""For each value whether the window holds it; None where only parsing tells."""


class RowSieve:
    """The sieve of one stream of rows, whose times stand at `index`."""

    def __init__(self, window: TimeWindow, index: int) -> None:
        self._window = window
        self._index = index

    def held(self, rows: list[Row]) -> tuple[list[Row], int]:
        """Those of the rows that the window holds, and the latest instant of them; -1 for none."""
        if self._window.is_exact:
            return self.all(rows)
        values = [row[self._index] for row in rows]
        sure = self._verdicts(values)
        verdicts = sure if None not in sure else self._parsed(values, sure)
        held = list(compress(values, verdicts))
        latest_ms = self._latest_text(held) if verdicts is sure else self._latest(held)
        return (rows if len(held) == len(rows) else list(compress(rows, verdicts))), latest_ms

    def all(self, rows: list[Row]) -> tuple[list[Row], int]:
        """All of the rows, and the latest instant of them; -1 for none."""
        return rows, self._latest([row[self._index] for row in rows])

    def _parsed(self, values: Sequence[Any], verdicts: Verdicts) -> Verdicts:
        holds, instant_ms = self._window.partition.holds, self._window.instant_ms
        pairs = zip(values, verdicts, strict=True)
        return [holds(instant_ms(value)) if verdict is None else verdict for value, verdict in pairs]

    def _verdicts(self, values: Sequence[Any]) -> Verdicts:
        types = set(map(type, values))
        if types <= _NUMBERS:
            first, last = self._seconds
            return [first <= value < last or None for value in values]
        if types == {datetime}:
            start, end = self._sure_local
            return [start <= value < end or None for value in values]
        return self._verdicts_of_texts(values) if types == {str} else [None] * len(values)

    def _verdicts_of_texts(self, texts: Sequence[str]) -> Verdicts:
        hours = [text[:_HOUR_CHARACTERS] for text in texts]
        found = set(hours)
        shape = _common_shape(texts, found)
        known = None if shape is None else self._utc_hours if shape["utc"] else self._local_hours
        if known is None:
            return [None] * len(texts)
        verdicts = {hour: known.get(hour, False) for hour in found}
        alike = set(verdicts.values())
        return [*alike] * len(texts) if len(alike) == 1 else [verdicts[hour] for hour in hours]

    def _latest_text(self, held: Sequence[Any]) -> int:
        """The latest of times that parsing was not needed for: texts of one shape sort as they pass."""
        is_text = bool(held) and isinstance(held[0], str)
        return self._window.instant_ms(max(held)) if is_text else self._latest(held)

    def _latest(self, values: Sequence[Any]) -> int:
        known = [value for value in values if value is not None]
        types = set(map(type, known))
        if types and types <= _NUMBERS and min(known) >= _FIRST_SECOND and max(known) < _LAST_SECOND:
            known = [max(known)]
        elif types in ({datetime}, {date}):
            # where clocks go back, an earlier local time may be a later instant
            top = max(known)
            spread = self._window.clock_change
            known = list({value for value in known if top - value <= spread})
        return max(map(self._window.instant_ms, known), default=-1)

    @cached_property
    def _seconds(self) -> tuple[int, int]:
        """Epoch seconds that the window holds for sure."""
        partition = self._window.partition
        return -(-partition.start_ms // 1000), partition.end_ms // 1000

    @cached_property
    def _sure_local(self) -> tuple[datetime, datetime]:
        """Local times that the window holds whatever the clocks do nearby."""
        outer_start, outer_end = self._window.naive_bounds()
        change = self._window.clock_change
        return outer_start + change, outer_end - change

    @cached_property
    def _local_hours(self) -> Mapping[str, bool | None] | None:
        return None if self._window.clock_change else self._hours(self._window.zone)

    @cached_property
    def _utc_hours(self) -> Mapping[str, bool | None]:
        return self._hours(UTC)

    def _hours(self, zone: tzinfo) -> Mapping[str, bool | None]:
        """How a time begins that lies in the window, or may: by date alone, or by date and hour."""
        partition, found = self._window.partition, dict[str, bool | None]()
        start, end = (
            moment.astimezone(zone).replace(tzinfo=None) for moment in (partition.start, partition.end)
        )
        hour = start.replace(minute=0, second=0, microsecond=0)
        while hour < end:
            is_whole = start <= hour and hour + _HOUR <= end
            found[f"{hour:%Y-%m-%d %H}"] = found[f"{hour:%Y-%m-%dT%H}"] = is_whole or None
            if hour.hour == 0:
                found[f"{hour:%Y-%m-%d}"] = None
            hour += _HOUR
        return found


def _common_shape(texts: Sequence[str], hours: Iterable[str]) -> re.Match[str] | None:
    """The shape of texts that are spelled alike, with clock times that exist; None for others.

    `hours` are their beginnings up to the hour.
    """
    shape = texts[0].translate(_DIGITS)
    found, joined, width = _SHAPE.fullmatch(shape), "\n".join(texts), len(shape) + 1
    if found is None or joined.translate(_DIGITS) != "\n".join([shape] * len(texts)):
        return None
    if found["minutes"]:
        tens = joined[_MINUTE_TENS::width] + (joined[_SECOND_TENS::width] if found["seconds"] else "")
        is_known = max(hour[_HOUR_TENS:] for hour in hours) <= "23" and max(tens) <= "5"
        return found if is_known else None
    return found

"""Late and changed rows, by the source's `updated_at_column`: which partitions hold any that are new."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
import sqlalchemy as sa

from lago_pipeline.ledger.asks import mark_changed, read_first_start, read_late_cursor, save_late_cursor
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.ledger.registry import RegisteredSync
from lago_pipeline.partition import Calendar, Partition, from_epoch_ms
from lago_pipeline.source.changed import MINUTE_MS, ChangeReader, Changes
from lago_pipeline.watch.closing import followed_from

OVERLAP_MS = 60 * MINUTE_MS
"""Rows that were updated so long before the latest one may still be committed after it."""

Sums = Mapping[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class LateCursor:
    """Where the next look begins (epoch milliseconds of updates), and what the last one saw from there on.

    `seen` has the sums of `Changes` by the start of a partition and the minute of an update.
    """

    from_ms: int
    seen: Sums

    def text(self) -> str:
        """As the ledger keeps it."""
        return orjson.dumps([self.from_ms, [[*key, *sums] for key, sums in self.seen.items()]]).decode()

    def is_new(self, start: int, minute: int, sums: tuple[int, int]) -> bool:
        """Whether the last look did not see just these rows."""
        return self.seen.get((start, minute)) != sums

    @classmethod
    def of_text(cls, text: str) -> "LateCursor":
        """As `text` wrote it."""
        from_ms, seen = orjson.loads(text)
        return cls(from_ms, {(start, minute): (count, total) for start, minute, count, total in seen})


@dataclass(frozen=True, slots=True)
class LateRows:
    """Partitions whose rows came late or changed.

    `changed` are followed, `ignored` lie before the sync's first start and were never delivered.
    `watermark_ms` is the instant of updates from which the next look begins.
    """

    changed: list[Partition]
    ignored: list[Partition]
    watermark_ms: int


def find_late_rows(
    ledger: sa.Engine, known: RegisteredSync, reader: ChangeReader, calendar: Calendar, now_ms: int
) -> LateRows:
    """Look for rows of past partitions that were updated since the last look, and note them in the ledger.

    The cursor and the marks of changed partitions are saved together, so that none is lost in between.
    """
    cursor, span = _where_to_look(ledger, known, calendar, now_ms)
    if span is None:
        return LateRows([], [], cursor.from_ms)
    changes = reader.changes(span, cursor.from_ms)
    partitions, sums = _by_partition(changes, calendar)
    changed = {
        partitions[start] for (start, minute), sum_ in sums.items() if cursor.is_new(start, minute, sum_)
    }
    next_ms = _next_look(changes, cursor.from_ms, now_ms)
    if next_ms <= cursor.from_ms and changes.is_cut:
        changed.update(_loaded_in(reader, span, cursor.from_ms, calendar))
        next_ms = cursor.from_ms + MINUTE_MS
    after = LateCursor(next_ms, {key: sum_ for key, sum_ in sums.items() if key[1] >= next_ms})
    return _noted(
        ledger, known, calendar, sorted(changed, key=lambda partition: partition.start_ms), after, now_ms
    )


def _where_to_look(
    ledger: sa.Engine, known: RegisteredSync, calendar: Calendar, now_ms: int
) -> tuple[LateCursor, Partition | None]:
    """The saved cursor, and the span of usage from the first followed partition to the open one."""
    with reading(ledger) as connection:
        saved = read_late_cursor(connection, known.sync_id)
        first_ms = read_first_start(connection, known.sync_id)
    begun_ms = known.activated_at_ms if known.activated_at_ms is not None else now_ms
    cursor = (
        LateCursor.of_text(saved) if saved else LateCursor(begun_ms - OVERLAP_MS - begun_ms % MINUTE_MS, {})
    )
    starts = [start for start in (first_ms, followed_from(known, calendar)) if start is not None]
    open_one = calendar.at(now_ms)
    if open_one is None or not starts or min(starts) >= open_one.start_ms:
        return cursor, None
    return cursor, Partition("usage", from_epoch_ms(min(starts)), from_epoch_ms(open_one.start_ms))


def _by_partition(changes: Changes, calendar: Calendar) -> tuple[dict[int, Partition], Sums]:
    """The partitions of changed rows by their starts, and the sums of changes by start and minute."""
    sums: dict[tuple[int, int], tuple[int, int]] = {}
    usage = [bucket.usage_ms for bucket in changes.sums]
    windows = _partitions_over(min(usage), max(usage), calendar) if usage else []
    starts = [window.start_ms for window in windows]
    for bucket, (count, total) in changes.sums.items():
        key = starts[bisect_right(starts, bucket.usage_ms) - 1], bucket.updated_ms
        before = sums.get(key, (0, 0))
        sums[key] = before[0] + count, before[1] + total
    return dict(zip(starts, windows, strict=True)), sums


def _partitions_over(first_ms: int, last_ms: int, calendar: Calendar) -> list[Partition]:
    """The partitions from the one that holds an instant to the one that holds another."""
    first = calendar.at(first_ms)
    return calendar.within(first.start_ms if first else first_ms, last_ms + 1)


def _next_look(changes: Changes, from_ms: int, now_ms: int) -> int:
    """The minute of updates from which the next look begins; never earlier than this one.

    A source's clock may be ahead, and a single row may be of the year 2099: neither moves it past now.
    """
    if changes.is_cut:
        latest = changes.last_ms or from_ms
        return latest - latest % MINUTE_MS
    latest = min(changes.watermark_ms or 0, now_ms) - OVERLAP_MS
    return max(from_ms, latest - latest % MINUTE_MS)


def _loaded_in(reader: ChangeReader, span: Partition, minute_ms: int, calendar: Calendar) -> list[Partition]:
    """All partitions that a bulk load may have touched which put more rows into one minute than are read."""
    usage = reader.usage_updated_in(span, minute_ms)
    return _partitions_over(*usage, calendar) if usage else []


def _noted(
    ledger: sa.Engine,
    known: RegisteredSync,
    calendar: Calendar,
    changed: list[Partition],
    cursor: LateCursor,
    now_ms: int,
) -> LateRows:
    """Mark the followed ones of changed partitions, and save the cursor, in one transaction."""
    from_ms = followed_from(known, calendar)
    with writing(ledger) as connection:
        followed = [
            each
            for each in changed
            if mark_changed(connection, known.sync_id, each, now_ms)
            or (from_ms is not None and each.start_ms >= from_ms)
        ]
        save_late_cursor(connection, known.sync_id, cursor.text())
    return LateRows(followed, [each for each in changed if each not in followed], cursor.from_ms)

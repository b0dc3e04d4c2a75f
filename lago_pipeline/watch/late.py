"""Late and changed rows, by the source's `updated_at_column`: which partitions hold any that are new."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson
import sqlalchemy as sa

from lago_pipeline.ledger.asks import mark_changed, read_first_start, read_late_cursor, save_late_cursor
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.ledger.registry import RegisteredSync
from lago_pipeline.partition import Calendar, Partition, from_epoch_ms
from lago_pipeline.source.changed import MINUTE_MS, ChangeReader, Changes
from lago_pipeline.watch.closing import followed_from, read_followed

OVERLAP_MS = 60 * MINUTE_MS
"""Rows that were updated so long before the latest one may still be committed after it."""

_NEVER_MS = 2**62

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
    ledger: sa.Engine,
    known: RegisteredSync,
    reader: ChangeReader,
    calendar: Calendar,
    clock_ms: Callable[[], int],
) -> LateRows:
    """Look for rows of past partitions that were updated since the last look, and note them in the ledger.

    The cursor and the marks of changed partitions are saved together, so that none is lost in between. The
    marks are of after the look: a run that read the source before did not see these rows.
    """
    now_ms = clock_ms()
    cursor, span = _where_to_look(ledger, known, calendar, now_ms)
    if span is None:
        return LateRows([], [], cursor.from_ms)
    changes = reader.changes(span, cursor.from_ms)
    partitions, sums = _by_partition(changes, calendar)
    next_ms, kept_ms, whole_ms = _next_look(changes, cursor.from_ms, now_ms)
    sums = {key: sum_ for key, sum_ in sums.items() if key[1] < whole_ms}
    changed = {
        partitions[start] for (start, minute), sum_ in sums.items() if cursor.is_new(start, minute, sum_)
    }
    if next_ms == cursor.from_ms == whole_ms:  # one minute held more than a look reads
        changed.update(_loaded_in(reader, span, cursor.from_ms, calendar))
        next_ms += MINUTE_MS
    seen = {key: sum_ for key, sum_ in {**cursor.seen, **sums}.items() if key[1] >= kept_ms}
    in_order = sorted(changed, key=lambda each: each.start_ms)
    return _noted(ledger, known, calendar, in_order, LateCursor(next_ms, seen), clock_ms())


def _where_to_look(
    ledger: sa.Engine, known: RegisteredSync, calendar: Calendar, now_ms: int
) -> tuple[LateCursor, Partition | None]:
    """The saved cursor, and the span of usage from the first followed partition to the open one."""
    with reading(ledger) as connection:
        saved = read_late_cursor(connection, known.sync_id)
        first_ms = read_first_start(connection, known.sync_id)
    begun_ms = known.activated_at_ms if known.activated_at_ms is not None else now_ms
    cursor = LateCursor.of_text(saved) if saved else LateCursor(_minute(begun_ms - OVERLAP_MS), {})
    starts = [start for start in (first_ms, followed_from(known, calendar)) if start is not None]
    open_one = calendar.at(now_ms)
    from_ms = max(calendar.first_ms, min(starts, default=now_ms))
    if open_one is None or from_ms >= open_one.start_ms:
        return cursor, None
    return cursor, Partition("usage", from_epoch_ms(from_ms), from_epoch_ms(open_one.start_ms))


def _by_partition(changes: Changes, calendar: Calendar) -> tuple[dict[int, Partition], Sums]:
    """The partitions of changed rows by their starts, and the sums of changes by start and minute."""
    sums: dict[tuple[int, int], tuple[int, int]] = {}
    partitions: dict[int, Partition] = {}
    current: Partition | None = None
    for bucket in sorted(changes.sums, key=lambda each: each.usage_ms):
        if current is None or not current.holds(bucket.usage_ms):
            current = calendar.at(bucket.usage_ms)
        if current is None:
            continue  # before the first partition
        partitions[current.start_ms] = current
        key = current.start_ms, bucket.updated_ms
        (count, total), (more, further) = sums.get(key, (0, 0)), changes.sums[bucket]
        sums[key] = count + more, total + further
    return partitions, sums


def _next_look(changes: Changes, from_ms: int, now_ms: int) -> tuple[int, int, int]:
    """Minutes of updates: where the next look begins, from where on, and up to where, this one counts.

    A look that was cut goes on in the minute in which it stopped; one that saw all goes back by the overlap.
    A source's clock may be ahead, and a row may be of the year 2099: neither moves it past now.
    """
    watermark = changes.watermark_ms
    overlap_ms = from_ms if watermark is None else _minute(min(watermark, now_ms) - OVERLAP_MS)
    last_ms = changes.last_ms or from_ms
    if not changes.is_cut or last_ms >= now_ms:
        return overlap_ms, overlap_ms, _NEVER_MS
    return _minute(last_ms), min(overlap_ms, from_ms), _minute(last_ms)


def _minute(instant_ms: int) -> int:
    return instant_ms - instant_ms % MINUTE_MS


def _loaded_in(reader: ChangeReader, span: Partition, minute_ms: int, calendar: Calendar) -> list[Partition]:
    """All partitions that a bulk load may have touched which put more rows into one minute than are read."""
    usage = reader.usage_updated_in(span, minute_ms)
    if usage is None:
        return []
    first = calendar.at(usage[0])
    return calendar.within(first.start_ms if first else usage[0], usage[1] + 1)


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
    starts = [each.start_ms for each in changed]
    with writing(ledger) as connection:
        followed = read_followed(connection, known, from_ms, starts)
        for each in changed:
            if each.start_ms in followed:
                mark_changed(connection, known.sync_id, each, now_ms)
        save_late_cursor(connection, known.sync_id, cursor.text())
    return LateRows(
        [each for each in changed if each.start_ms in followed],
        [each for each in changed if each.start_ms not in followed],
        cursor.from_ms,
    )

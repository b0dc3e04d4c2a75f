"""A cheap look at the source of past partitions, for changes that no `updated_at_column` tells."""

from collections.abc import Callable, Iterator

import sqlalchemy as sa

from lago_pipeline.ledger.asks import mark_changed, mark_checked
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.ledger.partitions import PartitionRecord, read_partitions_where
from lago_pipeline.ledger.registry import RegisteredSync
from lago_pipeline.partition import Calendar, Partition
from lago_pipeline.source.changed import ChangeReader

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS
_TODAY_EVERY_MS = 15 * _MINUTE_MS
_WEEK_MS = 7 * _DAY_MS
_QUARTER_MS = 92 * _DAY_MS
LOOK_SECONDS = 20.0
"""How long one look may take: Dagster gives a sensor a minute."""


def find_changed_extents(
    ledger: sa.Engine,
    known: RegisteredSync,
    reader: ChangeReader,
    calendar: Calendar,
    clock_ms: Callable[[], int],
    *,
    clock: Callable[[], float],
) -> list[Partition]:
    """Compare the count and latest time of delivered partitions with the source's, and note what changed.

    The open partition is looked at in every look, those of the last week hourly, those of the last quarter
    daily; where the source tells its updates, all past ones daily. Those not looked at for
    longest come first, and what is left when the time is up comes in the next look.
    """
    now_ms = clock_ms()
    with reading(ledger) as connection:
        recent = "source_fingerprint is not null and partition_end > :oldest"
        records = read_partitions_where(connection, known.sync_id, recent, oldest=now_ms - _QUARTER_MS)
    changed: list[Partition] = []
    deadline = clock() + LOOK_SECONDS
    for record in _to_check(records, now_ms, has_updates=reader.tells_updates):
        partition = calendar.at(record.partition_start)
        if partition is None or partition.end_ms != record.partition_end:
            continue  # of another cadence or time zone, which the sync had before
        if _has_changed(ledger, known, reader, partition, record.source_fingerprint, clock_ms):
            changed.append(partition)
        if clock() >= deadline:
            break
    return sorted(changed, key=lambda partition: partition.start_ms)


def _has_changed(
    ledger: sa.Engine,
    known: RegisteredSync,
    reader: ChangeReader,
    partition: Partition,
    extracted: str | None,
    clock_ms: Callable[[], int],
) -> bool:
    """Compare one partition, and note what was found.

    That it was looked at is noted first: a query that outlasts the sensor must not be run at every tick.
    """
    with writing(ledger) as connection:
        mark_checked(connection, known.sync_id, partition, clock_ms())
    if reader.fingerprint(partition) == extracted:
        return False
    with writing(ledger) as connection:
        mark_changed(connection, known.sync_id, partition, clock_ms())
    return True


def _to_check(records: list[PartitionRecord], now_ms: int, *, has_updates: bool) -> Iterator[PartitionRecord]:
    """Those whose time has come, the longest unseen first."""
    by_age = sorted(records, key=_seen_ms)
    for record in by_age:
        every_ms = _every_ms(now_ms - record.partition_end, has_updates=has_updates)
        if every_ms is not None and now_ms - _seen_ms(record) >= every_ms:
            yield record


def _seen_ms(record: PartitionRecord) -> int:
    """When the partition was last compared, or delivered."""
    return max(record.checked_ms or 0, record.updated_ms)


def _every_ms(age_ms: int, *, has_updates: bool) -> int | None:
    """How often a partition is looked at that ended so long ago; None for never."""
    if has_updates:
        return _DAY_MS if age_ms >= 0 else None
    if age_ms < 0:
        return _TODAY_EVERY_MS
    return _HOUR_MS if age_ms < _WEEK_MS else _DAY_MS

"""Which partitions are due: those since the sync's first start that are not closed, and when to ask again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from lago_pipeline.errors import ConfigError
from lago_pipeline.ledger.asks import read_delivered, read_gaps, read_not_closed
from lago_pipeline.ledger.catalog import read_catalog_hash
from lago_pipeline.ledger.database import reading
from lago_pipeline.ledger.partitions import PartitionRecord, State
from lago_pipeline.ledger.registry import RegisteredSync
from lago_pipeline.partition import Calendar, Partition

_ASK_AGAIN_MS = (15 * 60_000, 60 * 60_000)


@dataclass(frozen=True, slots=True)
class Due:
    """A partition that a run should be asked for, with the ledger's record of it, if there is one."""

    partition: Partition
    record: PartitionRecord | None = None
    is_open: bool = False

    @property
    def asked_ms(self) -> int:
        """When a run was asked for that brought no result yet; 0 for never."""
        return (self.record.asked_ms if self.record else None) or 0

    @property
    def fruitless_asks(self) -> int:
        """How many runs in a row were asked for that brought no result."""
        return self.record.asks if self.record and self.record.asked_ms is not None else 0

    def is_asked_for(self, now_ms: int) -> bool:
        """Whether a run was asked for lately, and may still bring its result."""
        return self.asked_ms > 0 and now_ms < self.asked_ms + ask_again_ms(self.fruitless_asks)

    @property
    def is_unsettled(self) -> bool:
        """Whether its last run left usage unbilled."""
        return self.record is not None and self.record.state is State.UNSETTLED

    def may_close(self, now_ms: int, closing_delay: timedelta) -> bool:
        """Whether a run that begins now can close it."""
        return now_ms >= self.partition.end_ms + closing_delay // timedelta(milliseconds=1)


def followed_from(known: RegisteredSync, calendar: Calendar) -> int | None:
    """The start of the partition in which the sync first ran by itself; None before that."""
    if known.activated_at_ms is None:
        return None
    first = calendar.at(known.activated_at_ms)
    return first.start_ms if first else known.activated_at_ms


def due_partitions(
    ledger: sa.Engine, known: RegisteredSync, calendar: Calendar, now_ms: int, template_hash: str
) -> list[Due]:
    """The partitions of the past that a run should be asked for now, in order, without the open one.

    Those since the sync's first start, and earlier ones that a person had delivered. One that was asked for
    waits for its run, an unsettled one for its next attempt, unless the template or Lago's metrics changed.
    Raises ConfigError where a partition of another cadence or time zone is not closed.
    """
    with reading(ledger) as connection:
        _check_calendar(read_not_closed(connection, known.sync_id), calendar)
        catalog_hash = read_catalog_hash(connection, known.sync_id)
    return [
        due
        for due in not_closed(ledger, known, calendar, now_ms)
        if due.partition.end_ms <= now_ms and _is_due(due, now_ms, template_hash, catalog_hash)
    ]


def scheduled_partitions(
    ledger: sa.Engine, known: RegisteredSync | None, calendar: Calendar, now_ms: int, template_hash: str
) -> list[Due]:
    """What the schedule asks for: the open partition, and before it those that are due."""
    past = due_partitions(ledger, known, calendar, now_ms, template_hash) if known else []
    open_one = calendar.at(now_ms)
    return [*past, Due(open_one, is_open=True)] if open_one else past


def not_closed(ledger: sa.Engine, known: RegisteredSync, calendar: Calendar, now_ms: int) -> list[Due]:
    """Every partition that is followed and not closed, in order: begun ones, and gaps between them."""
    with reading(ledger) as connection:
        from_ms = followed_from(known, calendar)
        records = read_not_closed(connection, known.sync_id)
        followed = read_followed(connection, known, from_ms, [each.partition_start for each in records])
        gaps = [] if from_ms is None else list(read_gaps(connection, known.sync_id, from_ms, now_ms))
    mine = _of_this_calendar([each for each in records if each.partition_start in followed], calendar)
    begun = [Due(partition, record) for partition, record in mine]
    missing = [Due(partition) for start, end in gaps for partition in calendar.within(start, end)]
    return sorted(begun + missing, key=lambda due: due.partition.start_ms)


def read_followed(
    connection: sa.Connection, known: RegisteredSync, from_ms: int | None, starts: Sequence[int]
) -> set[int]:
    """Those of the starts that are looked after: since the sync's first start, or delivered by a person."""
    since = {start for start in starts if from_ms is not None and start >= from_ms}
    return since | read_delivered(connection, known.sync_id, [each for each in starts if each not in since])


def ask_again_ms(asks: int) -> int:
    """How long a run that was asked for may bring no result: 15 minutes the first time, then an hour."""
    return _ASK_AGAIN_MS[min(asks, len(_ASK_AGAIN_MS)) - 1]


def _of_this_calendar(
    records: Sequence[PartitionRecord], calendar: Calendar
) -> Iterator[tuple[Partition, PartitionRecord]]:
    """Without those of another cadence or time zone, or of before a start that was moved."""
    for record in records:
        partition = calendar.at(record.partition_start)
        if partition and _bounds(partition) == _bounds(record.partition):
            yield partition, record


def _check_calendar(records: Sequence[PartitionRecord], calendar: Calendar) -> None:
    """What such a partition covers is no gap, and nobody would deliver the rest of it."""
    for record in records:
        partition = calendar.at(record.partition_start)
        if partition and _bounds(partition) != _bounds(record.partition):
            raise ConfigError(
                f"partition {record.partition_key} is not closed, and the sync has another cadence or time "
                "zone now: set partitions.cadence and partitions.timezone back until it is"
            )


def _bounds(partition: Partition) -> tuple[int, int]:
    return partition.start_ms, partition.end_ms


def _is_due(due: Due, now_ms: int, template_hash: str, catalog_hash: str | None) -> bool:
    record = due.record
    if due.is_asked_for(now_ms):
        return False
    if record is None or record.state is not State.UNSETTLED:
        return True
    is_woken = record.template_hash != template_hash or record.catalog_hash not in (None, catalog_hash)
    return is_woken or (record.next_attempt_ms or 0) <= now_ms

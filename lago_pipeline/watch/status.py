"""How a sync stands: what is closed, what is not, since when, and when it is tried again; only reads."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from lago_pipeline.ledger.asks import read_not_closed
from lago_pipeline.ledger.database import reading
from lago_pipeline.ledger.partitions import PartitionRecord, State, read_partitions_where
from lago_pipeline.ledger.registry import RegisteredSync, find
from lago_pipeline.partition import Calendar, Partition
from lago_pipeline.sync import Sync
from lago_pipeline.watch.closing import Due, ask_again_ms, not_closed

MOST_LISTED = 7
"""Neighbours that were never begun and are due: a longer row of them is one line."""

_CLOSED = sa.text("select count(*) from partitions where sync_id = :sync and state = 'closed'")
_LATEST_CLOSED = (
    "partition_start in (select partition_start from partitions where sync_id = :sync and state = 'closed' "
    "order by partition_start desc limit :last)"
)
_RUN_IDS = sa.text(
    "select p.partition_start, r.run_id from partitions p join runs r on r.run = p.last_run "
    "where p.sync_id = :sync and (p.state <> 'closed' or p.partition_start >= :from)"
)
_UNBILLED = "{0}.held + {0}.rejected + {0}.quarantined + {0}.conflict + {0}.pending"
_WAITING_SINCE = sa.text(
    "select p.partition_start, min(r.ended_ms) from partitions p "
    "join runs r on r.sync_id = p.sync_id and r.partition_start = p.partition_start "
    "where p.sync_id = :sync and p.state <> 'closed' and r.ended_ms is not null "
    f"and {_UNBILLED.format('r')} > 0 and not exists (select 1 from runs b where b.sync_id = r.sync_id "
    "and b.partition_start = r.partition_start and b.run > r.run and b.ended_ms is not null "
    f"and {_UNBILLED.format('b')} = 0) group by p.partition_start"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One partition as it stands, or a long row of neighbours that were never begun: `first` to `last`.

    `record` is the ledger's, None for what was never begun. Instants are epoch milliseconds: the end of the
    first run that left usage unbilled which still is, and when it is asked for again (past where it is due).
    """

    first: Partition
    last: Partition
    partitions: int
    record: PartitionRecord | None
    run_id: str | None
    waiting_since_ms: int | None
    next_attempt_ms: int | None

    @property
    def state(self) -> State:
        """A gap is open, too."""
        return self.record.state if self.record else State.OPEN

    def age_ms(self, now_ms: int) -> int | None:
        """How long ago it ended; None where it has not."""
        return now_ms - self.first.end_ms if self.first.end_ms <= now_ms else None


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """What the ledger tells of a sync; `lines` are its unsettled, its open and its latest closed partitions.

    The newest comes first. `activated_at_ms` is None for a sync that never ran by itself.
    """

    activated_at_ms: int | None = None
    sync_id: int | None = None
    lines: Sequence[Line] = ()
    closed: int = 0

    @property
    def open(self) -> int:
        """Partitions that are neither closed nor unsettled, with the gaps."""
        return sum(line.partitions for line in self.lines if line.state is State.OPEN)

    @property
    def unsettled(self) -> int:
        """Partitions with usage that is not billed."""
        return sum(line.state is State.UNSETTLED for line in self.lines)

    @property
    def unbilled(self) -> int:
        """Rows that are not billed, of all partitions."""
        return sum(line.record.counts.unbilled for line in self.lines if line.record)

    @property
    def oldest_unsettled(self) -> Line | None:
        """The unsettled partition that ended first."""
        return next((line for line in reversed(self.lines) if line.state is State.UNSETTLED), None)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the ledger's runs add to its partitions, by a partition's start."""

    run_ids: dict[int, str]
    waiting_since: dict[int, int]


def sync_status(ledger: sa.Engine, sync: Sync, calendar: Calendar, now_ms: int, last: int) -> SyncStatus:
    """How a sync stands now, with its `last` latest closed partitions.

    Reads a fixed number of statements, and one for each gap, however many partitions are closed.
    """
    known = find(ledger, sync)
    if known is None:
        return SyncStatus()
    pending = not_closed(ledger, known, calendar, now_ms)
    with reading(ledger) as connection:
        seen = {each.partition.start_ms for each in pending if each.record}
        strangers = _of_another_calendar(connection, known, seen)
        closed = _latest_closed(connection, known, seen, last)
        facts = _facts(connection, known, closed[0].partition.start_ms if closed else now_ms)
        count = int(connection.execute(_CLOSED, {"sync": known.sync_id}).scalar_one())
    asked = [
        _line(row, facts, next_attempt_ms(row[0], now_ms, sync.closing_delay))
        for row in _rows(pending, now_ms, sync.closing_delay)
    ]
    lines = asked + [_line([each], facts, None) for each in (*strangers, *closed)]
    newest_first = tuple(sorted(lines, key=lambda line: line.first.start_ms, reverse=True))
    return SyncStatus(known.activated_at_ms, known.sync_id, newest_first, count)


def next_attempt_ms(due: Due, now_ms: int, closing_delay: timedelta) -> int | None:
    """When a partition is asked for again; None for the one that has not ended: every tick asks for it."""
    record = due.record
    again = record.asked_ms + ask_again_ms(record.asks) if record and record.asked_ms is not None else None
    if record and due.is_unsettled:
        return max(record.next_attempt_ms or 0, again or 0)
    if again is not None or due.partition.holds(now_ms):
        return again
    return due.partition.end_ms + closing_delay // timedelta(milliseconds=1)


def _of_another_calendar(
    connection: sa.Connection, known: RegisteredSync, seen: Collection[int]
) -> list[Due]:
    """Those that are not closed, of a cadence or time zone that the sync had before: nobody asks for them."""
    records = read_not_closed(connection, known.sync_id)
    return [Due(each.partition, each) for each in records if each.partition_start not in seen]


def _latest_closed(
    connection: sa.Connection, known: RegisteredSync, seen: Collection[int], last: int
) -> list[Due]:
    """Without one that was closed just now, after it was seen open."""
    records = read_partitions_where(connection, known.sync_id, _LATEST_CLOSED, last=last)
    return [Due(each.partition, each) for each in records if each.partition_start not in seen]


def _facts(connection: sa.Connection, known: RegisteredSync, from_ms: int) -> _Facts:
    """Of the partitions that are not closed, and of closed ones that start at `from_ms` or later."""
    run_ids = connection.execute(_RUN_IDS, {"sync": known.sync_id, "from": from_ms})
    since = connection.execute(_WAITING_SINCE, {"sync": known.sync_id})
    return _Facts({row[0]: str(row[1]) for row in run_ids}, {row[0]: int(row[1]) for row in since})


def _rows(pending: Iterable[Due], now_ms: int, closing_delay: timedelta) -> list[list[Due]]:
    """Partitions one by one, but a long row of neighbours that were never begun and are due together."""
    rows: list[list[Due]] = []
    for each in pending:
        is_gap = each.record is None and each.may_close(now_ms, closing_delay)
        before = rows[-1][-1] if rows else None
        if is_gap and before and before.record is None and before.partition.end_ms == each.partition.start_ms:
            rows[-1].append(each)
        else:
            rows.append([each])
    return [part for row in rows for part in ([row] if len(row) > MOST_LISTED else [[each] for each in row])]


def _line(row: Sequence[Due], facts: _Facts, next_ms: int | None) -> Line:
    first, start_ms = row[0], row[0].partition.start_ms
    since = facts.waiting_since.get(start_ms) if first.is_unsettled else None
    run_id = facts.run_ids.get(start_ms) if first.record else None
    return Line(first.partition, row[-1].partition, len(row), first.record, run_id, since, next_ms)

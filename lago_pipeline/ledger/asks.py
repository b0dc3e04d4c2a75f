"""What the ledger remembers for those who ask for runs: gaps, partitions not closed, and who asked when."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from lago_pipeline.ledger.partitions import PartitionRecord, read_partitions_where
from lago_pipeline.ledger.runs import PREVIEW_RUN
from lago_pipeline.partition import Partition

_GAP_STARTS = sa.text(
    "select partition_end from partitions p where sync_id = :sync and partition_end between :from and :until "
    "and not exists (select 1 from partitions q "
    "where q.sync_id = :sync and q.partition_start = p.partition_end) order by partition_end"
)
_NEXT_START = sa.text(
    "select min(partition_start) from partitions where sync_id = :sync and partition_start >= :at"
)
_IS_COVERED = sa.text(
    "select 1 from partitions where sync_id = :sync and partition_start <= :at and partition_end > :at"
)
_ASK = sa.text(
    "insert into partitions "
    "(sync_id, partition_start, partition_end, partition_key, state, updated_ms, asks, asked_ms) "
    "values (:sync, :start, :end, :key, 'open', :now, 1, :now) "
    "on conflict (sync_id, partition_start) do update set asks = partitions.asks + 1, asked_ms = :now "
    "where coalesce(partitions.asked_ms, 0) = :seen returning partition_start"
)
_CHANGED = sa.text(
    "update partitions set changed_ms = :now, next_attempt_ms = case when state = 'unsettled' then :now end, "
    "state = case when state = 'closed' then 'open' else state end "
    "where sync_id = :sync and partition_start = :start"
)
_IS_DELIVERED = (
    "(asks > 0 or exists (select 1 from runs r where r.sync_id = partitions.sync_id "
    "and r.partition_start = partitions.partition_start and r.run_id <> :preview))"
)
"""Whether a run was asked for or made: a sample that was sent does not bring the rest of its day along."""


def read_not_closed(connection: sa.Connection, sync_id: int) -> list[PartitionRecord]:
    """The partitions that were begun and are not closed, in order, however old."""
    return read_partitions_where(connection, sync_id, "state <> 'closed'")


def read_delivered(connection: sa.Connection, sync_id: int, starts: Sequence[int]) -> set[int]:
    """Those of the partitions, by their starts, that a run was asked for or made for, beside samples."""
    statement = sa.text(
        f"select partition_start from partitions where sync_id = :sync and {_IS_DELIVERED} "
        "and partition_start in :starts"
    ).bindparams(sa.bindparam("starts", expanding=True))
    found: set[int] = set()
    for first in range(0, len(starts), 10_000):
        values = {"sync": sync_id, "preview": PREVIEW_RUN, "starts": list(starts[first : first + 10_000])}
        found.update(int(start) for start in connection.execute(statement, values).scalars())
    return found


def read_gaps(
    connection: sa.Connection, sync_id: int, from_ms: int, until_ms: int
) -> Iterator[tuple[int, int]]:
    """The spans of time between two instants that no partition of the ledger covers, in order."""
    bounds = {"sync": sync_id, "from": from_ms, "until": until_ms}
    starts = [int(start) for start in connection.execute(_GAP_STARTS, bounds).scalars()]
    if connection.execute(_IS_COVERED, {"sync": sync_id, "at": from_ms}).first() is None:
        starts = [from_ms, *(start for start in starts if start != from_ms)]
    for start in starts:
        found = connection.execute(_NEXT_START, {"sync": sync_id, "at": start}).scalar()
        end = until_ms if found is None else min(until_ms, int(found))
        if start < end:
            yield start, end


def ask(connection: sa.Connection, sync_id: int, partition: Partition, seen_ms: int, now_ms: int) -> bool:
    """Note that a run of a partition is asked for; False where somebody else asked since `seen_ms`.

    `seen_ms` is the partition's `asked_ms` as the caller saw it, 0 for none: of two that ask at once, one
    is told to.
    """
    values = {"sync": sync_id, "start": partition.start_ms, "end": partition.end_ms, "key": partition.key}
    return connection.execute(_ASK, {**values, "seen": seen_ms, "now": now_ms}).first() is not None


def mark_changed(connection: sa.Connection, sync_id: int, partition: Partition, now_ms: int) -> None:
    """Note that a partition's source changed: it is open again, and due at once."""
    connection.execute(_CHANGED, {"sync": sync_id, "start": partition.start_ms, "now": now_ms})


def mark_checked(connection: sa.Connection, sync_id: int, partition: Partition, now_ms: int) -> None:
    """Note that the source of a partition is compared with what was extracted."""
    connection.execute(
        sa.text("update partitions set checked_ms = :now where sync_id = :sync and partition_start = :start"),
        {"sync": sync_id, "start": partition.start_ms, "now": now_ms},
    )


def read_first_start(connection: sa.Connection, sync_id: int) -> int | None:
    """The start of the earliest partition that was ever begun."""
    statement = sa.text("select min(partition_start) from partitions where sync_id = :sync")
    return connection.execute(statement, {"sync": sync_id}).scalar()


def read_late_cursor(connection: sa.Connection, sync_id: int) -> str | None:
    """Where the search for late rows goes on, as it was saved."""
    statement = sa.text("select late_cursor from syncs where id = :sync")
    return connection.execute(statement, {"sync": sync_id}).scalar()


def save_late_cursor(connection: sa.Connection, sync_id: int, cursor: str) -> None:
    """Save where the search for late rows goes on."""
    connection.execute(
        sa.text("update syncs set late_cursor = :cursor where id = :sync"),
        {"cursor": cursor, "sync": sync_id},
    )

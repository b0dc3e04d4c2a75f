"""The ledger's partitions: which are open, closed or unsettled, and what their last run counted."""

from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from lago_pipeline.partition import Partition, from_epoch_ms
from lago_pipeline.report import COUNT_NAMES, Counts

FINGERPRINT_VERSION = 1
_USUAL_PARTITIONS = 28
_FEWEST_PARTITIONS = 3
_RETRY_AFTER_MS = tuple(minutes * 60_000 for minutes in (15, 60, 360, 1440))


class State(StrEnum):
    """Of a partition: `open` may still get rows, `closed` is billed, `unsettled` has unbilled usage."""

    OPEN = "open"
    CLOSED = "closed"
    UNSETTLED = "unsettled"


@dataclass(frozen=True, slots=True)
class PartitionRecord:
    """What the ledger knows of one partition; instants are epoch milliseconds.

    `digest` is set only when nothing is amiss. `asks` runs were asked for since the last result, the latest
    at `asked_ms`. Rows are known to have come late at `changed_ms`. `source_fingerprint` is what the last
    extraction read, compared with the source at `checked_ms`. `catalog_hash` is that of Lago's metrics when
    it refused an event.
    """

    partition_start: int
    partition_end: int
    partition_key: str
    state: State
    snapshot_ms: int | None
    template_hash: str | None
    digest: str | None
    counts: Counts
    reasons: str
    attempts: int
    next_attempt_ms: int | None
    updated_ms: int
    asks: int = 0
    asked_ms: int | None = None
    changed_ms: int | None = None
    source_fingerprint: str | None = None
    checked_ms: int | None = None
    catalog_hash: str | None = None

    @property
    def partition(self) -> Partition:
        """The partition as it was when it was last delivered."""
        start, end = from_epoch_ms(self.partition_start), from_epoch_ms(self.partition_end)
        return Partition(self.partition_key, start, end)


@dataclass(frozen=True, slots=True)
class Settlement:
    """The result of a run, to be recorded; `digest` is None unless every event is accepted and unchanged."""

    run: int
    snapshot_ms: int
    template_hash: str
    digest: str | None
    counts: Counts
    reasons: str
    is_settled: bool
    source_fingerprint: str | None = None


def read_partition(connection: sa.Connection, sync_id: int, partition: Partition) -> PartitionRecord | None:
    """The record of a partition, or None before its first run."""
    found = read_partitions_where(connection, sync_id, "partition_start = :start", start=partition.start_ms)
    return found[0] if found else None


def read_usual_rows(connection: sa.Connection, sync_id: int, partition: Partition) -> int | None:
    """The median number of rows of the latest closed partitions that had any; None where they are few."""
    found = connection.execute(
        sa.text(
            "select extracted from partitions where sync_id = :sync and partition_start <> :start "
            "and state = 'closed' and extracted > 0 order by partition_start desc limit :most"
        ),
        {"sync": sync_id, "start": partition.start_ms, "most": _USUAL_PARTITIONS},
    )
    rows = sorted(int(row[0]) for row in found)
    return rows[len(rows) // 2] if len(rows) >= _FEWEST_PARTITIONS else None


def open_partition(connection: sa.Connection, sync_id: int, partition: Partition, now_ms: int) -> None:
    """Record a partition before its first event is settled."""
    connection.execute(
        sa.text(
            "insert into partitions "
            "(sync_id, partition_start, partition_end, partition_key, state, updated_ms) "
            "values (:sync, :start, :end, :key, :state, :now) "
            "on conflict (sync_id, partition_start) do update set partition_end = :end, partition_key = :key"
        ),
        {
            "sync": sync_id,
            "start": partition.start_ms,
            "end": partition.end_ms,
            "key": partition.key,
            "state": State.OPEN,
            "now": now_ms,
        },
    )


def settle_partition(
    connection: sa.Connection,
    sync_id: int,
    partition: Partition,
    settlement: Settlement,
    *,
    closing_delay_ms: int,
    now_ms: int,
) -> State:
    """Record a run's result and decide the state.

    A partition closes only when it is settled by an extraction that began `closing_delay_ms` after its end,
    and after the last change that was noticed in its source.
    """
    before = read_partition(connection, sync_id, partition)
    changed_ms = (before.changed_ms if before else None) or 0
    is_over = settlement.snapshot_ms >= partition.end_ms + closing_delay_ms
    settled_state = State.CLOSED if is_over and settlement.snapshot_ms >= changed_ms else State.OPEN
    state = settled_state if settlement.is_settled else State.UNSETTLED
    # while rows still come it is tried as they do: only attempts after that grow rarer
    attempts = (before.attempts if before else 0) + 1 if state is State.UNSETTLED and is_over else 0
    values = {
        "sync": sync_id,
        "start": partition.start_ms,
        "state": state,
        "snapshot": settlement.snapshot_ms
        if settlement.is_settled
        else (before.snapshot_ms if before else None),
        "template": settlement.template_hash,
        "version": FINGERPRINT_VERSION,
        "digest": settlement.digest,
        "reasons": settlement.reasons,
        "attempts": attempts,
        "run": settlement.run,
        "next": now_ms + retry_after_ms(attempts) if state is State.UNSETTLED else None,
        "now": now_ms,
        "source": settlement.source_fingerprint,
        **settlement.counts.as_mapping(),
    }
    counted = ", ".join(f"{name} = :{name}" for name in COUNT_NAMES)
    connection.execute(
        sa.text(
            "update partitions set state = :state, snapshot_ms = :snapshot, template_hash = :template, "
            "fingerprint_version = :version, digest = :digest, reasons = :reasons, attempts = :attempts, "
            "last_run = :run, next_attempt_ms = :next, updated_ms = :now, source_fingerprint = :source, "
            f"catalog_hash = null, asks = 0, asked_ms = null, {counted} "
            "where sync_id = :sync and partition_start = :start"
        ),
        values,
    )
    return state


def retry_after_ms(attempts: int) -> int:
    """How long an unsettled partition waits after its n-th failed attempt: 15 min, 1 h, 6 h, then daily."""
    return _RETRY_AFTER_MS[min(max(attempts, 1), len(_RETRY_AFTER_MS)) - 1]


def read_partitions_where(
    connection: sa.Connection, sync_id: int, where: str, **values: int
) -> list[PartitionRecord]:
    """The records of a sync for which a condition holds, in order."""
    statement = f"select * from partitions where sync_id = :sync and {where} order by partition_start"
    found = connection.execute(sa.text(statement), {"sync": sync_id, **values}).mappings()
    return [_record(row) for row in found]


def _record(row: sa.RowMapping) -> PartitionRecord:
    names = [name for name in PartitionRecord.__slots__ if name not in {"counts", "state"}]
    counts = Counts(**{name: int(str(row[name])) for name in COUNT_NAMES})
    return PartitionRecord(
        **{name: row[name] for name in names},
        counts=counts,
        state=State(str(row["state"])),
    )

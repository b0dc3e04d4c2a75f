"""The ledger's events: one line for each event whose outcome is known, and marks for those in flight."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lago_pipeline.event import Event
from lago_pipeline.partition import Partition
from lago_pipeline.report import UNBILLED, Status

_COLUMNS = [
    "sync_id",
    "partition_start",
    "row_key",
    "event_index",
    "revision",
    "status",
    "fingerprint",
    "code",
    "external_subscription_id",
    "timestamp_ms",
    "properties",
    "transaction_id",
    "reason",
    "http_status",
    "attempts",
    "run",
    "first_seen_ms",
    "updated_ms",
]
_KEY = ("sync_id", "partition_start", "row_key", "event_index", "revision")
_KEPT = (*_KEY, "first_seen_ms", "attempts")
_MARK = "insert into sending (sync_id, partition_start, run, first_key, last_key, started_ms)"


@dataclass(frozen=True, slots=True)
class Line:
    """What the ledger knows of one event of a partition, in its latest revision."""

    row_key: str
    event_index: int
    status: Status
    fingerprint: bytes

    @property
    def identity(self) -> tuple[str, int]:
        """As `Event.identity`."""
        return self.row_key, self.event_index


@dataclass(frozen=True, slots=True)
class Outcome:
    """The final state that one event reached, in Lago's words where Lago refused it."""

    event: Event
    status: Status
    reason: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys after `after` up to and including `last`; None means without bound on that side."""

    after: str | None
    last: str | None

    def condition(self) -> str:
        """The SQL condition on row_key."""
        parts = ["row_key > :after"] * (self.after is not None) + ["row_key <= :last"] * (
            self.last is not None
        )
        return "".join(f" and {part}" for part in parts)


def read_lines(
    connection: sa.Connection, sync_id: int, partition: Partition, keys: KeyRange
) -> dict[tuple[str, int], Line]:
    """The lines of a range of keys, by identity."""
    found = connection.execute(
        sa.text(
            "select row_key, event_index, status, fingerprint from sent "
            f"where sync_id = :sync and partition_start = :start{keys.condition()} "
            "order by row_key, event_index, revision"
        ),
        _bound(sync_id, partition, after=keys.after, last=keys.last),
    )
    lines = (Line(key, index, Status(status), bytes(print_)) for key, index, status, print_ in found)
    return {line.identity: line for line in lines}


def read_elsewhere(
    connection: sa.Connection, sync_id: int, partition: Partition, row_keys: Sequence[str]
) -> dict[str, int]:
    """For keys new to this partition: the start of another partition in which each was accepted."""
    elsewhere: dict[str, int] = {}
    statement = sa.text(
        "select row_key, partition_start from sent where row_key in :keys and sync_id = :sync "
        "and partition_start <> :start and status = 'accepted'"
    ).bindparams(sa.bindparam("keys", expanding=True))
    for first in range(0, len(row_keys), 10_000):
        found = connection.execute(
            statement, {**_bound(sync_id, partition), "keys": row_keys[first : first + 10_000]}
        )
        elsewhere.update((key, start) for key, start in found)
    return elsewhere


def settle(
    connection: sa.Connection,
    sync_id: int,
    partition: Partition,
    outcomes: Iterable[Outcome],
    *,
    prefix: str,
    run: int,
    now_ms: int,
) -> None:
    """Record outcomes, as tuples at driver level; an event's line is replaced, its first sight kept."""
    rows = [
        (
            sync_id,
            partition.start_ms,
            event.row_key,
            event.event_index,
            0,
            outcome.status.value,
            event.fingerprint,
            event.code,
            event.external_subscription_id,
            event.timestamp_ms,
            event.properties,
            _own_transaction_id(event, prefix),
            outcome.reason,
            outcome.http_status,
            1,
            run,
            now_ms,
            now_ms,
        )
        for outcome in outcomes
        for event in (outcome.event,)
    ]
    if rows:
        connection.exec_driver_sql(_upsert(connection.dialect), rows)


def count_by_status(connection: sa.Connection, sync_id: int, partition: Partition) -> Mapping[str, int]:
    """The ledger's own count of a partition's lines, by status."""
    found = connection.execute(
        sa.text(
            "select status, count(*) from sent "
            "where sync_id = :sync and partition_start = :start group by status"
        ),
        _bound(sync_id, partition),
    )
    return {str(row[0]): int(row[1]) for row in found}


def forget(connection: sa.Connection, sync_id: int, partition: Partition, lines: Sequence[Line]) -> None:
    """Delete lines that were never accepted and whose rows are gone: nothing is left to bill."""
    rows = [(sync_id, partition.start_ms, line.row_key, line.event_index) for line in lines]
    if rows:
        mark = _placeholder(connection.dialect)
        connection.exec_driver_sql(
            f"delete from sent where sync_id = {mark} and partition_start = {mark} and row_key = {mark} "
            f"and event_index = {mark} and status <> 'accepted'",
            rows,
        )


def read_refusals(
    connection: sa.Connection, sync_id: int, partition: Partition
) -> list[tuple[str, str, str, int]]:
    """Unbilled lines as (status, reason in full, an example's row key, count), one for each full reason."""
    statement = sa.text(
        "select status, coalesce(reason, ''), min(row_key), count(*) from sent where sync_id = :sync "
        "and partition_start = :start and status <> 'accepted' and status in :unbilled "
        "group by status, reason order by count(*) desc, status"
    ).bindparams(sa.bindparam("unbilled", expanding=True))
    found = connection.execute(
        statement, {**_bound(sync_id, partition), "unbilled": [status.value for status in UNBILLED]}
    )
    return [(str(status), str(reason), str(key), int(count)) for status, reason, key, count in found]


def mark_sending(
    connection: sa.Connection,
    sync_id: int,
    partition: Partition,
    run: int,
    first: str,
    last: str,
    now_ms: int,
) -> None:
    """Note, before the first request, that outcomes of a range of keys may become unknown."""
    connection.execute(
        sa.text(f"{_MARK} values (:sync, :start, :run, :first, :last, :now)"),
        {**_bound(sync_id, partition), "run": run, "first": first, "last": last, "now": now_ms},
    )


def read_marks(connection: sa.Connection, sync_id: int, partition: Partition) -> list[tuple[str, str]]:
    """The ranges of keys that an earlier run may have sent without learning the outcome."""
    found = connection.execute(
        sa.text("select first_key, last_key from sending where sync_id = :sync and partition_start = :start"),
        _bound(sync_id, partition),
    )
    return [(str(first), str(last)) for first, last in found]


def clear_marks(connection: sa.Connection, sync_id: int, partition: Partition) -> None:
    """Remove the marks of a partition, once every event in them has a known outcome."""
    connection.execute(
        sa.text("delete from sending where sync_id = :sync and partition_start = :start"),
        _bound(sync_id, partition),
    )


def _own_transaction_id(event: Event, prefix: str) -> str | None:
    """The id where it is not simply the prefix, the code and the key: the view builds the others."""
    simple = f"{prefix}:{event.code}:{event.row_key}"
    return None if event.transaction_id == simple else event.transaction_id


def _upsert(dialect: sa.Dialect) -> str:
    marks = ", ".join([_placeholder(dialect)] * len(_COLUMNS))
    replaced = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEPT)
    return (
        f"insert into sent ({', '.join(_COLUMNS)}) values ({marks}) on conflict ({', '.join(_KEY)}) "
        f"do update set {replaced}, attempts = sent.attempts + 1"
    )


def _placeholder(dialect: sa.Dialect) -> str:
    return "?" if dialect.name == "sqlite" else "%s"


def _bound(sync_id: int, partition: Partition, **values: Any) -> dict[str, Any]:  # noqa: ANN401 - to bind
    return {"sync": sync_id, "start": partition.start_ms, **values}

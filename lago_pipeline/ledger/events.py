"""The ledger's events: one line for each event whose outcome is known, and marks for those in flight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa

from lago_pipeline.partition import Partition
from lago_pipeline.report import UNBILLED

_MARK = "insert into sending (sync_id, partition_start, run, first_key, last_key, started_ms)"


class Line(NamedTuple):
    """What the ledger knows of one event of a partition, in its latest revision; a tuple, as `Event` is.

    `status` is the value of a `Status`, as the ledger has it.
    """

    row_key: str
    event_index: int
    status: str
    fingerprint: bytes

    @property
    def identity(self) -> tuple[str, int]:
        """As `Event.identity`."""
        return self.row_key, self.event_index


_LINE = partial(tuple.__new__, Line)
"""`Line._make` without its Python function."""


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


def read_lines(connection: sa.Connection, sync_id: int, partition: Partition, keys: KeyRange) -> list[Line]:
    """The lines of a range of keys, in the order of their identities."""
    found = connection.execute(
        sa.text(
            "select row_key, event_index, status, fingerprint from sent "
            f"where sync_id = :sync and partition_start = :start{keys.condition()} "
            "order by row_key, event_index, revision"
        ),
        _bound(sync_id, partition, after=keys.after, last=keys.last),
    )
    return list(map(_LINE, found.all()))


def read_elsewhere(
    connection: sa.Connection, sync_id: int, partition: Partition, row_keys: Sequence[str]
) -> dict[str, int]:
    """For keys new to this partition: the start of another partition in which each was accepted."""
    is_sqlite = connection.dialect.name == "sqlite"
    keys: object = orjson.dumps(row_keys).decode() if is_sqlite else list(row_keys)
    listed = "json_each(:keys) k" if is_sqlite else "unnest(cast(:keys as text[])) k (value)"
    found = connection.execute(
        sa.text(
            f"select e.row_key, e.partition_start from {listed} cross join sent e where e.row_key = k.value "
            "and e.sync_id = :sync and e.partition_start <> :start and e.status = 'accepted'"
        ),
        _bound(sync_id, partition, keys=keys),
    )
    return {str(key): int(start) for key, start in found}


def count_by_status(connection: sa.Connection, sync_id: int, partition: Partition) -> Mapping[str, int]:
    """The ledger's own count of a partition's lines, by status."""
    lines = "from sent where sync_id = :sync and partition_start = :start and status"
    # grouping all lines would sort them; those not accepted have an index of their own
    found = connection.execute(
        sa.text(
            f"select status, count(*) {lines} <> 'accepted' group by status "
            f"union all select 'accepted', count(*) {lines} = 'accepted'"
        ),
        _bound(sync_id, partition),
    )
    return {str(status): int(count) for status, count in found if count}


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


def _placeholder(dialect: sa.Dialect) -> str:
    return "?" if dialect.name == "sqlite" else "%s"


def _bound(sync_id: int, partition: Partition, **values: Any) -> dict[str, Any]:  # noqa: ANN401 - to bind
    return {"sync": sync_id, "start": partition.start_ms, **values}

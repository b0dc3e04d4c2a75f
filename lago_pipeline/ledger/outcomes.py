"""What became of events, into the ledger: a line for each, written in bulk."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

import sqlalchemy as sa

from lago_pipeline.event import Event
from lago_pipeline.partition import Partition
from lago_pipeline.report import Status

_OWN = (
    "row_key",
    "event_index",
    "fingerprint",
    "code",
    "external_subscription_id",
    "timestamp_ms",
    "properties",
    "transaction_id",
    "reason",
)
_SHARED = ("sync_id", "partition_start", "status", "http_status", "run", "first_seen_ms", "updated_ms")
_CONSTANT = {"revision": "0", "attempts": "1"}
_NAMES = (*_OWN, *_SHARED, *_CONSTANT)
_KEY = ("sync_id", "partition_start", "row_key", "event_index", "revision")
_KEPT = (*_KEY, "first_seen_ms", "attempts")
_INSERT = f"insert into sent ({', '.join(_NAMES)})"
_REPLACE = (
    f"on conflict ({', '.join(_KEY)}) do update set "
    f"{', '.join(f'{name} = excluded.{name}' for name in _NAMES if name not in _KEPT)}, "
    "attempts = sent.attempts + 1"
)
_ROWS_A_STATEMENT = 500
"""Python's sqlite3 gives up the GIL for each statement, once for every row of `executemany`, and waits up to
5 ms to have it back while another thread computes."""

_Values = tuple[object, ...]


class Outcome(NamedTuple):
    """The final state that one event reached, in Lago's words where it refused; a tuple, as `Event` is."""

    event: Event
    status: Status
    reason: str | None = None
    http_status: int | None = None


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
    """Record outcomes in bulk; an event's line is replaced, its first sight kept."""
    kinds: dict[tuple[Status, int | None], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[outcome.status, outcome.http_status].append(outcome)
    write = _write_sqlite if connection.dialect.name == "sqlite" else _write_rows
    for (status, http_status), same in kinds.items():
        shared = (sync_id, partition.start_ms, status.value, http_status, run, now_ms, now_ms)
        write(connection, _own_values(same, f"{prefix}:"), shared)


def _own_values(outcomes: Sequence[Outcome], start: str) -> list[_Values]:
    """Rows of `_OWN`; transaction ids that are no more than `start`, code and key are left to the view."""
    return [
        (
            event.row_key,
            event.event_index,
            event.fingerprint,
            event.code,
            event.external_subscription_id,
            event.timestamp_ms,
            event.properties,
            None if event.transaction_id == f"{start}{event.code}:{event.row_key}" else event.transaction_id,
            reason,
        )
        for event, _, reason, _ in outcomes
    ]


def _write_sqlite(connection: sa.Connection, rows: Sequence[_Values], shared: _Values) -> None:
    """Many rows with each statement, and what they share bound once."""
    for first in range(0, len(rows), _ROWS_A_STATEMENT):
        several = rows[first : first + _ROWS_A_STATEMENT]
        connection.exec_driver_sql(_sqlite_statement(len(several)), (*shared, *chain.from_iterable(several)))


@cache
def _sqlite_statement(rows: int) -> str:
    own = (f"column{number}" for number, _ in enumerate(_OWN, 1))
    selected = ", ".join((*own, *"?" * len(_SHARED), *_CONSTANT.values()))
    values = ", ".join([f"({', '.join('?' * len(_OWN))})"] * rows)
    # without `where` SQLite takes ON for the condition of a join
    return f"{_INSERT} select {selected} from (values {values}) where true {_REPLACE}"


def _write_rows(connection: sa.Connection, rows: Sequence[_Values], shared: _Values) -> None:
    """A row at a time, pipelined by psycopg."""
    values = ", ".join((*["%s"] * (len(_OWN) + len(_SHARED)), *_CONSTANT.values()))
    connection.exec_driver_sql(f"{_INSERT} values ({values}) {_REPLACE}", [row + shared for row in rows])

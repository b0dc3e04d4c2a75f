"""What became of events, into the ledger: a line for each, written in bulk."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from operator import attrgetter
from typing import NamedTuple

import sqlalchemy as sa

from lago_pipeline.event import Event
from lago_pipeline.partition import Partition
from lago_pipeline.report import Status

_OF_EVENT = (
    "row_key",
    "event_index",
    "fingerprint",
    "code",
    "external_subscription_id",
    "timestamp_ms",
    "properties",
    "transaction_id",
)
_OWN = (*_OF_EVENT, "reason")
_SHARED = ("sync_id", "partition_start", "status", "http_status", "run", "first_seen_ms", "updated_ms")
_CONSTANT = {"revision": "0", "attempts": "1"}
_KEY = ("sync_id", "partition_start", "row_key", "event_index", "revision")
_KEPT = (*_KEY, "first_seen_ms", "attempts")
_REPLACE = (
    f"on conflict ({', '.join(_KEY)}) do update set "
    f"{', '.join(f'{name} = excluded.{name}' for name in (*_OWN, *_SHARED) if name not in _KEPT)}, "
    "attempts = sent.attempts + 1"
)
_ROWS_A_STATEMENT = 1_000
"""Python's sqlite3 gives up the GIL for each statement, once for every row of `executemany`, and waits up to
5 ms to have it back while another thread computes. SQLite takes 32,766 values; these are at most 9,007."""

_Values = Sequence[object]


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
        write(connection, _own_columns(same, f"{prefix}:"), dict(zip(_SHARED, shared, strict=True)))


def _own_columns(outcomes: Sequence[Outcome], start: str) -> dict[str, _Values]:
    """What is each line's own; transaction ids no more than `start`, code and key are left to the view."""
    events = [outcome.event for outcome in outcomes]
    columns: dict[str, _Values] = {name: list(map(attrgetter(name), events)) for name in _OF_EVENT}
    named = zip(columns["transaction_id"], columns["code"], columns["row_key"], strict=True)
    columns["transaction_id"] = [None if id_ == f"{start}{code}:{key}" else id_ for id_, code, key in named]
    columns["reason"] = [outcome.reason for outcome in outcomes]
    return columns


def _write_sqlite(
    connection: sa.Connection, own: Mapping[str, _Values], shared: Mapping[str, object]
) -> None:
    """Many rows with each statement; what happens to be the same in all of them is bound once, too."""
    names = tuple(
        name for name, values in own.items() if name in _KEY or values.count(values[0]) < len(values)
    )
    bound = {**shared, **{name: values[0] for name, values in own.items() if name not in names}}
    rows = list(zip(*(own[name] for name in names), strict=True))
    for first in range(0, len(rows), _ROWS_A_STATEMENT):
        several = rows[first : first + _ROWS_A_STATEMENT]
        statement = _sqlite_statement(names, tuple(bound), len(several))
        connection.exec_driver_sql(statement, (*bound.values(), *chain.from_iterable(several)))


@lru_cache(maxsize=64)
def _sqlite_statement(own: Sequence[str], bound: Sequence[str], rows: int) -> str:
    columns = (f"column{number}" for number, _ in enumerate(own, 1))
    selected = ", ".join((*columns, *"?" * len(bound), *_CONSTANT.values()))
    values = ", ".join([f"({', '.join('?' * len(own))})"] * rows)
    # without `where` SQLite takes ON for the condition of a join
    return f"{_insert(*own, *bound)} select {selected} from (values {values}) where true {_REPLACE}"


def _write_rows(connection: sa.Connection, own: Mapping[str, _Values], shared: Mapping[str, object]) -> None:
    """A row at a time, pipelined by psycopg."""
    bound = (*own.values(), *(repeat(value) for value in shared.values()))
    values = ", ".join((*["%s"] * len(bound), *_CONSTANT.values()))
    statement = f"{_insert(*own, *shared)} values ({values}) {_REPLACE}"
    connection.exec_driver_sql(statement, list(zip(*bound, strict=False)))  # the shared values have no end


def _insert(*names: str) -> str:
    return f"insert into sent ({', '.join((*names, *_CONSTANT))})"

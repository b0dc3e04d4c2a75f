"""What became of events, into the ledger: a line for each, written in bulk."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from lago_pipeline.arrow import column_values
from lago_pipeline.event import Events
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """The final state that some events reached, in Lago's words where it refused.

    An event with a problem needs no other reason.
    """

    events: Events
    status: Status
    reason: str | None = None
    http_status: int | None = None

    @property
    def reasons(self) -> Sequence[str | None]:
        """Each event's reason."""
        return self.events.column("problem") if self.reason is None else [self.reason] * len(self.events)


def count_events(outcomes: Iterable[Outcome]) -> int:
    """How many events have these outcomes."""
    return sum(len(outcome.events) for outcome in outcomes)


@dataclass(frozen=True, slots=True)
class SettledLines:
    """Lines of one fate as they are to be written: columns of their `own`, and what they share."""

    own: Mapping[str, Sequence[object]]
    shared: Mapping[str, object]


def settled_lines(
    outcomes: Iterable[Outcome], sync_id: int, partition: Partition, *, prefix: str, run: int, now_ms: int
) -> list[SettledLines]:
    """The lines of outcomes, made apart from their writing, so that the thread that writes does only that."""
    kinds: dict[tuple[Status, int | None], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.events:
            kinds[outcome.status, outcome.http_status].append(outcome)
    lines = []
    for (status, http_status), same in kinds.items():
        values = (sync_id, partition.start_ms, status.value, http_status, run, now_ms, now_ms)
        lines.append(_told_apart(_columns(same, prefix), dict(zip(_SHARED, values, strict=True))))
    return lines


def write_lines(connection: sa.Connection, lines: Iterable[SettledLines]) -> None:
    """Record lines in bulk; an event's line is replaced, its first sight kept."""
    write = _write_sqlite if connection.dialect.name == "sqlite" else _write_rows
    for each in lines:
        write(connection, each)


def _columns(outcomes: Sequence[Outcome], prefix: str) -> dict[str, pa.ChunkedArray]:
    """What may be each line's own; transaction ids no more than prefix, code and key are left to the view."""
    events = pa.concat_tables([outcome.events.table for outcome in outcomes])
    columns = {name: events[name] for name in _OF_EVENT}
    ids = columns["transaction_id"]
    usual = pc.binary_join_element_wise(prefix, columns["code"], columns["row_key"], ":")
    is_usual = pc.fill_null(pc.equal(ids, usual), fill_value=False)
    columns["transaction_id"] = pc.if_else(is_usual, None, ids)
    columns["reason"] = events["problem"]
    if any(outcome.reason for outcome in outcomes):
        reasons = chain.from_iterable(outcome.reasons for outcome in outcomes)
        columns["reason"] = pa.chunked_array([pa.array(reasons, pa.string())])
    return columns


def _told_apart(columns: Mapping[str, pa.ChunkedArray], shared: Mapping[str, object]) -> SettledLines:
    """What happens to be the same in all lines is shared, too."""
    constant = {name for name, values in columns.items() if name != "row_key" and _is_constant(values)}
    return SettledLines(
        own={name: column_values(columns[name]) for name in columns if name not in constant},
        shared={**shared, **{name: columns[name][0].as_py() for name in columns if name in constant}},
    )


def _is_constant(values: pa.ChunkedArray) -> bool:
    """Whether all of some values are the same."""
    if values.null_count:
        return bool(values.null_count == len(values))
    return bool(pc.all(pc.equal(values, values[0])).as_py())


def _write_sqlite(connection: sa.Connection, lines: SettledLines) -> None:
    """Many rows with each statement; what they share is bound once."""
    shared, own, width = tuple(lines.shared), tuple(lines.own), len(lines.own)
    values = _interleaved(tuple(lines.own.values()))
    for first in range(0, len(values), width * _ROWS_A_STATEMENT):
        several = values[first : first + width * _ROWS_A_STATEMENT]
        statement = _sqlite_statement(shared, own, len(several) // width)
        connection.exec_driver_sql(statement, (*lines.shared.values(), *several))


def _interleaved(columns: Sequence[Sequence[object]]) -> list[object]:
    """All values row by row."""
    values: list[object] = [None] * (len(columns) * len(columns[0]))
    for index, column in enumerate(columns):
        values[index :: len(columns)] = column
    return values


@lru_cache(maxsize=16)
def _sqlite_statement(shared: Sequence[str], own: Sequence[str], rows: int) -> str:
    # no numbered parameters: for each value of theirs Python 3.12.3 gives a warning
    selected = ", ".join(("?",) * len(shared) + tuple(f"column{number}" for number, _ in enumerate(own, 1)))
    values = ", ".join([f"({', '.join('?' * len(own))})"] * rows)
    source = f"select {selected}, {', '.join(_CONSTANT.values())} from (values {values})"
    # without `where` SQLite takes ON for the condition of a join
    return f"{_insert(*shared, *own)} {source} where true {_REPLACE}"


def _write_rows(connection: sa.Connection, lines: SettledLines) -> None:
    """A row at a time, pipelined by psycopg."""
    bound = (*lines.own.values(), *map(repeat, lines.shared.values()))
    values = ", ".join((*["%s"] * len(bound), *_CONSTANT.values()))
    statement = f"{_insert(*lines.own, *lines.shared)} values ({values}) {_REPLACE}"
    connection.exec_driver_sql(statement, list(zip(*bound, strict=False)))  # the shared values have no end


def _insert(*names: str) -> str:
    return f"insert into sent ({', '.join((*names, *_CONSTANT))})"

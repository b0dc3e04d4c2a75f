"""One event: what a usage row became, on its way from the template to Lago and into the ledger."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple, Self, overload

import pyarrow as pa

from lago_pipeline.arrow import column_values


class Event(NamedTuple):
    """A body to send, or a problem; `fingerprint` changes when either would.

    `event_index` tells rows that share a key apart. `properties` is the JSON text of Lago's properties.
    A tuple, because many are made and read.
    """

    row_key: str
    event_index: int
    transaction_id: str | None
    code: str | None
    external_subscription_id: str | None
    timestamp_ms: int | None
    properties: str | None
    body: bytes | None
    fingerprint: bytes
    problem: str | None

    @property
    def identity(self) -> tuple[str, int]:
        """What the event is to the ledger within its partition."""
        return self.row_key, self.event_index


EVENT_SCHEMA = pa.schema(
    [
        ("row_key", pa.string()),
        ("event_index", pa.int32()),
        ("transaction_id", pa.string()),
        ("code", pa.string()),
        ("external_subscription_id", pa.string()),
        ("timestamp_ms", pa.int64()),
        ("properties", pa.string()),
        ("body", pa.binary()),
        ("fingerprint", pa.binary(16)),
        ("problem", pa.string()),
    ]
)
"""Many events by column, in the order of an event's fields: how they are rendered, written and read."""


def event_batch(events: Iterable[Event]) -> pa.RecordBatch:
    """Single events by column."""
    rows = list(events)
    columns = zip(*rows, strict=True) if rows else repeat((), len(EVENT_SCHEMA))
    arrays = [pa.array(values, field.type) for values, field in zip(columns, EVENT_SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=EVENT_SCHEMA)


def events_of(columns: pa.RecordBatch | pa.Table) -> Iterator[Event]:
    """Each event by itself."""
    values = map(column_values, columns.columns)
    return map(partial(tuple.__new__, Event), zip(*values, strict=True))  # as Event._make, but all in C


@dataclass(frozen=True, slots=True, eq=False)
class Events(Sequence[Event]):
    """Events by column: one by itself is made only where it is looked at, since millions take long."""

    table: pa.Table

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """Single events together."""
        return cls(pa.Table.from_batches([event_batch(events)]))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Event]:
        return events_of(self.table)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> Event | Self:
        if isinstance(index, int):
            return next(iter(self.at([range(len(self))[index]])))
        start, stop, step = index.indices(len(self))
        if step != 1:
            return self.at(range(start, stop, step))
        return type(self)(self.table.slice(start, max(0, stop - start)))

    def at(self, indexes: Sequence[int]) -> Self:
        """Those at some indexes."""
        return type(self)(self.table.take(pa.array(indexes, pa.int64())))

    def column(self, name: str) -> list[Any]:
        """One field of all events."""
        return column_values(self.table[name])

    def identities(self) -> Iterator[tuple[str, int]]:
        """What the events are to the ledger within their partition."""
        return zip(self.column("row_key"), self.column("event_index"), strict=True)

    @property
    def oldest_ms(self) -> int | None:
        """The time of the earliest event; None where none has a time."""
        return min(filter(None, self.column("timestamp_ms")), default=None)


def default_transaction_id(prefix: str, code: str, row_key: str) -> str:
    """`<prefix>:<code>:<primary key values>`; the row key is escaped already."""
    return f"{escaped(prefix)}:{escaped(code)}:{row_key}"


def escaped(part: str) -> str:
    """A part of an id with ':' and '%' percent-escaped, so that joined parts stay apart."""
    return part.replace("%", "%25").replace(":", "%3A")

"""One event: what a usage row became, on its way from the template to Lago and into the ledger."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple, Self


class Event(NamedTuple):
    """A body to send, or a problem; `fingerprint` changes when either would.

    `event_index` tells rows that share a key apart. `properties` is the JSON text of Lago's properties.
    A tuple, because millions of them are made and read.
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


class EventColumns(NamedTuple):
    """Many events by field, each field a list of as many values: what is written and read at once."""

    row_key: list[str]
    event_index: list[int]
    transaction_id: list[str | None]
    code: list[str | None]
    external_subscription_id: list[str | None]
    timestamp_ms: list[int | None]
    properties: list[str | None]
    body: list[bytes | None]
    fingerprint: list[bytes]
    problem: list[str | None]

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """Single events as one value."""
        rows = list(events)
        return (
            cls(*(list(values) for values in zip(*rows, strict=True)))
            if rows
            else cls._make([] for _ in cls._fields)
        )

    def events(self) -> Iterator[Event]:
        """Each event by itself."""
        return map(partial(tuple.__new__, Event), zip(*self, strict=True))  # as Event._make, but all in C


def default_transaction_id(prefix: str, code: str, row_key: str) -> str:
    """`<prefix>:<code>:<primary key values>`; the row key is escaped already."""
    return f"{escaped(prefix)}:{escaped(code)}:{row_key}"


def escaped(part: str) -> str:
    """A part of an id with ':' and '%' percent-escaped, so that joined parts stay apart."""
    return part.replace("%", "%25").replace(":", "%3A")

"""One event: what a usage row became, on its way from the template to Lago and into the ledger."""

from typing import NamedTuple


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


def default_transaction_id(prefix: str, code: str, row_key: str) -> str:
    """`<prefix>:<code>:<primary key values>`; the row key is escaped already."""
    return f"{escaped(prefix)}:{escaped(code)}:{row_key}"


def escaped(part: str) -> str:
    """A part of an id with ':' and '%' percent-escaped, so that joined parts stay apart."""
    return part.replace("%", "%25").replace(":", "%3A")

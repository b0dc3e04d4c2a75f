"""The organization that a destination is: Lago's account behind an API key."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Organization:
    """Lago's organization; `events_store` is `postgres` or `clickhouse`."""

    lago_id: str
    name: str
    events_store: str

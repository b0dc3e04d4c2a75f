"""Finding stored events: filters, order and pages, for the API and for the events page."""

from collections.abc import Mapping
from dataclasses import dataclass

from lago_pipeline.sandbox import timestamps
from lago_pipeline.sandbox.answers import invalid
from lago_pipeline.sandbox.pagination import Page
from lago_pipeline.sandbox.store import Store, StoredEvent

# Lago: events_query.rb lists PostgreSQL's by time, ClickHouse's by arrival.
_ORDERS = {"postgres": "timestamp_us desc, transaction_id asc", "clickhouse": "seq desc"}


@dataclass(frozen=True)
class Filters:
    """Which events to list; times are in microseconds and inclusive at both ends.

    `stored_by_us` leaves out what arrived later and is still on its way through a pipeline.
    """

    code: str | None = None
    external_subscription_id: str | None = None
    transaction_id: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    stored_by_us: int | None = None

    def where(self) -> tuple[str, list[object]]:
        """Say it in SQL."""
        equal = {
            "code": self.code,
            "external_subscription_id": self.external_subscription_id,
            "transaction_id": self.transaction_id,
        }
        clauses = [f"{name} = ?" for name, value in equal.items() if value]
        values: list[object] = [value for value in equal.values() if value]
        if self.from_us is not None or self.to_us is not None:
            clauses.append("timestamp_us between ? and ?")
            values += [
                -timestamps.LIMIT_US if self.from_us is None else self.from_us,
                timestamps.LIMIT_US if self.to_us is None else self.to_us,
            ]
        if self.stored_by_us is not None:
            clauses.append("created_us <= ?")
            values.append(self.stored_by_us)
        return (f"where {' and '.join(clauses)}" if clauses else ""), values


def find(store: Store, filters: Filters, page: Page) -> tuple[list[StoredEvent], int]:
    """Read one page of the raw events and count them all."""
    if filters.external_subscription_id:
        store.index_subscriptions()
    where, values = filters.where()
    total = store.count(f"select count(*) from {store.live()} {where}", values)
    clauses = f"{where} order by {_ORDERS[store.kind]} limit ? offset ?"
    return store.events(clauses, [*values, page.size, page.offset]), total


def moment(query: Mapping[str, str], name: str) -> int | None:
    """Read an ISO 8601 filter; refuses with `invalid_date`."""
    text = query.get(name)
    if not text:
        return None
    found = timestamps.from_iso(text)
    if found is None:
        raise invalid({name: ["invalid_date"]})
    return found

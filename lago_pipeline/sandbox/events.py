"""The endpoints of usage events: POST one or many, list, read one."""

from collections.abc import Sequence

import orjson
from starlette.responses import Response
from starlette.routing import Route

from lago_pipeline.sandbox import lifecycle, listing, params
from lago_pipeline.sandbox.answers import invalid, not_found, ok
from lago_pipeline.sandbox.api import Api, Call
from lago_pipeline.sandbox.catalog import Catalog, Document
from lago_pipeline.sandbox.ingest import Ingest
from lago_pipeline.sandbox.pagination import Page
from lago_pipeline.sandbox.store import Event, Store, StoredEvent
from lago_pipeline.sandbox.timestamps import from_iso, iso_ms, iso_seconds


class Events:
    """Lago's `api/v1/events_controller.rb`."""

    def __init__(self, store: Store, catalog: Catalog, ingest: Ingest) -> None:
        self._store = store
        self._catalog = catalog
        self._ingest = ingest

    def routes(self, api: Api) -> list[Route]:
        """Everything under /events."""
        return [
            api.route("POST", "/events", self.create),
            api.route("POST", "/events/batch", self.create_many),
            api.route("GET", "/events", self.index),
            api.route("GET", "/events/{transaction_id:path}", self.show),
        ]

    def create(self, call: Call) -> Response:
        """POST /events."""
        event, seq = self._ingest.one(params.root(call.params, "event"), call.now_us)
        return ok({"event": self._accepted([event], seq, call.now_us)[0]})

    def create_many(self, call: Call) -> Response:
        """POST /events/batch."""
        partly = getattr(call.request.state, "partial_store", False)
        events, first = self._ingest.many(params.batch(call.params), call.now_us, partly=partly)
        return ok({"events": self._accepted(events, first, call.now_us)})

    def index(self, call: Call) -> Response:
        """GET /events: raw copies, so that ClickHouse's duplicates are counted."""
        page = Page.asked(call.query)
        found, total = listing.find(self._store, self._filters(call), page)
        return ok({"events": self._stored(found), "meta": page.meta(total)})

    def show(self, call: Call) -> Response:
        """GET /events/{transaction_id}: the first found, on ClickHouse the newest copy."""
        order = "asc" if self._store.kind == "postgres" else "desc"
        where, values = listing.Filters(
            transaction_id=call.path_id(), stored_by_us=self._stored_by(call)
        ).where()
        found = self._store.events(f"{where} order by seq {order} limit 1", values)
        if not found:
            raise not_found("event")
        return ok({"event": self._stored(found)[0]})

    def _filters(self, call: Call) -> listing.Filters:
        query = call.query
        from_us = listing.moment(query, "timestamp_from")
        if query.get("timestamp_from_started_at") == "true":
            from_us = self._started_at(query)
        return listing.Filters(
            code=query.get("code"),
            external_subscription_id=query.get("external_subscription_id"),
            from_us=from_us,
            to_us=listing.moment(query, "timestamp_to"),
            stored_by_us=self._stored_by(call),
        )

    def _stored_by(self, call: Call) -> int | None:
        """When an event must have arrived to be read now."""
        return call.now_us - int(self._store.lag * 1_000_000) if self._store.lag else None

    def _started_at(self, query: dict[str, str]) -> int | None:
        """Begin with the subscription's start (Lago: events_query_filters_contract)."""
        if not query.get("external_subscription_id"):
            raise invalid({"external_subscription_id": ["required with timestamp_from_started_at"]})
        if query.get("timestamp_from"):
            raise invalid({"timestamp_from": ["cannot be used with timestamp_from_started_at"]})
        found = self._catalog.find("subscription", query["external_subscription_id"])
        return from_iso(str(found["started_at"])) if found else None

    def _accepted(self, events: Sequence[Event], first: int, now_us: int) -> list[dict[str, object]]:
        """The answer to a POST; ClickHouse's record was never saved, so it has no id and no creation."""
        if self._store.kind == "clickhouse":
            return [_body(event, None, None) for event in events]
        name, created = self._store.event_id, iso_seconds(now_us)
        return [_body(event, name(seq), created) for seq, event in enumerate(events, first)]

    def _stored(self, stored: Sequence[StoredEvent]) -> list[dict[str, object]]:
        """The answer to a GET; ClickHouse's knows its customer and subscription, PostgreSQL's does not."""
        events = [(found.seq, Event(*found[1:7]), iso_seconds(found.created_us)) for found in stored]
        if self._store.kind == "postgres":
            return [_body(event, self._store.event_id(seq), created) for seq, event, created in events]
        names = {event.external_subscription_id or "" for _, event, _ in events}
        named = {name: self._catalog.named("subscription", name) for name in names}
        return [
            _body(event, self._made_up_id(event), created)
            | _owners(event, named[event.external_subscription_id or ""])
            for _, event, created in events
        ]

    def _made_up_id(self, event: Event) -> str:
        """ClickHouse's rows have no id of their own."""
        names = (self._store.organization_id, event.external_subscription_id, event.transaction_id)
        return f"{'-'.join(name or '' for name in names)}-{event.timestamp_us // 1_000_000}"


def _owners(event: Event, subscriptions: Sequence[Document]) -> dict[str, object]:
    """Whose usage an event is, among the subscriptions of its external id."""
    for found in subscriptions:
        if lifecycle.covers(found, event.timestamp_us):
            return {"lago_customer_id": found["lago_customer_id"], "lago_subscription_id": found["lago_id"]}
    return {}


def _body(event: Event, lago_id: str | None, created: str | None) -> dict[str, object]:
    """Lago's `v1/event_serializer.rb`."""
    transaction_id, code, subscription, timestamp_us, amount, properties = event
    return {
        "lago_id": lago_id,
        "transaction_id": transaction_id,
        "lago_customer_id": None,
        "code": code,
        "timestamp": iso_ms(timestamp_us),
        "precise_total_amount_cents": amount,
        "properties": orjson.Fragment(properties),
        "lago_subscription_id": None,
        "external_subscription_id": subscription,
        "created_at": created,
    }

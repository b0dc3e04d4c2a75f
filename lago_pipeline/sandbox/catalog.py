"""Metrics, plans, customers and subscriptions, each a JSON document in the state file."""

import uuid
from collections.abc import Mapping
from typing import Literal

import orjson

from lago_pipeline.sandbox.expression import Expression, parse
from lago_pipeline.sandbox.store import Store

Kind = Literal["billable_metric", "plan", "customer", "subscription"]
Document = dict[str, object]

_KEYS: dict[Kind, str] = {
    "billable_metric": "code",
    "plan": "code",
    "customer": "external_id",
    "subscription": "external_id",
}


class Catalog:
    """What the organisation sells and to whom."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.expressions: dict[str, tuple[str, Expression]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Compile the metrics' expressions anew: (field name, expression) by metric code."""
        self.expressions = {
            str(metric["code"]): (str(metric["field_name"]), parse(str(metric["expression"])))
            for metric in self.all("billable_metric")
            if metric["expression"] and metric["field_name"]
        }

    def all(self, kind: Kind) -> list[Document]:
        """Every document of a kind, newest first, as Lago lists them."""
        rows = self._store.rows("select body from resources where kind = ? order by seq desc", (kind,))
        return [orjson.loads(str(body)) for (body,) in rows]

    def named(self, kind: Kind, key: str) -> list[Document]:
        """The documents with this code or external_id, newest first."""
        sql = "select body from resources where kind = ? and key = ? order by seq desc"
        return [orjson.loads(str(body)) for (body,) in self._store.rows(sql, (kind, key))]

    def find(self, kind: Kind, key: str) -> Document | None:
        """The newest document with this code or external_id."""
        return next(iter(self.named(kind, key)), None)

    def with_id(self, kind: Kind, lago_id: object) -> Document | None:
        """The document with this `lago_id`."""
        sql = "select body from resources where kind = ? and lago_id = ?"
        rows = self._store.rows(sql, (kind, str(lago_id)))
        return orjson.loads(str(rows[0][0])) if rows else None

    def is_taken(self, kind: Kind, key: str, lago_id: str) -> bool:
        """Tell whether another document than this one has the code or external_id."""
        found = self.find(kind, key)
        return found is not None and found["lago_id"] != lago_id

    def save(self, kind: Kind, document: Mapping[str, object]) -> None:
        """Add a document, or replace the one with its `lago_id`."""
        lago_id, key = str(document["lago_id"]), str(document[_KEYS[kind]])
        with self._store.transaction() as db:
            db.execute(_SAVE, (kind, lago_id, key, orjson.dumps(document).decode()))
        if kind == "billable_metric":
            self.refresh()

    def delete_metric(self, metric: Document) -> None:
        """Take a metric away, with its events (Lago: `billable_metrics/destroy_service.rb`)."""
        with self._store.transaction() as db:
            db.execute("delete from resources where lago_id = ?", (metric["lago_id"],))
        self._store.delete_events(str(metric["code"]))
        self.refresh()


_SAVE = """insert into resources (kind, lago_id, key, body) values (?, ?, ?, ?)
on conflict (lago_id) do update set key = excluded.key, body = excluded.body"""


def charges_of(plan: object) -> list[Document]:
    """The charges of a plan's document."""
    return plan["charges"] if isinstance(plan, dict) else []


def new_id() -> str:
    """Make a `lago_id`."""
    return str(uuid.uuid4())

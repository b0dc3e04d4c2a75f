"""Short ways to declare a sync, render rows both ways and read what came out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa

from lago_pipeline.event import Event, events_of
from lago_pipeline.partition import Partition
from lago_pipeline.render.partition_events import RenderCounts, partition_events
from lago_pipeline.render.renderer import EventRenderer
from lago_pipeline.render.template import event_template
from lago_pipeline.spool.columns import encode_rows
from lago_pipeline.spool.rows import StoredRow, StoredRows, stored_rows
from lago_pipeline.sync import Source, Sync

DAY = Partition("2026-01-05", datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC))
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def usage_sync(event: str | Mapping[str, object], **changes: Any) -> Sync:
    """Declare a sync; `changes` may set its zone, primary_key, time_column and prefix."""
    source = Source(
        primary_key=changes.get("primary_key", ("id",)),
        time_column=changes.get("time_column", "at"),
        table="usage",
        timezone=ZoneInfo(changes.get("zone", "UTC")),
    )
    prefix = changes.get("prefix", "seats")
    return Sync("seats", source, event, prefix, "lago")


def mapping(**fields: object) -> dict[str, object]:
    """Declare an event with the required fields, some of them changed."""
    return {"code": "seats", "external_subscription_id": "sub", **fields}


@dataclass(frozen=True)
class BothWays:
    """Renders a row by python-liquid and by the compiled template, which must agree to the letter."""

    by_row: EventRenderer

    def event(self, row_key: str, row: Mapping[str, object]) -> Event:
        """Render a row that has a primary key of its own."""
        stored = stored_as([row_key], tuple(row.values()))
        assert self.by_row.event(row_key, _restored(stored, row)) == self.compiled(stored, tuple(row))
        return self.by_row.event(row_key, row)

    def compiled(self, stored: StoredRows, columns: Sequence[str]) -> Event:
        """Render one stored row as a partition of its own."""
        [events] = partition_events(self.by_row, columns, [stored], RenderCounts())
        [event] = events_of(events)
        return event


def stored_as(row_keys: Sequence[str], *rows: Sequence[object]) -> StoredRows:
    """Rows as a file has them, under these keys."""
    texts, types = encode_rows(rows, len(rows[0]))
    return StoredRows.of_columns(*(pa.array(column, pa.string()) for column in (row_keys, types, *texts)))


def _restored(stored: StoredRows, row: Mapping[str, object]) -> dict[str, object]:
    return dict(zip(row, stored.row(0).values(), strict=True))


def renderer(event: str | Mapping[str, object], partition: Partition = DAY, **changes: Any) -> BothWays:
    """Build the renderer of a sync for one partition."""
    sync = usage_sync(event, **changes)
    return BothWays(EventRenderer(sync, event_template(sync), partition))


def rendered(event: str | Mapping[str, object], /, **row: object) -> Event:
    """Render one row of 5 January 2026 with the primary key 1."""
    return renderer(event).event("1", {"id": 1, "at": NOON, **row})


def body(event: Event) -> dict[str, Any]:
    """Read the JSON that would be sent."""
    assert event.problem is None, event.problem
    assert event.body is not None
    return dict(orjson.loads(event.body))


def properties(liquid: object, /, **row: object) -> dict[str, str]:
    """Render one property `p` and give what is sent as properties."""
    return dict(body(rendered(mapping(properties={"p": liquid}), **row))["properties"])


def text(liquid: object, /, **row: object) -> str:
    """Render one property and give its text."""
    return properties(liquid, **row)["p"]


def problem(liquid: object, /, **row: object) -> str:
    """Render one property that must be refused, and say why."""
    event = rendered(mapping(properties={"p": liquid}), **row)
    assert event.problem is not None, event.properties
    assert event.body is None
    return event.problem


def all_events(
    event: str | Mapping[str, object], columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> tuple[list[Event], RenderCounts]:
    """Render rows as a partition does, through the spool's text form."""
    stored = sorted_rows(rows, columns)
    counts = RenderCounts()
    pieces = partition_events(renderer(event).by_row, columns, stored, counts)
    return list(chain.from_iterable(map(events_of, pieces))), counts


def sorted_rows(rows: Sequence[Sequence[object]], columns: Sequence[str], most: int = 3) -> list[StoredRows]:
    """Rows with the primary key `id` in the order of a file, a few at a time."""
    ordered: list[StoredRow] = sorted(stored_rows(rows, columns, ("id",)), key=lambda row: row.row_key)
    return [
        StoredRows.of(ordered[first : first + most], len(columns)) for first in range(0, len(ordered), most)
    ]

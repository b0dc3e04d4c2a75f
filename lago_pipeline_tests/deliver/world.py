"""A small company: its rows, its ledger, its Lago, and a pipeline between them that never really sleeps."""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lago_pipeline.event import Event, Events
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.outcomes import Outcome
from lago_pipeline.partition import Partition
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.report import DeliveryReport, Status
from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline.spool.folder import Spool
from lago_pipeline.sync import Delivery, Source, Sync

DAY = Partition("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
NEXT_DAY = Partition("2026-01-02", DAY.end, DAY.end + timedelta(days=1))
NOON = "2026-01-01 12:00:00"
_TEMPLATE: Mapping[str, object] = {
    "code": "{{ row.code }}",
    "external_subscription_id": "{{ row.sub }}",
    "properties": {"n": "{{ row.n }}"},
}
SYNC = Sync(
    name="usage",
    source=Source(primary_key=("id",), time_column="ts", table="usage"),
    event=_TEMPLATE,
    transaction_id_prefix="usage",
    destination="lago",
    delivery=Delivery(batch_size=10, concurrency=2, max_attempts=3),
)
Row = tuple[object, ...]


class FakeTime:
    """A clock that only sleeping moves; safe to use from several threads."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []
        self._lock = threading.Lock()

    def clock(self) -> float:
        """Seconds now."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Pass the time at once."""
        with self._lock:
            self.now += seconds
            self.sleeps.append(seconds)


def row(key: object, n: object = 1, *, ts: object = NOON, sub: object = "sub", code: object = "api") -> Row:
    """A usage row."""
    return key, ts, sub, code, n


def rows(numbers: Iterable[int]) -> list[Row]:
    """A row for each number, with keys that sort as the numbers do."""
    return [row(f"k{number:05d}", number) for number in numbers]


def event(number: int, **changes: Any) -> Event:
    """An event as the renderer would make it."""
    key = f"k{number:05d}"
    properties = f'{{"n":"{number}"}}'
    made = Event(
        row_key=key,
        event_index=0,
        transaction_id=f"usage:api:{key}",
        code="api",
        external_subscription_id="sub",
        timestamp_ms=1_767_268_800_000,
        properties=properties,
        body=None,
        fingerprint=number.to_bytes(16),
        problem=None,
    )
    made = made._replace(**changes)
    return made if made.body or made.problem else made._replace(body=body(made))


def body(made: Event) -> bytes:
    """An event's JSON."""
    return (
        f'{{"transaction_id":"{made.transaction_id}","code":"{made.code}",'
        f'"external_subscription_id":"{made.external_subscription_id}","timestamp":"1767268800",'
        f'"properties":{made.properties}}}'
    ).encode()


def numbered(numbers: Iterable[int]) -> Events:
    """An event for each number."""
    return Events.of(map(event, numbers))


def accepted(*events: Event) -> Outcome:
    """Lago took the events."""
    return Outcome(Events.of(events), Status.ACCEPTED, None, 200)


def settled(outcomes: Iterable[Outcome]) -> list[Event]:
    """The events of outcomes, one after another."""
    return [single for outcome in outcomes for single in outcome.events]


@dataclass
class World:
    """Everything that one test needs; `deliver` takes all three steps of a partition."""

    folder: Path
    ledger: sa.Engine
    lago: RunningSandbox
    client: LagoClient
    sync: Sync = SYNC
    time: FakeTime = field(default_factory=FakeTime)
    said: list[str] = field(default_factory=list)
    now_ms: Callable[[], int] | None = None
    _runs: Any = field(default_factory=count)

    @property
    def warehouse(self) -> sa.Engine:
        """The source, opened anew."""
        return sa.create_engine(f"sqlite:///{self.folder}/warehouse.db", poolclass=sa.NullPool)

    def source(self, rows: Sequence[Row]) -> None:
        """Let the source hold exactly these rows."""
        connection = sqlite3.connect(self.folder / "warehouse.db")
        try:
            connection.execute("drop table if exists usage")
            connection.execute("create table usage (id text, ts text, sub text, code text, n)")
            connection.executemany("insert into usage values (?, ?, ?, ?, ?)", rows)
            connection.commit()
        finally:
            connection.close()

    def pipeline(self) -> Pipeline:
        """The pipeline of a new run, on fake time."""
        made = Pipeline(
            self.sync,
            Spool(self.folder / "spool"),
            f"run{next(self._runs)}",
            clock=self.time.clock,
            say=self.said.append,
        )
        return replace(made, now_ms=self.now_ms) if self.now_ms else made

    def prepare(self, partition: Partition = DAY) -> Pipeline:
        """Extract and render; returns the pipeline that is to deliver."""
        pipeline = self.pipeline()
        pipeline.extract(partition, self.warehouse)
        pipeline.render(partition)
        return pipeline

    def deliver(
        self, rows: Sequence[Row] | None = None, partition: Partition = DAY, **options: Any
    ) -> DeliveryReport:
        """One whole run; with `rows` the source holds exactly these."""
        if rows is not None:
            self.source(rows)
        options.setdefault("sleep", self.time.sleep)
        return self.prepare(partition).deliver(partition, self.ledger, self.client, **options)

    def lines(self, columns: str = "row_key, status") -> list[tuple[Any, ...]]:
        """The ledger's events, in order."""
        return self.query(f"select {columns} from lago_events order by partition, row_key")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What the ledger says."""
        with self.ledger.connect() as connection:
            return [tuple(found) for found in connection.exec_driver_sql(sql)]

    def held(self) -> list[str]:
        """The row keys that Lago holds, with every copy, sorted."""
        return sorted(str(found["transaction_id"]).rpartition(":")[2] for found in self.lago.events())

    def requests(self, endpoint: str) -> dict[str, int]:
        """How often an endpoint answered with each status."""
        found = self.lago.stats()["requests"]
        assert isinstance(found, dict)
        answers: dict[str, int] = found.get(endpoint, {})
        return answers

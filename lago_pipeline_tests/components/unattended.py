"""A sync that runs by itself on a simulated clock: its schedule and sensors are evaluated at given times."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg

from lago_pipeline.components.requests import run_partition_keys
from lago_pipeline.components.usage_sync import usage_definitions
from lago_pipeline.components.wiring import Wiring
from lago_pipeline.errors import LagoPipelineError
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.database import open_ledger, reading
from lago_pipeline.ledger.partitions import PartitionRecord, read_partitions_where
from lago_pipeline.partition import epoch_ms
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline.settings import WAREHOUSE_URL, Settings
from lago_pipeline.spool.folder import Spool
from lago_pipeline.sync import Sync
from lago_pipeline_tests.source.reading import engine_of

COLUMNS = "id text, called_at text, subscription text, units integer, loaded_at text"


@dataclass
class Unattended:
    """One sync, its warehouse and its Lago; `now` is the only clock there is."""

    warehouse: Path
    lago: RunningSandbox
    instance: dg.DagsterInstance
    now: datetime
    sync: Sync
    wiring: Wiring
    runs: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    run_keys: set[str] = field(default_factory=set)
    _numbers: Any = field(default_factory=count)

    def __post_init__(self) -> None:
        self.wiring = replace(self.wiring, now_ms=self.now_ms)

    @cached_property
    def defs(self) -> dg.Definitions:
        """What Dagster would load."""
        return usage_definitions(self.sync, self.wiring, "0 * * * *")

    def now_ms(self) -> int:
        """The simulated time in epoch milliseconds."""
        return epoch_ms(self.now)

    def schedule(self) -> list[dg.RunRequest]:
        """What the schedule asks for now."""
        with dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=self.now, **self._context
        ) as tick:
            # it would open another instance at each tick, which takes most of a test's time
            object.__setattr__(tick, "_instance", self.instance)
            data = self.defs.resolve_schedule_def("calls_schedule").evaluate_tick(tick)
        return list(data.run_requests or [])

    def sensor(self, name: str) -> list[dg.RunRequest]:
        """What a sensor asks for now: `not_closed` or `late_rows`."""
        with dg.build_sensor_context(instance=self.instance, **self._context) as tick:
            data = self.defs.resolve_sensor_def(f"calls_{name}").evaluate_tick(tick)
        return list(data.run_requests or [])

    @property
    def _context(self) -> dict[str, Any]:
        return {
            "repository_def": self.defs.get_repository_def(),
            "resources": dict(self.defs.resources or {}),
        }

    def keys(self, request: dg.RunRequest) -> list[str]:
        """The partitions that a request is for."""
        if request.partition_key:
            return [request.partition_key]
        run = dg.DagsterRun("calls_sync", tags=dict(request.tags))
        return run_partition_keys(run, self.wiring)

    def spans(self, requests: Sequence[dg.RunRequest]) -> list[tuple[str, str]]:
        """The first and last partition of each request."""
        found = [self.keys(request) for request in requests]
        return [(keys[0], keys[-1]) for keys in found]

    def execute(self, requests: Sequence[dg.RunRequest]) -> None:
        """Run what was asked for, as the job would: each partition's three steps; a failure ends the run.

        A run key that was there before starts nothing, as Dagster has it.
        """
        for request in requests:
            assert request.run_key is not None
            if request.run_key in self.run_keys:
                continue
            self.run_keys.add(request.run_key)
            self.runs[request.tags["lago/reason"]] += 1
            try:
                self.deliver(*self.keys(request))
            except LagoPipelineError as error:
                self.failures.append(str(error))

    def deliver(self, *keys: str) -> None:
        """Extract, render and deliver partitions now."""
        pipeline = Pipeline(
            self.sync,
            Spool(Settings().state / "spool"),
            f"run-{next(self._numbers)}",
            now_ms=self.now_ms,
            say=lambda _: None,
        )
        partitions = [self.wiring.partition(key) for key in keys]
        client = LagoClient(self.lago.api_url, self.lago.api_key)
        with engine_of(Settings().required(WAREHOUSE_URL)) as source, self.ledger() as ledger, client:
            for partition in partitions:
                pipeline.extract(partition, source)
            for partition in partitions:
                pipeline.render(partition)
            for partition in partitions:
                pipeline.deliver(partition, ledger, client, sleep=lambda _: None)

    def tick(self) -> None:
        """One moment of a daemon that is awake: sensors first, then the schedule; what they ask for is run.

        A sensor that fails is evaluated again in the next tick.
        """
        for name in ("late_rows", "not_closed", "schedule"):
            try:
                self.execute(self.schedule() if name == "schedule" else self.sensor(name))
            except LagoPipelineError as error:
                self.failures.append(str(error))

    @contextmanager
    def ledger(self) -> Iterator[Any]:
        """The ledger that resources open, too."""
        engine = open_ledger(Settings().ledger_url)
        try:
            yield engine
        finally:
            engine.dispose()

    def records(self) -> dict[str, PartitionRecord]:
        """What the ledger knows of each partition, by key."""
        with self.ledger() as ledger, reading(ledger) as connection:
            return {each.partition_key: each for each in read_partitions_where(connection, 1, "1 = 1")}

    def add(self, *rows: tuple[object, ...]) -> None:
        """Insert rows of (id, called_at, subscription, units, loaded_at)."""
        if rows:
            self.change("insert into calls values (?, ?, ?, ?, ?)", *rows)

    def change(self, statement: str, *rows: tuple[object, ...]) -> None:
        """Change the source."""
        with closing(sqlite3.connect(self.warehouse)) as connection, connection:
            connection.executemany(statement, rows or [()])

    def billed(self) -> Counter[str]:
        """How often Lago holds each event."""
        return Counter(str(event["transaction_id"]).rpartition(":")[2] for event in self.lago.events())

    def source_ids(self) -> set[str]:
        """The rows of the source."""
        with closing(sqlite3.connect(self.warehouse)) as connection:
            return {str(row[0]) for row in connection.execute("select id from calls")}


def at(text: str) -> datetime:
    """An instant of UTC, such as `2026-03-05 12:00`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def text_of(moment: datetime) -> str:
    """An instant as the warehouse spells it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def hours(first: datetime, last: datetime) -> Iterator[datetime]:
    """Every hour from one instant to another, both included."""
    while first <= last:
        yield first
        first += timedelta(hours=1)

"""The same rows from SQLite, PostgreSQL, MariaDB and DuckDB are the same usage, from the source to Lago."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from lago_pipeline.check.finding import Checkup, Level
from lago_pipeline.check.warehouse import WAREHOUSE_CHECKS, Warehouse
from lago_pipeline.event import Event
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.database import open_ledger
from lago_pipeline.partition import Partition, epoch_ms
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.report import Counts
from lago_pipeline.sample import sample_rows
from lago_pipeline.sandbox.server import RunningSandbox, running
from lago_pipeline.source.changed import ChangeReader
from lago_pipeline.source.warehouse import warehouse_engine
from lago_pipeline.spool.events import events_opened
from lago_pipeline.spool.folder import Spool
from lago_pipeline.sync import Source, Sync
from lago_pipeline_tests.source.conftest import SOURCES
from lago_pipeline_tests.source.reading import days, write

BERLIN = ZoneInfo("Europe/Berlin")
DAYS = days(date(2026, 3, 28), 3, BERLIN)
"""The second has 23 hours."""

# the types that hold one and the same value: instant, local time, text, whole, exact, real, day
TYPES = {
    "sqlite": ("text", "text", "text", "integer", "text", "real", "text"),
    "postgres": ("timestamptz", "timestamp", "text", "bigint", "numeric(40,10)", "double precision", "date"),
    "mariadb": ("timestamp(6) null", "datetime(6)", "text", "bigint", "decimal(40,10)", "double", "date"),
    "duckdb": ("timestamptz", "timestamp", "varchar", "bigint", "decimal(38,10)", "double", "date"),
}
COLUMNS = ("instant", "local", "name", "whole", "exact", "real", "day")
ZONE = {"sqlite": "Z", "postgres": "Z", "mariadb": "", "duckdb": "Z"}
ROWS = [
    # id, instant in UTC, local time in Berlin, name, whole, exact, real, day
    ("a", "2026-03-27T23:00:00", "2026-03-28T00:00:00", "ü:😀 'x' \"y\" %s \\n", 2**62, "0.1000000000", 0.1),
    ("b", "2026-03-28T22:59:59.999999", "2026-03-28T23:59:59.999999", "", -7, "12.0000000000", 1e-7),
    ("c", "2026-03-28T23:00:00", "2026-03-29T00:00:00", "b", 0, "-0.0000000001", 1e22),
    ("d", "2026-03-29T01:30:00.250000", "2026-03-29T03:30:00.250000", " c ", 1, f"{10**18}.0123456789", 0.5),
    ("e", "2026-03-29T21:59:59", "2026-03-29T23:59:59", None, None, None, None),
    ("f", "2026-03-30T10:00:00", "2026-03-30T12:00:00", "last", 3, "3.0000000000", 3.25),
]  # fmt: skip
HELD = [["a", "b"], ["c", "d", "e"], ["f"]]


def literal(value: object) -> str:
    """A value as SQL."""
    if value is None:
        return "null"
    if not isinstance(value, str):
        return repr(value)
    quoted = value.replace("'", "''")
    return f"'{quoted}'"


def statements(kind: str) -> list[str]:
    """The table and its rows, as SQL."""
    columns = ", ".join(f'"{name}" {type_}' for name, type_ in zip(COLUMNS, TYPES[kind], strict=True))
    made = [f'create table "usage" (id varchar(9), {columns}, loaded {TYPES[kind][0]})']
    for key, instant, local, *values in ROWS:
        row = [key, instant + ZONE[kind], local, *values, local[:10], instant + ZONE[kind]]
        values_sql = ", ".join(literal(value) for value in row)
        if kind == "mariadb":  # which takes a backslash for more than itself
            values_sql = values_sql.replace("\\", r"\\")
        made.append(f'insert into "usage" values ({values_sql})')
    return made


def sync(time_column: str) -> Sync:
    """A sync that puts every column into an event."""
    event = {
        "code": "calls",
        "external_subscription_id": "sub",
        "properties": {name: f"{{{{ row.{name} }}}}" for name in COLUMNS},
    }
    source = Source(("id",), time_column, table="usage", timezone=BERLIN, updated_at_column="loaded")
    return Sync("usage", source, event, "usage", "lago")


@dataclass(frozen=True)
class Databases:
    """The engines by kind, and a folder for spools."""

    engines: dict[str, sa.Engine]
    folder: Path

    def rendered(self, kind: str, partition: Partition, time_column: str) -> tuple[Pipeline, list[Event]]:
        """The events of a partition, taken from one of the databases."""
        pipeline = Pipeline(sync(time_column), Spool(self.folder / kind), "run")
        pipeline.extract(partition, self.engines[kind])
        pipeline.render(partition)
        with events_opened(pipeline.spool.events("usage", partition.key)) as file:
            return pipeline, [event for group in file.groups() for event in group]


@pytest.fixture
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """The same rows in each database."""
    with ExitStack() as stack:
        engines = {}
        for kind in SOURCES:
            url = request.getfixturevalue(f"{kind}_database")
            write(url, *statements(kind))
            engines[kind] = warehouse_engine(url)
            stack.callback(engines[kind].dispose)
        yield Databases(engines, tmp_path / "spool")


@pytest.mark.parametrize("time_column", ["instant", "local"])
def test_the_same_rows_give_the_same_events_and_fingerprints(databases: Databases, time_column: str) -> None:
    """To the byte, on days around a change of the clocks, by instants and by local times."""
    for partition, keys in zip(DAYS, HELD, strict=True):
        _, expected = databases.rendered("sqlite", partition, time_column)
        assert [event.row_key for event in expected] == keys
        assert {event.problem for event in expected} == {None}
        for kind in SOURCES:
            pipeline, found = databases.rendered(kind, partition, time_column)
            assert found == expected, kind
            with events_opened(pipeline.spool.events("usage", partition.key)) as file:
                extracted = file.footer.source_fingerprint
            assert ChangeReader(databases.engines[kind], pipeline.sync).fingerprint(partition) == extracted
            assert extracted is not None
            assert extracted.startswith(f"{len(keys)}:")


def test_late_rows_are_found_alike(databases: Databases) -> None:
    """The same buckets, sums and watermark, whatever kind of column holds the update."""
    span = Partition("usage", DAYS[0].start, DAYS[-1].end)
    since = epoch_ms(DAYS[1].start)
    readers = [ChangeReader(engine, sync("local")) for engine in databases.engines.values()]
    looks = [reader.changes(span, since) for reader in readers]
    assert sum(count for count, _ in looks[0].sums.values()) == 4
    assert looks[1:] == looks[:1] * 3


def test_samples_and_checks_work_alike(databases: Databases) -> None:
    """`preview` shows the same events, and `check` reaches each of them."""
    pipeline = Pipeline(sync("instant"), Spool(databases.folder), "run")
    expected = [sample.event for sample in sample_rows(pipeline, DAYS[0], databases.engines["sqlite"], 5)]
    for engine in databases.engines.values():
        samples = sample_rows(pipeline, DAYS[0], engine, 5)
        assert [sample.event for sample in samples] == expected
        checkup = Checkup()
        with ExitStack() as stack:
            checkup.run(Warehouse("warehouse", opener(engine), stack), WAREHOUSE_CHECKS)
        told = [(found.level, found.says) for found in checkup.findings]
        assert told == [(Level.OK, f"{engine.dialect.name} answers")]


def opener(engine: sa.Engine) -> Callable[[], AbstractContextManager[sa.Engine]]:
    """What gives an engine that stays open."""
    return lambda: nullcontext(engine)


@pytest.fixture
def lago() -> Iterator[RunningSandbox]:
    """A Lago without a catalogue: it takes every code."""
    with running() as sandbox:
        yield sandbox


def test_a_warehouse_that_moves_bills_nothing_twice(
    databases: Databases, lago: RunningSandbox, sqlite_database: str
) -> None:
    """What was delivered from one database is unchanged in the next, and Lago holds each row once."""
    ledger = open_ledger(sqlite_database.replace("database.db", "ledger.db"))
    counts = []
    with LagoClient(lago.api_url, lago.api_key) as client:
        for kind in ("postgres", "mariadb", "duckdb", "sqlite"):
            pipeline, _ = databases.rendered(kind, DAYS[1], "instant")
            counts.append(pipeline.deliver(DAYS[1], ledger, client).counts)
    ledger.dispose()
    assert counts == [Counts(extracted=3, accepted=3, planned=3), *[Counts(extracted=3, unchanged=3)] * 3]
    assert sorted(str(event["transaction_id"]) for event in lago.events()) == [
        f"usage:calls:{key}" for key in HELD[1]
    ]

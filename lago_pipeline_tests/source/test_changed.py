"""Looking for changes: fingerprints that agree with the extraction's, and rows by their update time."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from lago_pipeline.errors import ConfigError
from lago_pipeline.partition import Partition, epoch_ms
from lago_pipeline.source.changed import MINUTE_MS, ChangeReader
from lago_pipeline.source.extent import Extent
from lago_pipeline.source.query import SourceReader
from lago_pipeline.sync import Sync
from lago_pipeline_tests.source.reading import days, engine_of, usage_sync

BERLIN = ZoneInfo("Europe/Berlin")
UTC_ZONE = ZoneInfo("UTC")
WEEK = Partition("week", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 8, tzinfo=UTC))


def extracted(engine: sa.Engine, sync: Sync, partition: Partition) -> str:
    """The fingerprint of an extraction."""
    reader, extent = SourceReader(engine, sync), Extent()
    for _ in reader.stream(reader.probe(partition), extent):
        pass
    return extent.fingerprint


def hourly(column_type: str, spelled: str, first: str, hours: int) -> list[str]:
    """SQL for PostgreSQL: a table with a row an hour, and its time as an expression spells it."""
    times = f"select n, timestamptz '{first}' + n * interval '1 hour' as t from generate_series(0, {hours}) n"
    return [
        f"create table usage (id integer, at {column_type})",
        f"insert into usage select n, {spelled} from ({times}) rows",
    ]


@pytest.mark.parametrize(
    ("column_type", "spelled"),
    [
        ("timestamptz", "t"),
        ("timestamp", "t at time zone 'Europe/Berlin'"),
        ("bigint", "extract(epoch from t)::bigint"),
        ("numeric", "extract(epoch from t) + 0.25"),
    ],
)
@pytest.mark.parametrize("first", ["2026-03-27 00:00Z", "2026-10-23 00:00Z"])
def test_fingerprints_agree_with_the_extraction_on_postgresql(
    postgres_database: str, column_type: str, spelled: str, first: str
) -> None:
    """What the sensor computes is what the extraction counted, on days of 23, 24 and 25 hours, too."""
    sync = usage_sync(table="usage", timezone=BERLIN)
    begin = date.fromisoformat(first[:10])
    with engine_of(postgres_database, *hourly(column_type, spelled, first, 96)) as engine:
        for day in days(begin, 5, BERLIN):
            seen = ChangeReader(engine, sync).fingerprint(day)
            assert seen == extracted(engine, sync, day)
            assert not seen.startswith("0:")


@pytest.mark.parametrize(
    "times",
    [
        ["2026-03-02 10:00:00", "2026-03-02T23:59:59+02:00", "20260302T101500Z", "2026-03-02"],
        ["1772445600", "1772445600.5"],
        ["2026-03-02 nonsense", "2026-03-02 12:00"],
    ],
)
def test_fingerprints_agree_with_the_extraction_on_sqlite(sqlite_database: str, times: list[str]) -> None:
    """Every spelling of a time counts in the one day to which its row belongs."""
    rows = ", ".join(f"({number}, '{time}')" for number, time in enumerate(times))
    sync = usage_sync(table="usage")
    statements = ["create table usage (id integer, at text)", f"insert into usage values {rows}"]
    with engine_of(sqlite_database, *statements) as engine:
        prints = [ChangeReader(engine, sync).fingerprint(day) for day in days(date(2026, 3, 1), 3, UTC_ZONE)]
        assert prints == [extracted(engine, sync, day) for day in days(date(2026, 3, 1), 3, UTC_ZONE)]
        assert prints[1].startswith(f"{len(times)}:")


def test_a_query_with_its_own_window_has_a_fingerprint(database_url: str) -> None:
    """An aggregating query is run for the partition's bounds, and its groups are counted."""
    query = "select id, max(at) as at from usage where at >= :start and at < :end group by id"
    sync = usage_sync(query=query)
    statements = [
        "create table usage (id integer, at timestamp)",
        "insert into usage values (1, '2026-03-02 10:00:00'), (1, '2026-03-02 11:00:00')",
        "insert into usage values (2, '2026-03-03 00:00:00')",
    ]
    with engine_of(database_url, *statements) as engine:
        for day, count in zip(days(date(2026, 3, 1), 3, UTC_ZONE), (0, 1, 1), strict=True):
            fingerprint = ChangeReader(engine, sync).fingerprint(day)
            assert fingerprint == extracted(engine, sync, day)
            assert fingerprint.startswith(f"{count}:")


UPDATES = [
    "create table usage (id integer, at {kind}, loaded {kind})",
    "insert into usage values (1, {a}, {l1}), (2, {a}, {l2}), (3, {b}, {l2}), (4, {c}, {l2}), (5, {a}, null)",
]
TIMES = {
    "a": datetime(2026, 3, 2, 10, tzinfo=UTC),
    "b": datetime(2026, 3, 4, 23, 59, 59, tzinfo=UTC),
    "c": datetime(2026, 3, 9, 0, 30, tzinfo=UTC),
    "l1": datetime(2026, 3, 9, 11, 59, 59, tzinfo=UTC),
    "l2": datetime(2026, 3, 9, 12, 0, 30, tzinfo=UTC),
}


def updates(kind: str, backend: str) -> list[str]:
    """Statements for a table of usage with update times, in a kind of column."""
    if kind == "bigint":
        values = {name: str(int(time.timestamp())) for name, time in TIMES.items()}
    else:
        zone = "+00" if kind == "timestamptz" and backend == "postgresql" else ""
        values = {name: f"'{time:%Y-%m-%d %H:%M:%S}{zone}'" for name, time in TIMES.items()}
    return [statement.format(kind=kind, **values) for statement in UPDATES]


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "bigint"])
def test_rows_are_counted_by_quarter_hour_and_minute_of_update(database_url: str, kind: str) -> None:
    """Rows of the span that were updated at the instant or later; the watermark is that of all usage."""
    backend = sa.make_url(database_url).get_backend_name()
    sync = usage_sync(table="usage", updated_at_column="loaded")
    since = epoch_ms(datetime(2026, 3, 9, 12, tzinfo=UTC))
    with engine_of(database_url, *updates(kind, backend)) as engine:
        found = ChangeReader(engine, sync).changes(WEEK, since)
        assert {(bucket.usage_ms, bucket.updated_ms): sums for bucket, sums in found.sums.items()} == {
            (epoch_ms(TIMES["a"]), since): (1, 30_000),
            (epoch_ms(datetime(2026, 3, 4, 23, 45, tzinfo=UTC)), since): (1, 30_000),
        }
        assert (found.last_ms, found.watermark_ms, found.is_cut) == (since + 30_000, since + 30_000, False)
        usage = ChangeReader(engine, sync).usage_updated_in(WEEK, since)
        if backend == "postgresql":
            assert usage == (epoch_ms(TIMES["a"]), epoch_ms(TIMES["b"]))
        nothing = ChangeReader(engine, sync).changes(WEEK, since + MINUTE_MS)
        assert (nothing.sums, nothing.last_ms) == ({}, None)


def test_a_look_reads_no_more_than_its_limit_and_begins_with_the_earliest(postgres_database: str) -> None:
    """What is left out is later than all that was read, and the look says that there is more."""
    loaded = "timestamptz '2026-03-09 12:00Z' + n * interval '1 second'"
    statements = [
        "create table usage (id integer, at timestamptz, loaded timestamptz)",
        f"insert into usage select n, '2026-03-02 10:00Z', {loaded} from generate_series(99, 0, -1) n",
    ]
    sync = usage_sync(table="usage", updated_at_column="loaded")
    since = epoch_ms(datetime(2026, 3, 9, 12, tzinfo=UTC))
    with engine_of(postgres_database, *statements) as engine:
        found = ChangeReader(engine, sync, most_rows=70).changes(WEEK, since)
        assert (found.is_cut, found.last_ms) == (True, since + 69_000)
        assert [count for count, _ in found.sums.values()] == [60, 10]
        assert ChangeReader(engine, sync).changes(WEEK, since).is_cut is False


def test_an_update_column_that_holds_no_times_is_named(postgres_database: str) -> None:
    """The line says which column, and what to do."""
    statement = "create table usage (id integer, at timestamptz, loaded boolean)"
    sync = usage_sync(table="usage", updated_at_column="loaded")
    with (
        engine_of(postgres_database, statement) as engine,
        pytest.raises(
            ConfigError, match=r"updated_at_column 'loaded' is neither .*: cast it in source.query"
        ),
    ):
        ChangeReader(engine, sync).changes(WEEK, 0)

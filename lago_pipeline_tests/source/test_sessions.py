"""Sessions of a source: their settings, lost connections, read-only accounts, and flat memory."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from lago_pipeline.errors import RetriableError
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.source.query import SourceReader
from lago_pipeline.spool.folder import Spool
from lago_pipeline.sync import Sync
from lago_pipeline_tests.postgres import PostgresServer
from lago_pipeline_tests.source.reading import FIRST, engine_of, read, usage_sync

MANY = (
    "select n as id, timestamptz '2026-01-01 12:00+00' as at, repeat('x', 100) as v "
    "from generate_series(1, {}) n"
)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "setting",
    [
        "timezone = 'Pacific/Kiritimati'",
        "timezone = 'America/Los_Angeles'",
        "datestyle = 'German, DMY'",
        "datestyle = 'SQL, MDY'",
        "intervalstyle = 'sql_standard'",
        "standard_conforming_strings = on",
        "default_transaction_read_only = on",
        "search_path = '$user', public",
        "client_encoding = 'latin1'",
    ],
)
def test_settings_of_the_server_change_nothing(postgres_database: str, setting: str) -> None:
    """Rows, and casts between naive and aware in a query, are those of the source's zone everywhere."""
    name = postgres_database.rpartition("/")[2]
    statements = [
        "create table u (id int, naive timestamp, aware timestamptz, d date, i interval)",
        """insert into u select n, '2025-12-31 23:30'::timestamp + n * interval '30 min',
            '2025-12-31 22:30+00'::timestamptz + n * interval '30 min', '2026-01-02', '1 day 2:03:04'
            from generate_series(0, 49) n""",
    ]
    query = "select id, naive::timestamptz as at, aware::timestamp as wall, d, i, '€' as text from u"
    with engine_of(postgres_database, *statements) as engine:
        plain = read(engine, usage_sync(query=query, timezone=BERLIN))
    with engine_of(postgres_database, f"alter database {name} set {setting}"):
        pass
    with engine_of(postgres_database) as engine:
        assert read(engine, usage_sync(query=query, timezone=BERLIN)) == plain
    by_id = {row[0]: row for row in plain[1]}
    assert by_id[5][1].astimezone(BERLIN).replace(tzinfo=None) == by_id[5][2]
    assert by_id[5][4] == timedelta(days=1, hours=2, minutes=3, seconds=4)


@pytest.fixture
def reader(postgres_server: PostgresServer, postgres_database: str) -> Iterator[str]:
    """The URL of an account that may read one table and nothing else."""
    name = postgres_database.rpartition("/")[2]
    postgres_server.execute(
        name,
        "create table u as select 1 as id, timestamptz '2026-01-01 12:00+00' as at",
        "create role reader login password 'read-only'",
        "alter role reader set default_transaction_read_only = on",
        "revoke all on schema public from public",
        "grant usage on schema public to reader",
        "grant select on u to reader",
    )
    yield postgres_server.url(name, "reader", "read-only")
    postgres_server.execute(name, "drop owned by reader", "drop role reader")


def test_an_account_that_may_only_read_is_enough(reader: str) -> None:
    """No temporary table, no setting, no write is needed."""
    with engine_of(reader) as engine:
        assert len(read(engine, usage_sync("u"))[1]) == 1


def test_a_sqlite_file_opened_to_read_is_enough(tmp_path: Path) -> None:
    """The source is never written, not even by its journal."""
    path = tmp_path / "usage.db"
    path.touch()
    with engine_of(f"sqlite:///{path}", "create table u (id, at)", "insert into u values (1, '2026-01-01')"):
        pass
    before = path.read_bytes()
    with engine_of(f"sqlite:///file:{path}?mode=ro&uri=true") as engine:
        assert len(read(engine, usage_sync("u"))[1]) == 1
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["usage.db"]


@pytest.mark.parametrize("wait_for", ["the first chunk", "nothing"])
def test_a_connection_lost_in_the_middle_is_retriable(
    postgres_server: PostgresServer, postgres_database: str, wait_for: str
) -> None:
    """Whether rows came already or not, the same run may succeed later."""
    name = postgres_database.rpartition("/")[2]
    with engine_of(postgres_database) as engine:
        source = SourceReader(engine, usage_sync(query=MANY.format(200_000)))
        stream = source.stream(source.probe(FIRST))
        if wait_for == "the first chunk":
            assert len(next(stream)) == 5_000
            _cut(postgres_server, name)
        else:
            _cut(postgres_server, name)  # the pooled connection of the probe: a new one is made
            assert len(next(stream)) == 5_000
            _cut(postgres_server, name)
        with pytest.raises(RetriableError, match="the source could not be read"):
            list(stream)


def test_a_connection_lost_in_the_middle_leaves_no_file(
    postgres_server: PostgresServer, postgres_database: str, tmp_path: Path
) -> None:
    """A partition has all its rows in the spool or none; an older file stays as it was."""
    name = postgres_database.rpartition("/")[2]
    pipeline = Pipeline(_sync(MANY.format(100)), Spool(tmp_path), "first")
    with engine_of(postgres_database) as engine:
        assert pipeline.extract(FIRST, engine).rows == 100
        before = pipeline.spool.rows("usage", FIRST.key).read_bytes()
        function = (
            "create function cut(n int) returns int language plpgsql as $$ begin "
            "if n = 60000 then perform pg_terminate_backend(pg_backend_pid()); end if; return n; end $$"
        )
        postgres_server.execute(name, function)
        lost = Pipeline(
            _sync(MANY.replace("n as id", "cut(n) as id").format(100_000)), Spool(tmp_path), "second"
        )
        with pytest.raises(RetriableError):
            lost.extract(FIRST, engine)
    assert [path.name for path in (tmp_path / "usage").iterdir()] == [f"{FIRST.key}.rows.parquet"]
    assert pipeline.spool.rows("usage", FIRST.key).read_bytes() == before


def _sync(query: str) -> Sync:
    event = {"code": "c", "external_subscription_id": "s"}
    return Sync("usage", usage_sync(query=query).source, event, "usage", "lago")


def _cut(server: PostgresServer, database: str) -> None:
    """End every session in a database, and wait until they are gone."""
    ended = (
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        f"where datname = '{database}' and pid <> pg_backend_pid()"
    )
    assert [row[0] for row in server.execute(database, ended)] != [False]


MEASURE = """
import resource, sys
from lago_pipeline.source.query import SourceReader
from lago_pipeline_tests.source.reading import FIRST, engine_of, usage_sync
with engine_of(sys.argv[1]) as engine:
    source = SourceReader(engine, usage_sync("many"))
    counted, first = 0, 0
    for chunk in source.stream(source.probe(FIRST)):
        counted += len(chunk)
        first = first or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(counted, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first)
"""


def test_memory_stays_flat(database_url: str) -> None:
    """Half a million rows of about 200 bytes need a few megabytes, not a hundred."""
    numbers = "with recursive s(n) as (select 1 union all select n + 1 from s where n < 500000) "
    many = MANY.format(500_000)
    if database_url.startswith("sqlite"):
        many = f"{numbers} select n as id, '2026-01-01T12:00' as at, printf('%0100d', n) as v from s"
    with engine_of(database_url, f"create view many as {many}"):
        pass
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, database_url], capture_output=True, text=True, check=True, timeout=60
    )
    counted, grown_kilobytes = map(int, done.stdout.split())
    assert counted == 500_000
    assert grown_kilobytes < 30_000

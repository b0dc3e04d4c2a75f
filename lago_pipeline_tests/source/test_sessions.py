"""Sessions of a source: their settings, lost connections, read-only accounts, and flat memory."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.source.query import SourceReader
from lago_pipeline.source.session import query_comment
from lago_pipeline.source.warehouse import warehouse_engine
from lago_pipeline.spool.folder import Spool
from lago_pipeline.sync import Sync
from lago_pipeline_tests.mariadb import MariaServer
from lago_pipeline_tests.postgres import PostgresServer
from lago_pipeline_tests.source.reading import FIRST, days, engine_of, read, usage_sync, write

MANY = (
    "select n as id, timestamptz '2026-01-01 12:00+00' as at, repeat('x', 100) as v "
    "from generate_series(1, {}) n"
)
MANY_IN_MARIADB = "select seq as id, 1767268800 as at, repeat('x', 100) as v from seq_1_to_{}"
BERLIN = ZoneInfo("Europe/Berlin")
(BERLIN_DAY,) = days(date(2026, 1, 1), 1, BERLIN)


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


ZONED = """create table u (id int, naive timestamp, aware timestamp with time zone)"""
ZONED_ROWS = """insert into u values
    (1, '2025-12-31 23:30:00', '2025-12-31 22:30:00+00'),
    (2, '2026-01-01 00:30:00', '2025-12-31 23:30:00+00'),
    (3, '2026-01-02 00:00:00', '2026-01-01 23:00:00+00')"""


@pytest.mark.parametrize("zone", ["+13:00", "-11:00"])
def test_the_zone_of_a_mariadb_server_changes_nothing(
    mariadb_server: MariaServer, mariadb_database: str, zone: str
) -> None:
    """Its instants are instants, and its local times those of the source's zone."""
    table = ZONED.replace("naive timestamp", "naive datetime").replace("with time zone", "null")
    before = mariadb_server.execute("select @@global.time_zone")[0][0]
    mariadb_server.execute(f"set global time_zone = '{zone}'")
    try:
        with engine_of(mariadb_database, table, ZONED_ROWS.replace("+00", "")) as engine:
            check_zones(engine)
            columns, bounds = "id, aware as at, from_unixtime(1767268800)", "aware >= :start and aware < :end"
            sync = usage_sync(query=f"select {columns} from u where {bounds}", timezone=BERLIN)
            ((*_, noon),) = read(engine, sync, BERLIN_DAY)[1]
            assert noon == datetime(2026, 1, 1, 12)  # noqa: DTZ001 - a session in UTC
    finally:
        mariadb_server.execute(f"set global time_zone = '{before}'")


def test_the_zone_of_a_duckdb_session_changes_nothing(duckdb_database: str) -> None:
    """Casts between naive and aware in a query are those of the source's zone."""
    url = f"{duckdb_database}?timezone=Pacific/Kiritimati"
    write(duckdb_database, "set TimeZone = 'UTC'", ZONED, ZONED_ROWS)
    with engine_of(url) as engine:
        check_zones(engine)
        query = 'select id, naive::timestamptz as "at", aware::timestamp = naive as same from u'
        assert read(engine, usage_sync(query=query, timezone=BERLIN), BERLIN_DAY)[1] == [
            (2, datetime(2025, 12, 31, 23, 30, tzinfo=UTC), True)
        ]


def check_zones(engine: sa.Engine) -> None:
    """The second row alone is of the day in Berlin, by its instant and by its local time."""
    for column in ("naive", "aware"):
        sync = usage_sync("u", time_column=column, timezone=BERLIN)
        assert read(engine, sync, BERLIN_DAY)[1] == [
            (2, datetime(2026, 1, 1, 0, 30), datetime(2025, 12, 31, 23, 30, tzinfo=UTC))  # noqa: DTZ001
        ]


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


def test_a_mariadb_account_that_may_only_read_is_enough(
    mariadb_server: MariaServer, mariadb_database: str
) -> None:
    """The right to select from one table, and no other."""
    name = mariadb_database.rpartition("/")[2]
    mariadb_server.execute(
        f"create table {name}.u as select 1 as id, timestamp '2026-01-01 12:00' as at",
        f"create table {name}.secret as select 1 as id, now() as at",
        "create user reader identified by 'read-only'",
        f"grant select on {name}.u to reader",
    )
    try:
        with engine_of(mariadb_server.url(name, "reader", "read-only")) as engine:
            assert len(read(engine, usage_sync("u"))[1]) == 1
            with pytest.raises(ConfigError, match=r"SELECT command denied to user .*secret.*\(1142\)"):
                read(engine, usage_sync("secret"))
    finally:
        mariadb_server.execute("drop user reader")


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


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
@pytest.mark.parametrize("wait_for", ["the first chunk", "nothing"])
def test_a_connection_lost_in_the_middle_is_retriable(
    request: pytest.FixtureRequest, kind: str, wait_for: str
) -> None:
    """Whether rows came already or not, the same run may succeed later."""
    url: str = request.getfixturevalue(f"{kind}_database")
    cut = partial(CUTS[kind], request.getfixturevalue(f"{kind}_server"), url.rpartition("/")[2])
    query = (MANY if kind == "postgres" else MANY_IN_MARIADB).format(200_000)
    with engine_of(url) as engine:
        source = SourceReader(engine, usage_sync(query=query))
        stream = source.stream(source.probe(FIRST))
        if wait_for == "nothing":
            cut()  # the pooled connection of the probe: a new one is made
        assert len(next(stream)) == 5_000
        cut()
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


def _cut_postgres(server: PostgresServer, database: str) -> None:
    """End every session in a database, and wait until they are gone."""
    ended = (
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        f"where datname = '{database}' and pid <> pg_backend_pid()"
    )
    assert [row[0] for row in server.execute(database, ended)] != [False]


def _cut_mariadb(server: MariaServer, database: str) -> None:
    """End every session in a database."""
    sessions = server.execute(f"select id from information_schema.processlist where db = '{database}'")
    assert sessions
    server.execute(*(f"kill connection {number}" for (number,) in sessions))


CUTS: dict[str, Callable[..., None]] = {"postgres": _cut_postgres, "mariadb": _cut_mariadb}
SLOW = {
    "postgres": (
        "postgresql+psycopg://{}?options=-c%20statement_timeout%3D300",
        "select n as id, now() as at, pg_sleep(1)::text as v from generate_series(1, 9) n",
    ),
    "mariadb": (
        "mariadb+pymysql://{}?init_command=set%20max_statement_time%3D0.3",
        "select seq as id, now() as at, sleep(1) as v from seq_1_to_9",
    ),
}


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_a_statement_that_takes_too_long_is_retriable(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    """Time may mend it; the line tells what a person can do, and nothing half is left."""
    url, query = SLOW[kind]
    database: str = request.getfixturevalue(f"{kind}_database")
    sync = _sync(f"select * from ({query}) slow where at >= :start or at < :end")
    with (
        engine_of(url.format(database.partition("://")[2])) as engine,
        pytest.raises(
            RetriableError, match=r"^sync usage: the source stopped the query: .*: raise its statement"
        ),
    ):
        Pipeline(sync, Spool(tmp_path), "run").extract(FIRST, engine)
    assert list(tmp_path.glob("**/*.*")) == []


def test_a_duckdb_file_that_somebody_writes_is_retriable(duckdb_database: str) -> None:
    """Its writer holds it alone; any number of readers share it, and leave it as it is."""
    path = Path(duckdb_database.removeprefix("duckdb:///"))
    table = """create table u as select 1 as id, timestamptz '2026-01-01 12:00+00' as "at" """
    with engine_of(duckdb_database, table) as engine:
        before = path.read_bytes()
        assert len(read(engine, usage_sync("u"))[1]) == 1
        other = (
            "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).sql('from u').fetchall())"
        )
        done = subprocess.run([sys.executable, "-c", other, path], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("[(1, ")
        assert path.read_bytes() == before
    writable = warehouse_engine(f"{duckdb_database}?access_mode=read_write")
    assert writable.url.query["access_mode"] == "read_write"
    writer = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", writer, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with engine_of(duckdb_database) as engine, pytest.raises(RetriableError, match="Could not set lock"):
            read(engine, usage_sync("u"))
        process.communicate("\n")


ODD = {"sync": "us'age", "partition": "2026-01-01-02:00+0100", "run": "*/ drop table u; -- :start %s \\"}


def test_a_comment_ends_where_it_should() -> None:
    """Whatever a name holds, it closes no comment, ends no text, and is no bound."""
    assert query_comment(ODD) == (
        "/*partition='2026-01-01-02%3A00%2B0100',"
        "run='%2A%2F%20drop%20table%20u%3B%20--%20%3Astart%20%25s%20%5C',sync='us%27age'*/"
    )


def test_queries_run_under_any_comment(source_url: str) -> None:
    """The names of DESIGN are told to every database, and change no result."""
    at = "timestamp '2026-01-01 12:00'" if not source_url.startswith("sqlite") else "'2026-01-01 12:00'"
    sync = replace(usage_sync("u"), name=ODD["sync"])
    with engine_of(source_url, f'create table u as select 1 as id, {at} as "at", 7 % 4 as v') as engine:
        reader = SourceReader(engine, sync, ODD["run"])
        rows = reader.probe(replace(FIRST, key=ODD["partition"]))
        assert [row[2] for chunk in reader.stream(rows) for row in chunk] == [3]


def test_postgres_shows_whose_query_runs(postgres_server: PostgresServer, postgres_database: str) -> None:
    """The session has a name while rows are fetched through a cursor, and each query its comment."""
    name = postgres_database.rpartition("/")[2]
    others = f"datname = '{name}' and pid <> pg_backend_pid()"
    seen = f"select application_name, query from pg_stat_activity where {others}"
    with engine_of(postgres_database) as engine:
        source = SourceReader(engine, usage_sync(query=MANY.format(20_000)), "0123456789abcdef")
        rows = source.probe(FIRST)
        stream = source.stream(rows)
        next(stream)
        ((session, query),) = postgres_server.execute(name, seen)
        assert session == "lago usage 2026-01-01 01234567"
        assert query.startswith("FETCH")
        stream.close()
        with source.session(FIRST) as session:
            session.first("select 1", {})
            ((_, query),) = postgres_server.execute(name, seen)
    assert query == "/*partition='2026-01-01',run='0123456789abcdef',sync='usage'*/ select 1"


def test_mariadb_shows_whose_query_runs(mariadb_server: MariaServer, mariadb_database: str) -> None:
    """The comment stands in the process list while rows are fetched."""
    name = mariadb_database.rpartition("/")[2]
    with engine_of(mariadb_database) as engine:
        source = SourceReader(engine, usage_sync(query=MANY_IN_MARIADB.format(200_000)), "0123456789abcdef")
        stream = source.stream(source.probe(FIRST))
        next(stream)
        seen = mariadb_server.execute(f"select info from information_schema.processlist where db = '{name}'")
        stream.close()
    ((query,),) = seen
    assert query.startswith("/*partition='2026-01-01',run='0123456789abcdef',sync='usage'*/ select * from")


MEASURE = """
import sys
import psutil
from lago_pipeline.source.query import SourceReader
from lago_pipeline_tests.source.reading import FIRST, engine_of, usage_sync
with engine_of(sys.argv[1]) as engine:
    source = SourceReader(engine, usage_sync("many"))
    rows = source.probe(FIRST)
    memory = lambda: psutil.Process().memory_info().rss >> 10
    counted, sizes = 0, [memory()]
    for number, chunk in enumerate(source.stream(rows)):
        counted += len(chunk)
        if number % 10 == 0:
            sizes.append(memory())
    print(counted, max(sizes) - sizes[0])
"""
MILLION = {
    "sqlite": """with recursive s(n) as (select 1 union all select n + 1 from s where n < 1000000)
        select n as id, 1767268800 as at, printf('%0100d', n) as v from s""",
    "postgresql": MANY.format(1_000_000),
    "mariadb": MANY_IN_MARIADB.format(300_000),  # whose driver is a tenth as quick
    "duckdb": """select range as id, timestamp '2026-01-01 12:00' as "at", repeat(range::text, 20) as v
        from range(1000000)""",
}


def test_memory_stays_flat(source_url: str) -> None:
    """A million rows of more than 100 bytes need a few megabytes, not hundreds; 300,000 in MariaDB."""
    many = MILLION[sa.make_url(source_url).get_backend_name()]
    with engine_of(source_url, f"create view many as {many}"):
        pass
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, source_url], capture_output=True, text=True, check=True, timeout=120
    )
    counted, grown_kilobytes = map(int, done.stdout.split()[-2:])
    assert counted == (300_000 if source_url.startswith("mariadb") else 1_000_000)
    assert grown_kilobytes < 40_000

"""A person's query or table is read as written, whatever is in it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from lago_pipeline.errors import ConfigError
from lago_pipeline_tests.mariadb import MariaServer
from lago_pipeline_tests.postgres import PostgresServer
from lago_pipeline_tests.source.reading import engine_of, read, usage_sync, write

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
POSTGRES = [
    """create table u (id int, at timestamptz, j jsonb)""",
    """insert into u values (1, '2026-01-01 12:00+00', '{"a": 1}'), (2, '2026-01-05 12:00+00', '{}')""",
    """create view v as select * from u""",
    """create schema "My Schema" """,
    """create table "My Schema"."T.x" (id int, at timestamptz, "Mixed Case" int)""",
    """insert into "My Schema"."T.x" values (1, '2026-01-01 12:00+00', 7)""",
    """create table "order" as select id, at from u""",
]
SQLITE = [
    "create table u (id int, at text, j text)",
    """insert into u values (1, '2026-01-01T12:00:00Z', '{"a:b": 1}'), (2, '2026-01-05 12:00', '{}')""",
    "create view v as select * from u",
    'create table "order" as select id, at from u',
    'create table "Odd.Name" as select id, at from u',
]


MARIADB = [
    "create table u (id int, at timestamp(6) null, j json)",
    """insert into u values (1, '2026-01-01 12:00', '{"a": 1}'), (2, '2026-01-05 12:00', '{}')""",
    "create view v as select * from u",
    'create table "order" as select id, at from u',
    'create table "T.x `y" as select id, at from u',
]
DUCKDB = [
    'create table u (id int, "at" timestamptz, j json)',
    """insert into u values (1, '2026-01-01 12:00+00', '{"a": 1}'), (2, '2026-01-05 12:00+00', '{}')""",
    "create view v as select * from u",
    'create schema "My Schema"',
    'create table "My Schema"."T.x" as select id, "at" from u',
    'create table "order" as select id, "at" from u',
]


@pytest.fixture(scope="module")
def mariadb(mariadb_server: MariaServer) -> Iterator[sa.Engine]:
    """The same rows in MariaDB."""
    with mariadb_server.fresh_database() as name, engine_of(mariadb_server.url(name), *MARIADB) as engine:
        yield engine


@pytest.fixture(scope="module")
def duckdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """The same rows in a DuckDB file."""
    url = f"duckdb:///{tmp_path_factory.mktemp('duckdb')}/usage.duckdb"
    write(url)
    with engine_of(url, *DUCKDB) as engine:
        yield engine


@pytest.fixture(scope="module")
def postgres(postgres_server: PostgresServer) -> Iterator[sa.Engine]:
    """Usage rows in PostgreSQL: one inside the partition, one outside."""
    with (
        postgres_server.fresh_database() as name,
        engine_of(postgres_server.url(name), *POSTGRES) as engine,
    ):
        yield engine


@pytest.fixture
def sqlite(sqlite_database: str) -> Iterator[sa.Engine]:
    """The same in SQLite."""
    with engine_of(sqlite_database, *SQLITE) as engine:
        yield engine


# what follows `select id, at` with its value in the row of the partition, to the letter
@pytest.mark.parametrize(
    ("query", "rest"),
    [
        ("select id, at, 'a:start' as x from u where 'b:end' <> ':end'", ("a:start",)),
        ("select id, at::timestamptz, '7'::int8::text as x from u", ("7",)),
        ("select id, at, j->>'a' x, j #>> '{a}' y, j @> '{\"a\":1}'::jsonb z, j ? 'a' w from u",
         ("1", "1", True, True)),
        ("select id, at from u -- it's; a :start comment \"", ()),
        ("select id, at from u -- it's\nwhere id < 9 /* :end; ' */", ()),
        ("select id, at from u;", ()),
        ("select id, at from u; -- done; really", ()),
        ("select id, at from u ; ;\n;  ", ()),
        ("select id, at from u /* ; */ ; /* ; */", ()),
        ("with x as (select * from u), y as (select * from x) select id, at from y", ()),
        ("select id, at, '100%' as x, 7 % 4 as y from u where 'abc' like '%b%'", ("100%", 3)),
        ("select id, at, 1 as \"a.b\", 2 as \"Mixed Case\", 3 as \"a:b\", 4 as \"a%b\", 5 as \"x'y\" from u",
         (1, 2, 3, 4, 5)),
        (r"select id, at, E'it\'s :start; \\' as x, E'\\' as y, ':end' as z from u",
         ("it's :start; \\", "\\", ":end")),
        (r"select id, at, '\' as x, ':end' as y, '\:z' as z from u", ("\\", ":end", r"\:z")),
        ("select id, at, $$a:b;'$$ as x, $q$ :end $q$ as y from u", ("a:b;'", " :end ")),
        ("select id, at, (array[1,2,3])[1:2] as x, (array[1,2,3])[2 :3] as y from u", ([1, 2], [2, 3])),
        ("select id, at, to_char(at, 'HH24:MI:SS') as x from u", ("12:00:00",)),
        ("table u", ({"a": 1},)),
        ("select id, at from u order by at desc limit 10", ()),
        ("select id, at, 'ü:😀' as \"naïve:é\" from u", ("ü:😀",)),
        ("select id, at from u where at >= :start and at < :end", ()),
        ("select id, at from u where at >= :start::timestamptz and at < cast(:end as timestamptz);", ()),
        ("select id, at from u where at >= date_trunc('day', :start) and at < :end -- :x 'start", ()),
        ("select id, at from u where at >= :start - interval '1 hour' and at < :end", ()),
        ("select id, max(at) as at, count(*) as x from u where at >= :start and at < :end group by id", (1,)),
    ],
)  # fmt: skip
def test_awkward_queries_on_postgres(postgres: sa.Engine, query: str, rest: tuple[object, ...]) -> None:
    """Colons, casts, comments, literals and operators mean what they mean to PostgreSQL."""
    columns, rows = read(postgres, usage_sync(query=query))
    assert rows == [(1, AT, *rest)]
    assert len(set(columns)) == len(columns) == 2 + len(rest)


@pytest.mark.parametrize(
    ("query", "rest"),
    [
        ("select id, at, 'a:start' as x from u where 'b:end' <> ':end'", ("a:start",)),
        ("select id, at, j->>'a:b' as x, j->'$.\"a:b\"' as y from u", (1, "1")),
        ("select id, at from u -- it's; a :start comment \"", ()),
        ("select id, at from u; -- done", ()),
        ("select id, at from u;;", ()),
        ("with x as (select * from u) select id, at from x", ()),
        ("select id, at, '100%' as x, 7 % 4 as y from u where 'abc' like '%b%'", ("100%", 3)),
        ('select id, at, 1 as "a.b", 2 as "u.id", 3 as "a:b", 4 as Mixed from u', (1, 2, 3, 4)),
        ("select id, at, strftime('%H:%M:%S', at) as x from u", ("12:00:00",)),
        ("select id, at, '\\:z' as x, '\\' as y from u", ("\\:z", "\\")),
        ("select id, at from u where at >= :start and at < :end", ()),
        ("select id, at from u where at between :start and :end and ':end' = \":end\"", ()),
        ("select id, max(at) as at, count(*) as x from u where at >= :start and at < :end group by id", (1,)),
    ],
)
def test_awkward_queries_on_sqlite(sqlite: sa.Engine, query: str, rest: tuple[object, ...]) -> None:
    """The same for SQLite."""
    assert read(sqlite, usage_sync(query=query))[1] == [(1, "2026-01-01T12:00:00Z", *rest)]


@pytest.mark.parametrize(
    ("query", "rest"),
    [
        ("select id, at, 'a:start' as x from u where 'b:end' <> ':end'", ("a:start",)),
        (r"""select id, at, 'it\'s :start; \\' as x, "a\" :end" as y, ':z' as `a:b` from u""",
         ("it's :start; \\", 'a" :end', ":z")),
        ("select id, at from u -- it's; a :start comment \"", ()),
        ("select id, at, 5--3 as x from u # it's :start\nwhere id < 9 /* :end; ' */ # ;", (8,)),
        ("select id, at from u; -- done; really", ()),
        ("with x as (select * from u) select id, at from x", ()),
        ("select id, at, '100%' as x, 7 % 4 as y, date_format(at, '%H:%i') as z from u",
         ("100%", 3, "12:00")),
        ("select id, at, @n := 4 as x, json_value(j, '$.a') as `Mixed Case` from u", (4, "1")),
        ("select id, at, 'ü:😀' as `naïve:é%s` from u", ("ü:😀",)),
        ("select id, at from u where at >= :start and at < :end", ()),
        ("select id, at from u where at >= date_sub(:start, interval 1 hour) and at < :end -- :x", ()),
        ("select id, max(at) as at, count(*) as x from u where at >= :start and at < :end group by id", (1,)),
    ],
)  # fmt: skip
def test_awkward_queries_on_mariadb(mariadb: sa.Engine, query: str, rest: tuple[object, ...]) -> None:
    """The same for MariaDB, with its own quotation marks and comments."""
    assert read(mariadb, usage_sync(query=query))[1] == [(1, AT, *rest)]


@pytest.mark.parametrize(
    ("query", "rest"),
    [
        ("select id, \"at\", 'a:start' as x from u where 'b:end' <> ':end'", ("a:start",)),
        ("select id, \"at\"::timestamptz as \"at\", '7'::int8::text as x, {'a': 1}.a as y from u", ("7", 1)),
        ("select id, \"at\", [1,2,3][1:2] as x from u", ([1, 2],)),
        ("select id, \"at\", j->>'a' as x, $$a:b;'$$ as y from u -- it's; a :start comment", ("1", "a:b;'")),
        ("from u select id, \"at\", x: 7 % 4, strftime(\"at\", '%H:%M') as y;", (3, "12:00")),
        ("select id, \"at\", 1 as \"a.b\", 2 as \"Mixed Case\", 3 as \"a:b\" from u", (1, 2, 3)),
        ("select id, \"at\", 4 as \"a%b\" from u", (4,)),
        ("select id, \"at\" from u where \"at\" >= :start and \"at\" < :end", ()),
        ("select id, \"at\" from u where \"at\" >= :start - interval '1 hour' and \"at\" < :end -- :x", ()),
        ("select id, max(\"at\") as \"at\" from u where \"at\" >= :start and \"at\" < :end group by id", ()),
    ],
)  # fmt: skip
def test_awkward_queries_on_duckdb(duckdb: sa.Engine, query: str, rest: tuple[object, ...]) -> None:
    """The same for DuckDB."""
    assert read(duckdb, usage_sync(query=query))[1] == [(1, AT, *rest)]


def test_files_are_read_by_duckdb(tmp_path: Path) -> None:
    """A database in memory is enough for usage that lies in Parquet files."""
    write("duckdb:///:memory:", f"copy (select 1 as id, 1767268800 as at_s) to '{tmp_path}/a.parquet'")
    sync = usage_sync(query=f"select * from '{tmp_path}/*.parquet'", time_column="at_s")
    with engine_of("duckdb:///:memory:") as engine:
        assert read(engine, sync)[1] == [(1, 1767268800)]


@pytest.mark.parametrize("table", ["u", "v", "order", '"order"', "`order`", '"T.x `y"', "`T.x ``y`"])
def test_tables_of_mariadb(mariadb: sa.Engine, table: str) -> None:
    """Views, reserved words and names in either quotation marks are found."""
    assert [row[:2] for row in read(mariadb, usage_sync(table))[1]] == [(1, AT)]


@pytest.mark.parametrize("table", ["u", "main.u", "U", "v", "order", '"My Schema"."T.x"', 'my schema."T.x"'])
def test_tables_of_duckdb(duckdb: sa.Engine, table: str) -> None:
    """The same for DuckDB, whose names have no case."""
    assert [row[:2] for row in read(duckdb, usage_sync(table))[1]] == [(1, AT)]


@pytest.mark.parametrize(
    "table", ["u", "public.u", "v", "order", '"u"', '"public"."u"', '"My Schema"."T.x"', 'My Schema."T.x"']
)
def test_tables_of_postgres(postgres: sa.Engine, table: str) -> None:
    """Schemas, views, reserved words and names in double quotes are found."""
    assert [row[:2] for row in read(postgres, usage_sync(table))[1]] == [(1, AT)]


@pytest.mark.parametrize("table", ["u", "main.u", "v", "order", '"Odd.Name"', 'main."Odd.Name"'])
def test_tables_of_sqlite(sqlite: sa.Engine, table: str) -> None:
    """The same for SQLite."""
    assert [row[0] for row in read(sqlite, usage_sync(table))[1]] == [1]


def test_column_names_are_the_source_s_own(postgres: sa.Engine) -> None:
    """Mixed case, dots and blanks stay, also in the time column and the key."""
    name = "At :Time%s 100%"
    query = f'select id as "Row.Id", at as "{name}", 1 as "a.b" from u'
    sync = usage_sync(query=query, primary_key=("Row.Id",), time_column=name)
    assert read(postgres, sync) == (("Row.Id", name, "a.b"), [(1, AT, 1)])


@pytest.mark.parametrize("bound", [":start", ":end", ":start and at > :start -- :end"])
def test_one_bound_alone_is_refused(postgres: sa.Engine, bound: str) -> None:
    """A query with half a window would read too much, or nothing."""
    with pytest.raises(ConfigError, match="one of :start and :end: use both or neither"):
        read(postgres, usage_sync(query=f"select * from u where at >= {bound}"))


@pytest.mark.parametrize("kind", ["postgres", "sqlite", "mariadb"])
def test_two_columns_of_one_name_are_refused(request: pytest.FixtureRequest, kind: str) -> None:
    """Nobody could say which of them a template means."""
    with pytest.raises(ConfigError, match=r"two columns named 'x'|Duplicate column name 'x'"):
        read(request.getfixturevalue(kind), usage_sync(query="select id, 1 as at, 1 as x, 2 as x from u"))


def test_duckdb_gives_the_second_of_two_columns_another_name(duckdb: sa.Engine) -> None:
    """So a template that names `x` means the first."""
    found = read(duckdb, usage_sync(query='select id, "at", 1 as x, 2 as x from u'))
    assert found == (("id", "at", "x", "x_1"), [(1, AT, 1, 2)])

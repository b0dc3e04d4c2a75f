"""What goes wrong at a source is told in one line, without its password, by the right class."""

from pathlib import Path
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa

from lago_pipeline.errors import ConfigError, LagoPipelineError, RetriableError
from lago_pipeline.source.warehouse import source_errors
from lago_pipeline.sync import Sync
from lago_pipeline_tests.mariadb import MariaServer
from lago_pipeline_tests.postgres import PASSWORD, USER, PostgresServer
from lago_pipeline_tests.source.reading import engine_of, read, usage_sync, write

TABLE = 'create table u (id int, "at" {type}, j {json})'


def refusal(url: str, sync: Sync, *statements: str) -> LagoPipelineError:
    """The error of reading a source: one line, and no password in it."""
    with pytest.raises(LagoPipelineError) as caught, engine_of(url, *statements) as engine:
        read(engine, sync)
    words = str(caught.value)
    assert len(words.splitlines()) == 1
    assert PASSWORD not in words
    return caught.value


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"table": "nowhere"}, "nowhere"),
    ({"table": "main.nowhere"}, "nowhere"),
    ({"query": "select id, absent from u"}, "absent"),
    ({"query": "selec id from u"}, "syntax"),
    ({"query": "select id from u where ("}, ""),
    ({"query": ""}, ""),
    ({"query": "select 1; drop table u"}, ""),
    ({"query": "delete from u returning id"}, ""),
    ({"table": "u", "primary_key": ("id", "part")}, "no column 'part': its columns are id, at, j"),
    ({"table": "u", "time_column": "At"}, "no column 'At': its columns are id, at, j"),
    ({"table": "u", "updated_at_column": "loaded"}, "no column 'loaded'"),
]


def test_a_wrong_declaration_is_a_config_error(source_url: str) -> None:
    """A missing table or column, or SQL that is none, must be changed by a person."""
    time_type = "text" if source_url.startswith("sqlite") else "timestamp"
    write(source_url, TABLE.format(type=time_type, json="json"))
    for source, words in WRONG:
        error = refusal(source_url, usage_sync(**source))
        assert isinstance(error, ConfigError), source
        assert words in str(error)


def test_a_time_column_that_is_no_time_is_a_config_error(postgres_database: str) -> None:
    """The message names the column and what to do."""
    error = refusal(postgres_database, usage_sync("u", time_column="j"), "create table u (id int, j jsonb)")
    assert isinstance(error, ConfigError)
    assert "time_column 'j' is neither a timestamp nor a number: cast it" in str(error)


@pytest.mark.parametrize(
    ("user", "password", "database", "words"),
    [
        (USER, "wrong-password", "postgres", "password authentication failed"),
        ("nobody-here", PASSWORD, "postgres", "password authentication failed"),
        (USER, PASSWORD, "no_such_database", "does not exist"),
    ],
)
def test_a_refused_connection_is_a_config_error(
    postgres_server: PostgresServer, user: str, password: str, database: str, words: str
) -> None:
    """Trying the same wrong password again would never help."""
    error = refusal(postgres_server.url(database, user, password), usage_sync("u"))
    assert isinstance(error, ConfigError)
    assert words in str(error)
    assert password not in str(error)


@pytest.mark.parametrize(
    ("user", "password", "database", "words"),
    [
        (USER, "wrong-password", "mysql", "Access denied for user 'lago'"),
        ("nobody-here", PASSWORD, "mysql", "Access denied for user 'nobody-here'"),
        (USER, PASSWORD, "no_such_database", "Unknown database 'no_such_database'"),
    ],
)
def test_a_connection_that_mariadb_refuses_is_a_config_error(
    mariadb_server: MariaServer, user: str, password: str, database: str, words: str
) -> None:
    """The same, by the server's numbers."""
    error = refusal(mariadb_server.url(database, user, password), usage_sync("u"))
    assert isinstance(error, ConfigError)
    assert str(error).startswith(f"sync usage: the source refused the connection: {words}")
    assert password not in str(error)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1040, RetriableError),  # too many connections
        (1205, RetriableError),  # lock wait time-out
        (1213, RetriableError),  # deadlock
        (1927, RetriableError),  # connection killed
        (2013, RetriableError),  # lost in a query
        (1054, ConfigError),  # no such column
        (4031, ConfigError),  # what nobody has told us of is not tried for ever
        (2059, ConfigError),  # a way to log in that the driver lacks
    ],
)
def test_mariadb_s_numbers_tell_what_time_may_mend(code: int, expected: type[LagoPipelineError]) -> None:
    """An error is retriable by what it says, not by the class that the driver gives it."""
    with pytest.raises(expected), source_errors(sa.create_engine("mariadb+pymysql://h"), "sync usage"):
        raise sa.exc.OperationalError("select 1", {}, pymysql.OperationalError(code, "words"))


@pytest.mark.parametrize("host", ["127.0.0.1:1", "host.invalid:5432"])
@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mariadb+pymysql"])
def test_a_server_that_is_away_is_retriable(driver: str, host: str) -> None:
    """The same run may succeed later."""
    url = f"{driver}://{USER}:{PASSWORD}@{host}/usage"
    assert isinstance(refusal(url, usage_sync("u")), RetriableError)


def test_a_database_that_takes_no_connection_is_retriable(postgres_database: str) -> None:
    """Too many connections is a matter of time."""
    name = postgres_database.rpartition("/")[2]
    with engine_of(postgres_database, f"alter database {name} connection limit 0"):
        pass
    with engine_of(postgres_database, "create role crowded login password 'open-sesame'"):
        pass
    url = postgres_database.replace(f"//{USER}:", "//crowded:")
    try:
        assert isinstance(refusal(url, usage_sync("u")), RetriableError)
    finally:
        with engine_of(postgres_database, "drop role crowded"):
            pass


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "is no SQLAlchemy URL"),
        (f"postgresql+psycopg://a:b@{PASSWORD}:port/db", "is no SQLAlchemy URL"),
        (f"postgresql+psycopg://a:x:{PASSWORD}@h:{PASSWORD}/db", "is no SQLAlchemy URL"),
        (f"paradox://a:{PASSWORD}@h/db", "paradox is not a supported source: use one of sqlite, postgresql,"),
        (f"mysql+mysqldb://a:{PASSWORD}@h/db", "install 'lago-pipeline[mysql]' and write mysql+pymysql://"),
        (f"postgresql+pg8000://a:{PASSWORD}@h/db", "the driver postgresql+pg8000 of the warehouse is not"),
        (f"postgresql://a:{PASSWORD}@127.0.0.1/db?nonsense=1", "nonsense"),
        (f"postgresql+psycopg_async://a:{PASSWORD}@h/db", "psycopg_async is asynchronous"),
        ("sqlite:////nowhere/usage.db", "/nowhere/usage.db does not exist"),
        ("sqlite:////tmp", "/tmp does not exist"),
        ("sqlite:///" + str(Path(__file__)), "file is not a database"),
        ("duckdb:////nowhere/usage.duckdb", "/nowhere/usage.duckdb does not exist"),
        ("duckdb:///" + str(Path(__file__)), "not a valid DuckDB database file"),
    ],
)
def test_a_wrong_url_is_a_config_error(url: str, words: str) -> None:
    """A typo, a missing driver or a missing file must be changed by a person."""
    error = refusal(url, usage_sync("u"))
    assert isinstance(error, ConfigError)
    assert words in str(error)


def test_text_that_is_no_unicode_is_a_config_error(sqlite_database: str) -> None:
    """SQLite takes any bytes as text; they are named, not guessed."""
    statements = [
        "create table u (id int, at text, v text)",
        "insert into u values (1, '2026-01-01', cast(x'ff' as text))",
    ]
    error = refusal(sqlite_database, usage_sync("u"), *statements)
    assert isinstance(error, ConfigError)
    assert "decode" in str(error)


def test_files_that_are_missing_are_a_config_error(duckdb_database: str) -> None:
    """A pattern that names no file is a matter of the declaration."""
    error = refusal(duckdb_database, usage_sync(query="select * from '/nowhere/*.parquet'"))
    assert isinstance(error, ConfigError)
    assert "/nowhere/*.parquet" in str(error)

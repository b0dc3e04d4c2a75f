"""What differs between databases: time columns, sessions, quoting, and what an error means.

A database that SQLAlchemy knows becomes a source by one entry in `DIALECTS`.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPICursor

from lago_pipeline.errors import ConfigError
from lago_pipeline.source.window import TimeKind

Convert = Callable[[Sequence[Any]], Sequence[Any]]
"""Changes the values of one column."""


class Fault(Enum):
    """What is at fault when a source fails: a person must mend the first two, time may the others."""

    ACCESS = "the source refused the connection"
    QUERY = "the source refused the query"
    STOPPED = "the source stopped the query"
    CONNECTION = "the source could not be read"


_STANDARD_LITERALS = re.compile(
    r"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/
    | \$(\w*)\$.*?\$\1\$""",
    re.VERBOSE | re.DOTALL,
)
_MYSQL_LITERALS = re.compile(
    r"""'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`]|``)*` | --(?=\s|$)[^\n]* | \#[^\n]*
    | /\*.*?\*/""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One database.

    `time_kind` reads a column's kind from the cursor's type code, without fetching a row. `fault` reads an
    error of the driver, and gives None where the error's class tells enough. `prepare` is SQL run at the
    start of a session, with the source's time zone as `:zone` and the reader's name, of at most 63
    characters, as `:reader`. `url` checks and completes a URL; `convert` changes the values of a column by
    its type code. `abandon` lets go of a cursor whose rows are not all read. `literals` finds strings, names
    and comments in a query. `extra` installs the `driver`.
    """

    time_kind: Callable[[object], TimeKind | None]
    fault: Callable[[BaseException], Fault | None]
    prepare: str | None = None
    extra: str | None = None
    driver: str = ""
    url: Callable[[sa.URL], sa.URL] = lambda url: url
    convert: Callable[[object], Convert | None] = lambda _: None
    abandon: Callable[[sa.Connection, DBAPICursor], None] = lambda _connection, _cursor: None
    literals: re.Pattern[str] = _STANDARD_LITERALS
    ignores_case: bool = True


def _existing_file(url: sa.URL) -> sa.URL:
    database = url.database or ""
    in_memory_or_uri = database in ("", ":memory:") or database.startswith("file:")
    if not in_memory_or_uri and not Path(database).is_file():
        raise ConfigError(f"the warehouse {database} does not exist: check the path in its URL")
    return url


_SQLITE_REFUSALS = (
    "no such", "syntax error", "ambiguous", "unrecognized", "could not decode", "incomplete input"
)  # fmt: skip


def _sqlite_fault(error: BaseException) -> Fault | None:
    """SQLite reports a missing table or column, or undecodable text, as an operational error."""
    return Fault.QUERY if any(sign in str(error).lower() for sign in _SQLITE_REFUSALS) else None


_POSTGRES_KINDS = {
    1184: TimeKind.AWARE,  # timestamptz
    1114: TimeKind.NAIVE,  # timestamp
    1082: TimeKind.NAIVE,  # date
    **dict.fromkeys((20, 21, 23, 700, 701, 1700), TimeKind.EPOCH),  # whole, real and exact numbers
}
_POSTGRES_REFUSALS = (
    "authentication failed", "does not exist", "no pg_hba.conf entry", "not permitted to log in"
)  # fmt: skip


def _postgres_fault(error: BaseException) -> Fault | None:
    """Libpq gives no code for a wrong password, account or database; 57014 is a cancelled statement."""
    words = str(error)
    if "FATAL: " in words and any(sign in words for sign in _POSTGRES_REFUSALS):
        return Fault.ACCESS
    return Fault.STOPPED if getattr(error, "sqlstate", None) == "57014" else None


_MYSQL_KINDS = {
    7: TimeKind.AWARE,  # timestamp
    **dict.fromkeys((10, 12), TimeKind.NAIVE),  # date, datetime
    **dict.fromkeys((0, 1, 2, 3, 4, 5, 8, 9, 246), TimeKind.EPOCH),  # exact, whole and real numbers
}
_MYSQL_ACCESS = {1044, 1045, 1049, 1129, 1130, 1251, 1698, 2049, 2054, 2059, 4151}
_MYSQL_STOPPED = {1317, 1969, 3024}
_MYSQL_PASSING = {  # too many connections, a shutdown, a lost connection, a lock or a deadlock
    *(1040, 1041, 1042, 1043, 1053, 1105, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1226, 1927)
}


def _mysql_fault(error: BaseException) -> Fault | None:
    """By MySQL's numbers: what the client reports (2000 to 2999) is a matter of the connection."""
    code = error.args[0] if error.args else None
    if not isinstance(code, int) or code in _MYSQL_PASSING:
        return Fault.CONNECTION
    if code in _MYSQL_ACCESS:
        return Fault.ACCESS
    if code in _MYSQL_STOPPED:
        return Fault.STOPPED
    return Fault.QUERY if code >= 1000 and code // 1000 != 2 else Fault.CONNECTION


def _mysql_convert(code: object) -> Convert | None:
    """The driver gives instants without their zone, which is the session's; impossible ones are text."""
    return _in_utc if code == 7 else None


def _in_utc(values: Sequence[Any]) -> Sequence[Any]:
    return [value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for value in values]


def _mysql_abandon(connection: sa.Connection, cursor: DBAPICursor) -> None:
    """MySQL sends all of a result, and the driver would read it to its end, also from a lost connection."""
    result = getattr(cursor, "_result", None)
    if result is not None:  # nothing public stops it
        result.unbuffered_active = False
    connection.invalidate()


_DUCKDB_KINDS = {
    "timestamp with time zone": TimeKind.AWARE,
    **dict.fromkeys(("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "date"), TimeKind.NAIVE),
    **dict.fromkeys(("tinyint", "smallint", "integer", "bigint", "hugeint"), TimeKind.EPOCH),
    **dict.fromkeys(("utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"), TimeKind.EPOCH),
    **dict.fromkeys(("float", "double", "decimal"), TimeKind.EPOCH),
}
_DUCKDB_REFUSALS = ("not a valid DuckDB database", "No files found", "does not exist")


def _duckdb_type(code: object) -> str:
    return str(getattr(code, "id", ""))


def _duckdb_fault(error: BaseException) -> Fault | None:
    """DuckDB reports a file that is no database, or is missing, as an operational error."""
    return Fault.QUERY if any(sign in str(error) for sign in _DUCKDB_REFUSALS) else None


def _duckdb_convert(code: object) -> Convert | None:
    """The driver gives JSON as text, and widens real numbers: 0.1 would become 0.10000000149011612."""
    if str(code) == "JSON":
        return _parsed
    return _shortest if _duckdb_type(code) == "float" else None


def _parsed(values: Sequence[Any]) -> Sequence[Any]:
    return [None if value is None else json.loads(value) for value in values]


def _shortest(values: Sequence[Any]) -> Sequence[Any]:
    texts = pa.array(values, pa.float32()).cast(pa.string())
    return [None if text is None else float(text) for text in texts.to_pylist()]


def _duckdb_url(url: sa.URL) -> sa.URL:
    """A file is only read, so that it stays open to other readers; who writes it holds it alone."""
    if (url.database or ":memory:") == ":memory:" or ":" in (url.database or ""):
        return url
    return _existing_file(url).update_query_dict({"access_mode": "read_only", **url.query})


_MYSQL = Dialect(
    time_kind=lambda code: _MYSQL_KINDS.get(code) if isinstance(code, int) else None,
    fault=_mysql_fault,
    # the server may not know the zones by name, and in UTC alone no instant has two meanings
    prepare="set time_zone = '+00:00'",
    extra="mysql",
    driver="mysql+pymysql",
    convert=_mysql_convert,
    abandon=_mysql_abandon,
    literals=_MYSQL_LITERALS,
)
DIALECTS: Mapping[str, Dialect] = {
    "sqlite": Dialect(time_kind=lambda _: TimeKind.SQLITE, fault=_sqlite_fault, url=_existing_file),
    "postgresql": Dialect(
        time_kind=lambda code: _POSTGRES_KINDS.get(code) if isinstance(code, int) else None,
        fault=_postgres_fault,
        # so that casts between naive and aware in a user's query mean the source's zone, not the server's,
        # and the driver can read dates, intervals and any character; of a query that is read through a
        # cursor the server shows only `fetch`, so the session has a name, too
        prepare="select set_config('TimeZone', :zone, true), set_config('DateStyle', 'ISO', true), "
        "set_config('IntervalStyle', 'postgres', true), set_config('client_encoding', 'UTF8', true), "
        "set_config('application_name', :reader, true)",
        extra="postgres",
        driver="postgresql+psycopg",
        ignores_case=False,
    ),
    "mysql": _MYSQL,
    "mariadb": replace(_MYSQL, driver="mariadb+pymysql"),
    "duckdb": Dialect(
        time_kind=lambda code: _DUCKDB_KINDS.get(_duckdb_type(code)),
        fault=_duckdb_fault,
        prepare="set TimeZone = :zone",
        extra="duckdb",
        driver="duckdb",
        url=_duckdb_url,
        convert=_duckdb_convert,
    ),
}


def dialect_named(name: str) -> Dialect:
    """The dialect of SQLAlchemy's name; raises ConfigError for a database that has none here yet."""
    dialect = DIALECTS.get(name)
    if dialect is None:
        raise ConfigError(f"{name} is not a supported source: use one of {', '.join(DIALECTS)}")
    return dialect

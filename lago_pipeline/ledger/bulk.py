"""Whole tables of the ledger in and out, as tuples at driver level, on either database."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from lago_pipeline.errors import FatalError, RetriableError
from lago_pipeline.ledger.archive import BATCH_ROWS, Rows

_KINDS: tuple[tuple[type[sa.types.TypeEngine[Any]], pa.DataType], ...] = (
    (sa.Integer, pa.int64()),
    (sa.LargeBinary, pa.binary()),
    (sa.String, pa.string()),
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as a database has it: columns with portable types, and the one that the database numbers."""

    name: str
    schema: pa.Schema
    identity: str | None

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.schema.names)


def reflected(connection: sa.Connection, name: str) -> Table:
    """A table with whatever columns the database has."""
    columns = sa.inspect(connection).get_columns(name)
    schema = pa.schema([(column["name"], _kind(name, column["name"], column["type"])) for column in columns])
    identity = next((column["name"] for column in columns if column.get("identity")), None)
    return Table(name, schema, identity)


def read_table(connection: sa.Connection, table: Table, columns: Sequence[str]) -> Iterator[Rows]:
    """All rows of a table, streamed in batches."""
    cursor = _streaming_cursor(connection, table.name)
    with _driver_errors(connection), closing(cursor):
        cursor.execute(f"select {_listed(columns)} from {table.name}")
        while rows := cursor.fetchmany(BATCH_ROWS):
            yield rows if connection.dialect.driver != "psycopg2" else _without_views(rows)


def write_table(
    connection: sa.Connection, table: Table, columns: Sequence[str], batches: Iterable[Rows]
) -> None:
    """Insert rows with the numbers that they have; the database numbers new ones after the largest."""
    if connection.dialect.driver == "psycopg":
        _copy(connection, table, columns, batches)
    else:
        _insert(connection, table, columns, batches)
    if table.identity:
        _continue_numbers(connection, table.name, table.identity)


def _kind(table: str, column: str, declared: sa.types.TypeEngine[Any]) -> pa.DataType:
    for kind, portable in _KINDS:
        if isinstance(declared, kind):
            return portable
    raise FatalError(f"the ledger's column {table}.{column} has the type {declared}, which no export knows")


def _streaming_cursor(connection: sa.Connection, name: str) -> Any:  # noqa: ANN401 - the driver's own type
    """A cursor of the driver itself; psycopg would fetch all rows at once, but for one with a name."""
    raw: Any = connection.connection
    if connection.dialect.driver.startswith("psycopg"):
        return raw.cursor(name=f"lago_pipeline_{name}")
    return raw.cursor()


def _without_views(rows: Rows) -> Rows:
    """Bytes that psycopg2 lends as views, copied."""
    return [tuple(bytes(item) if isinstance(item, memoryview) else item for item in row) for row in rows]


def _copy(connection: sa.Connection, table: Table, columns: Sequence[str], batches: Iterable[Rows]) -> None:
    statement = f"copy {table.name} ({_listed(columns)}) from stdin"
    cursor: Any = connection.connection.cursor()
    with _driver_errors(connection), cursor, cursor.copy(statement) as copy:
        for row in chain.from_iterable(batches):
            copy.write_row(row)


def _insert(connection: sa.Connection, table: Table, columns: Sequence[str], batches: Iterable[Rows]) -> None:
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    overriding = " overriding system value" if table.identity else ""
    statement = (
        f"insert into {table.name} ({_listed(columns)}){overriding} "
        f"values ({', '.join([mark] * len(columns))})"
    )
    for rows in batches:
        connection.exec_driver_sql(statement, list(rows))


def _continue_numbers(connection: sa.Connection, table: str, column: str) -> None:
    """Unlike setval, this is undone where the transaction is."""
    largest = connection.exec_driver_sql(f"select coalesce(max({column}), 0) from {table}").scalar_one()
    connection.exec_driver_sql(f"alter table {table} alter column {column} restart with {int(largest) + 1}")


@contextmanager
def _driver_errors(connection: sa.Connection) -> Iterator[None]:
    """As `ledger_errors`, for what is called past SQLAlchemy."""
    try:
        yield
    except connection.dialect.loaded_dbapi.Error as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise RetriableError(f"the ledger could not be used: {words[0]}") from error


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)

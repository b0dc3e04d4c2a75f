"""A prepared connection to a source, whose queries say for whom they are asked."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from lago_pipeline.source.dialects import Convert, Dialect, dialect_named
from lago_pipeline.source.warehouse import source_errors
from lago_pipeline.source.window import Row
from lago_pipeline.sync import Sync

CHUNK_ROWS = 5_000
_READER_CHARACTERS = 63
"""How much PostgreSQL keeps of a session's name."""


@dataclass(frozen=True, slots=True)
class SourceSession:
    """An open transaction on a source, with `comment` before each of its queries."""

    _connection: sa.Connection
    _dialect: Dialect
    _comment: str

    def columns(self, sql: str, parameters: Mapping[str, object]) -> list[tuple[str, object]]:
        """The names and type codes of a query's columns."""
        with closing(self._execute(sql, parameters)) as result:
            return [(column[0], column[1]) for column in result.cursor.description or ()]

    def first(self, sql: str, parameters: Mapping[str, object]) -> Row | None:
        """The first row of a query."""
        with closing(self._execute(sql, parameters)) as result:
            return next(self._chunks(result, 1), [None])[0]

    def chunks(self, sql: str, parameters: Mapping[str, object]) -> Iterator[list[Row]]:
        """The rows of a query in chunks of up to 5,000, as tuples; memory stays flat."""
        with closing(self._execute(sql, parameters, is_streamed=True)) as result:
            cursor = result.cursor
            try:
                yield from self._chunks(result, CHUNK_ROWS)
            except BaseException:  # also of a reader that stops early
                self._dialect.abandon(self._connection, cursor)
                raise

    def _execute(
        self, sql: str, parameters: Mapping[str, object], *, is_streamed: bool = False
    ) -> sa.CursorResult[Any]:
        # without raw names SQLAlchemy cuts SQLite's column names at a dot
        connection = self._connection.execution_options(sqlite_raw_colnames=True, stream_results=is_streamed)
        return connection.execute(sa.text(f"{self._comment} {sql}"), parameters)

    def _chunks(self, result: sa.CursorResult[Any], most: int) -> Iterator[list[Row]]:
        found = [self._dialect.convert(column[1]) for column in result.cursor.description or ()]
        converts = {index: convert for index, convert in enumerate(found) if convert}
        # tuples of the driver: making SQLAlchemy's rows of them costs as much as fetching them
        while rows := result.cursor_strategy.fetchmany(result, result.cursor, most):
            yield _converted(rows, converts) if converts else rows


@contextmanager
def source_session(
    engine: sa.Engine, sync: Sync, partition: str, run: str | None = None
) -> Iterator[SourceSession]:
    """A session for a sync's partition; errors of the driver come out as ours."""
    dialect = dialect_named(engine.dialect.name)
    about = {"partition": partition, **({"run": run} if run else {}), "sync": sync.name}
    with source_errors(engine, f"sync {sync.name}"), engine.connect() as connection:
        if dialect.prepare:
            session = {"zone": sync.source.timezone.key, "reader": _reader(about)}
            connection.execute(sa.text(dialect.prepare), session).close()
        yield SourceSession(connection, dialect, query_comment(about))


def query_comment(about: Mapping[str, str]) -> str:
    """A comment as sqlcommenter writes them, with sorted and percent-encoded values.

    It stands before the query, since servers show only the beginning of a long one.
    """
    pairs = (f"{key}='{quote(value, safe='')}'" for key, value in sorted(about.items()))
    return f"/*{','.join(pairs)}*/"


def _reader(about: Mapping[str, str]) -> str:
    """A session's name: the run is known by the first characters of its id."""
    words = ("lago", about["sync"][:24], about["partition"], about.get("run", "")[:8])
    return " ".join(filter(None, words))[:_READER_CHARACTERS]


def _converted(rows: Sequence[Row], converts: Mapping[int, Convert]) -> list[Row]:
    columns = list(zip(*rows, strict=True))
    for index, convert in converts.items():
        columns[index] = tuple(convert(columns[index]))
    return list(zip(*columns, strict=True))

"""The streamed query of one partition: wrapped in a window, probed for its columns, read in chunks."""

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from string import whitespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import quoted_name

from lago_pipeline.errors import ConfigError
from lago_pipeline.partition import Partition
from lago_pipeline.source.dialects import Dialect, dialect_of
from lago_pipeline.source.warehouse import source_errors
from lago_pipeline.source.window import TimeWindow
from lago_pipeline.sync import Source, Sync

CHUNK_ROWS = 5_000
_LITERALS = re.compile(
    r"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/
    | \$(\w*)\$.*?\$\1\$""",
    re.VERBOSE | re.DOTALL,
)
_TABLE_PART = re.compile(r'"((?:[^"]|"")+)"|([^."]+)')
_SQLITE_REPEATED = re.compile(r":\d+$")
"""What SQLite adds to the second column of a name in a subquery."""
_OWN_BOUND = re.compile(r"(?<![:\w\\]):(start|end)\b")


@dataclass(frozen=True, slots=True)
class SourceRows:
    """A probed source: its columns in order, the window, and what it takes to stream the rows."""

    columns: tuple[str, ...]
    window: TimeWindow
    sql: str
    parameters: Mapping[str, object]
    has_own_window: bool


class SourceReader:
    """Reads the usage rows of one sync.

    Rows come as tuples in `columns` order. Raises ConfigError for a missing table or column, RetriableError
    when the database cannot be reached.
    """

    def __init__(self, engine: sa.Engine, sync: Sync) -> None:
        self._engine = engine
        self._sync = sync
        self._dialect: Dialect = dialect_of(engine)
        self._query = _Query(sync.source, engine)

    def probe(self, partition: Partition) -> SourceRows:
        """Ask for no rows: learn the columns and the time column's kind, and build the partition's query."""
        source, query = self._sync.source, self._query
        types = self._column_types(partition)
        columns = tuple(name for name, _ in types)
        _check_columns(columns, source)
        kind = self._dialect.time_kind(dict(types)[source.time_column])
        if kind is None:
            raise ConfigError(
                f"sync {self._sync.name}: time_column {source.time_column!r} is neither a timestamp nor a "
                "number: cast it in source.query"
            )
        window = TimeWindow(partition, kind, source.timezone)
        if query.has_own_window:
            window.check_own_bounds(source.query or "")
        bounds = window.own_bounds() if query.has_own_window else window.bounds()
        return SourceRows(columns, window, query.windowed(window), bounds, query.has_own_window)

    def stream(self, rows: SourceRows) -> Generator[list[tuple[Any, ...]]]:
        """The partition's rows in chunks of up to 5,000; memory stays flat."""
        index = rows.columns.index(self._sync.source.time_column)
        exact = rows.window.is_exact or rows.has_own_window
        with self._connection() as connection:
            # yield_per is ignored for text(): stream_results and partitions() keep memory flat
            streamed = connection.execution_options(stream_results=True)
            with closing(streamed.execute(sa.text(rows.sql), rows.parameters)) as result:
                is_empty = True
                for chunk in result.partitions(CHUNK_ROWS):
                    is_empty = False
                    fetched = [tuple(row) for row in chunk]
                    yield fetched if exact else [row for row in fetched if rows.window.holds(row[index])]
            if is_empty and rows.has_own_window:
                self._check_numeric_times(connection, rows)

    def _check_numeric_times(self, connection: sa.Connection, rows: SourceRows) -> None:
        """On SQLite a number is never greater than a text: such a query would find nothing for ever."""
        numeric = rows.window.numeric_own_bounds()
        if numeric is None:
            return
        with closing(connection.execute(sa.text(rows.sql), numeric)) as result:
            if result.first() is not None:
                raise ConfigError(
                    f"sync {self._sync.name}: the query compares numbers with :start and :end, which are "
                    "text on SQLite: write column >= unixepoch(:start) and column < unixepoch(:end)"
                )

    def _column_types(self, partition: Partition) -> list[tuple[str, object]]:
        """Names and type codes; a query's own bounds are untyped first, then times for its functions."""
        if not self._query.has_own_window:
            return self._probed({})
        try:
            return self._probed({"start": None, "end": None})
        except ConfigError as error:
            try:
                return self._probed({"start": partition.start, "end": partition.end})
            except ConfigError:
                raise error from None

    def _probed(self, bounds: Mapping[str, object]) -> list[tuple[str, object]]:
        with (
            self._connection() as connection,
            closing(connection.execute(sa.text(self._query.probe()), bounds)) as result,
        ):
            return [(column[0], column[1]) for column in result.cursor.description or ()]

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        with source_errors(f"sync {self._sync.name}"), self._engine.connect() as connection:
            if self._dialect.prepare:
                connection.execute(
                    sa.text(self._dialect.prepare), {"zone": self._sync.source.timezone.key}
                ).close()
            # without raw names SQLAlchemy cuts SQLite's column names at a dot
            yield connection.execution_options(sqlite_raw_colnames=True)


class _Query:
    """The SQL of a source: a table or a person's query, with colons that are no bounds made literal."""

    def __init__(self, source: Source, engine: sa.Engine) -> None:
        self._quote = engine.dialect.identifier_preparer.quote
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._time_column = self._quote(quoted_name(source.time_column, quote=True))
        self._text = _literal_colons(source.query) if source.query is not None else ""
        self._table = self._quoted_table(source.table) if source.table else None
        names = _own_bounds(source.query or "")
        if len(names) == 1:
            raise ConfigError("source.query uses one of :start and :end: use both or neither")
        self.has_own_window = len(names) == 2

    def probe(self) -> str:
        return f"select * from {self._from()} where 1 = 0"

    def windowed(self, window: TimeWindow) -> str:
        if self.has_own_window:
            return self._text
        return f"select * from {self._from()} where {window.condition(self._time_column)}"

    def _quoted_table(self, table: str) -> str:
        """The table as SQL; parts are quoted where they must be, or stand in double quotes already.

        On SQLite, which ignores case, all are: it has keywords that SQLAlchemy does not know.
        """
        always = True if self._is_sqlite else None
        parts = [
            self._quote(quoted_name(literal.replace('""', '"') or plain, quote=bool(literal) or always))
            for literal, plain in _TABLE_PART.findall(table)
        ]
        return ".".join(parts)

    def _from(self) -> str:
        return self._table or f"(\n{self._text}) usage"


def _own_bounds(query: str) -> set[str]:
    return set(_OWN_BOUND.findall(_LITERALS.sub("''", query)))


def _literal_colons(query: str) -> str:
    """The query with every colon escaped but those of its own :start and :end, and no trailing `;`.

    The newline ends a trailing `-- comment`.
    """
    pieces, position = [], 0
    for literal in _LITERALS.finditer(query):
        pieces += [_escaped(query[position : literal.start()]), literal[0].replace(":", r"\:")]
        position = literal.end()
    text = "".join([*pieces, _escaped(query[position:])])
    return _without_semicolon(text) + "\n"


def _escaped(sql: str) -> str:
    return _OWN_BOUND.sub("\x00\\1", sql).replace(":", r"\:").replace("\x00", ":")


def _without_semicolon(sql: str) -> str:
    """Drop every `;` at the end, also before a comment."""
    bare = _LITERALS.sub(
        lambda literal: " " * len(literal[0]) if literal[0][:2] in ("--", "/*") else "x" * len(literal[0]),
        sql,
    )
    end = len(bare.rstrip(whitespace + ";"))
    tail = zip(sql[end:], bare[end:], strict=True)
    return sql[:end] + "".join(" " if seen == ";" else character for character, seen in tail)


def _check_columns(columns: Sequence[str], source: Source) -> None:
    names = [_SQLITE_REPEATED.sub("", name) for name in columns]
    repeated = sorted({name for name in columns if names.count(name) > 1})
    if repeated:
        raise ConfigError(
            f"the source has two columns named {repeated[0]!r}: give one an alias in source.query"
        )
    named = {*source.primary_key, source.time_column}
    if source.updated_at_column:
        named.add(source.updated_at_column)
    missing = sorted(named - set(columns))
    if missing:
        raise ConfigError(f"the source has no column {missing[0]!r}: its columns are {', '.join(columns)}")

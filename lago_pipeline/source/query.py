"""The streamed query of one partition: wrapped in a window, probed for its columns, read in chunks."""

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lago_pipeline.errors import ConfigError
from lago_pipeline.partition import Partition
from lago_pipeline.source.dialects import dialect_named
from lago_pipeline.source.extent import Extent
from lago_pipeline.source.session import SourceSession, source_session
from lago_pipeline.source.sieve import RowSieve
from lago_pipeline.source.statement import SourceStatement
from lago_pipeline.source.window import TimeKind, TimeWindow
from lago_pipeline.sync import Source, Sync

_SQLITE_REPEATED = re.compile(r":\d+$")
"""What SQLite adds to the second column of a name in a subquery."""


@dataclass(frozen=True, slots=True)
class SourceRows:
    """A probed source: its columns with the kind of each, and what it takes to stream a window's rows."""

    columns: tuple[str, ...]
    kinds: Mapping[str, TimeKind | None]
    window: TimeWindow
    sql: str
    parameters: Mapping[str, object]
    has_own_window: bool


class SourceReader:
    """Reads the usage rows of one sync.

    Rows come as tuples in `columns` order; `run` is told to the database with each query. Raises ConfigError
    for a missing table or column, RetriableError when the database cannot be reached.
    """

    def __init__(self, engine: sa.Engine, sync: Sync, run: str | None = None) -> None:
        self._engine = engine
        self._sync = sync
        self._run = run
        self._dialect = dialect_named(engine.dialect.name)
        self.statement = SourceStatement(sync.source, engine)

    def probe(self, partition: Partition) -> SourceRows:
        """Ask for no rows: learn the columns and the time column's kind, and build the partition's query."""
        source, statement = self._sync.source, self.statement
        types = self._column_types(partition)
        columns = tuple(name for name, _ in types)
        _check_columns(columns, source)
        kinds = {name: self._dialect.time_kind(code) for name, code in types}
        window = TimeWindow(
            partition, self.kind_of("time_column", source.time_column, kinds), source.timezone
        )
        if statement.has_own_window:
            window.check_own_bounds(source.query or "")
        sql, bounds = statement.windowed(window), statement.bounds(window)
        return SourceRows(columns, kinds, window, sql, bounds, statement.has_own_window)

    def kind_of(self, role: str, column: str, kinds: Mapping[str, TimeKind | None]) -> TimeKind:
        """How a column of times is stored; raises ConfigError for one that holds no times."""
        kind = kinds[column]
        if kind is None:
            raise ConfigError(
                f"sync {self._sync.name}: {role} {column!r} is neither a timestamp nor a number: "
                "cast it in source.query"
            )
        return kind

    def stream(self, rows: SourceRows, extent: Extent | None = None) -> Generator[list[tuple[Any, ...]]]:
        """The partition's rows in chunks of up to 5,000; memory stays flat. `extent` counts them."""
        sieve = RowSieve(rows.window, rows.columns.index(self._sync.source.time_column))
        held = sieve.all if rows.has_own_window else sieve.held
        extent = extent or Extent()
        with self.session(rows.window.partition) as session:
            is_empty = True
            for fetched in session.chunks(rows.sql, rows.parameters):
                is_empty = False
                kept, latest_ms = held(fetched)
                extent.add(len(kept), latest_ms, self._latest_update(rows, kept))
                yield kept
            if is_empty and rows.has_own_window:
                self._check_numeric_times(session, rows)

    def _latest_update(self, rows: SourceRows, fetched: Sequence[tuple[Any, ...]]) -> int | None:
        """The latest update of an aggregating query's rows, where it tells one."""
        updated_at = self._sync.source.updated_at_column
        if not rows.has_own_window or updated_at is None:
            return None
        index = rows.columns.index(updated_at)
        return max((rows.window.instant_ms(row[index]) for row in fetched), default=-1)

    def _check_numeric_times(self, session: SourceSession, rows: SourceRows) -> None:
        """On SQLite a number is never greater than a text: such a query would find nothing for ever."""
        numeric = rows.window.numeric_own_bounds()
        if numeric is not None and session.first(rows.sql, numeric) is not None:
            raise ConfigError(
                f"sync {self._sync.name}: the query compares numbers with :start and :end, which are "
                "text on SQLite: write column >= unixepoch(:start) and column < unixepoch(:end)"
            )

    def _column_types(self, partition: Partition) -> list[tuple[str, object]]:
        """Names and type codes; a query's own bounds are untyped first, then times for its functions."""
        if not self.statement.has_own_window:
            return self._probed(partition, {})
        try:
            return self._probed(partition, {"start": None, "end": None})
        except ConfigError as error:
            try:
                return self._probed(partition, {"start": partition.start, "end": partition.end})
            except ConfigError:
                raise error from None

    def _probed(self, partition: Partition, bounds: Mapping[str, object]) -> list[tuple[str, object]]:
        with self.session(partition) as session:
            return session.columns(self.statement.probe(), bounds)

    def session(self, partition: Partition) -> AbstractContextManager[SourceSession]:
        """A session whose queries are told to be about a partition."""
        return source_session(self._engine, self._sync, partition.key, self._run)


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

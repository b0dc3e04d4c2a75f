"""What changed in a source since it was read: rows by their `updated_at_column`, and fingerprints."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from lago_pipeline.errors import ConfigError
from lago_pipeline.partition import Partition, from_epoch_ms
from lago_pipeline.source.extent import Extent
from lago_pipeline.source.query import SourceReader, SourceRows
from lago_pipeline.source.sieve import RowSieve
from lago_pipeline.source.window import Row, TimeKind, TimeWindow
from lago_pipeline.sync import Sync

MOST_ROWS = 1_000_000
"""What one look reads at the most: some seconds."""
QUARTER_MS = 900_000
"""Usage times are counted by quarter hours: every zone's days and hours begin at one."""
MINUTE_MS = 60_000
_END_OF_TIME = datetime(2200, 1, 1, tzinfo=UTC)
_UPDATES = "updated_"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows whose usage lies in one quarter hour and whose update lies in one minute (epoch milliseconds)."""

    usage_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows of a span of usage that were updated since an instant.

    `sums` has, for each bucket, the number of its rows and the sum of their updates' milliseconds within the
    minute: either differs once a row came, or was updated again. `watermark_ms` is the source's latest
    update, also of newer usage; None where nothing was updated. `last_ms` is the latest update that was
    read; `is_cut` tells that there are later ones.
    """

    sums: Mapping[Bucket, tuple[int, int]]
    watermark_ms: int | None
    last_ms: int | None
    is_cut: bool


class ChangeReader:
    """Looks for changes in the source of one sync; raises as `SourceReader`."""

    def __init__(self, engine: sa.Engine, sync: Sync, most_rows: int = MOST_ROWS) -> None:
        self._reader = SourceReader(engine, sync)
        self._sync = sync
        self._most_rows = most_rows

    def fingerprint(self, partition: Partition) -> str:
        """As `Extent.fingerprint`, of a partition's rows now; the database counts where it is exact."""
        rows = self._reader.probe(partition)
        if rows.has_own_window:
            extent = Extent()
            for _ in self._reader.stream(rows, extent):
                pass
            return extent.fingerprint
        return (self._counted(rows) if rows.window.is_exact else self._streamed(rows)).fingerprint

    @property
    def tells_updates(self) -> bool:
        """Whether `changes` can be asked for: an aggregating query shows the updates of whole groups only."""
        return self._sync.source.updated_at_column is not None and not self._reader.statement.has_own_window

    def changes(self, span: Partition, since_ms: int) -> Changes:
        """The rows of a span of usage that were updated at `since_ms` or later; earliest updates first."""
        rows, updates = self._windows(span, since_ms, _END_OF_TIME)
        sums: dict[Bucket, tuple[int, int]] = {}
        read, last_ms = 0, None
        for usage, updated in self._late(rows, updates):
            read += 1
            instant = updates.instant_ms(updated)
            if instant < since_ms:
                continue  # SQLite's text is fetched by whole days
            last_ms = max(instant, last_ms or instant)
            usage_ms = rows.window.instant_ms(usage)
            if span.holds(usage_ms):
                bucket = Bucket(usage_ms - usage_ms % QUARTER_MS, instant - instant % MINUTE_MS)
                count, total = sums.get(bucket, (0, 0))
                sums[bucket] = count + 1, total + instant % MINUTE_MS
        is_cut = read >= self._most_rows and updates.kind is not TimeKind.SQLITE
        return Changes(sums, self._watermark(rows, updates), last_ms, is_cut)

    def usage_updated_in(self, span: Partition, minute_ms: int) -> tuple[int, int] | None:
        """The first and last usage of a span that was updated within one minute; epoch milliseconds."""
        rows, updates = self._windows(span, minute_ms, from_epoch_ms(minute_ms + MINUTE_MS))
        column = self._reader.statement.time_column
        found = self._one(
            rows.window,
            f"select min({column}), max({column}) from {self._late_rows(rows.window, updates)}",
            self._bounds(rows.window, updates),
        )
        if found[0] is None:
            return None
        return rows.window.instant_ms(found[0]), rows.window.instant_ms(found[1])

    def _windows(self, span: Partition, since_ms: int, until: datetime) -> tuple[SourceRows, TimeWindow]:
        """The probed source with the span as its window, and the window of the updates."""
        updated_at = self._sync.source.updated_at_column
        if updated_at is None:
            raise ConfigError(f"sync {self._sync.name}: source.updated_at_column is not set")
        rows = self._reader.probe(span)
        kind = self._reader.kind_of("updated_at_column", updated_at, rows.kinds)
        updates = Partition("updates", from_epoch_ms(since_ms), until)
        return rows, TimeWindow(updates, kind, rows.window.zone)

    def _late(self, rows: SourceRows, updates: TimeWindow) -> Iterator[tuple[Any, ...]]:
        """Pairs of a usage time and its update; SQLite has no order among its spellings of times."""
        usage, updated = self._reader.statement.time_column, self._updated_column
        bounded = f" order by {updated} limit {self._most_rows}"
        tail = "" if updates.kind is TimeKind.SQLITE else bounded
        sql = f"select {usage}, {updated} from {self._late_rows(rows.window, updates)}{tail}"
        with self._reader.session(rows.window.partition) as session:
            for chunk in session.chunks(sql, self._bounds(rows.window, updates)):
                yield from chunk

    def _watermark(self, rows: SourceRows, updates: TimeWindow) -> int | None:
        """The latest update of all usage, so that the next look begins there also after a quiet time."""
        since = Partition("usage", rows.window.partition.start, _END_OF_TIME)
        window = replace(rows.window, partition=since)
        (latest,) = self._one(
            window,
            f"select max({self._updated_column}) from {self._late_rows(window, updates)}",
            self._bounds(window, updates),
        )
        return None if latest is None else updates.instant_ms(latest)

    def _late_rows(self, window: TimeWindow, updates: TimeWindow) -> str:
        """What stands after `from`: the rows whose usage and whose update lie in the windows."""
        statement = self._reader.statement
        condition = updates.condition(self._updated_column, _UPDATES)
        return f"{statement.relation} where {statement.within(window)} and ({condition})"

    def _bounds(self, window: TimeWindow, updates: TimeWindow) -> Mapping[str, object]:
        return {**self._reader.statement.bounds(window), **updates.bounds(_UPDATES)}

    @property
    def _updated_column(self) -> str:
        return self._reader.statement.quoted_column(self._sync.source.updated_at_column or "")

    def _counted(self, rows: SourceRows) -> Extent:
        statement = self._reader.statement
        where = f"{statement.relation} where {statement.within(rows.window)}"
        sql = f"select count(*), max({statement.time_column}) from {where}"
        count, latest = self._one(rows.window, sql, rows.parameters)
        return Extent(int(count), -1 if latest is None else rows.window.instant_ms(latest))

    def _streamed(self, rows: SourceRows) -> Extent:
        extent, statement, sieve = Extent(), self._reader.statement, RowSieve(rows.window, 0)
        sql = (
            f"select {statement.time_column} from {statement.relation} where {statement.within(rows.window)}"
        )
        with self._reader.session(rows.window.partition) as session:
            for chunk in session.chunks(sql, rows.parameters):
                kept, latest_ms = sieve.held(chunk)
                extent.add(len(kept), latest_ms)
        return extent

    def _one(self, window: TimeWindow, sql: str, parameters: Mapping[str, object]) -> Row:
        """The one row of an aggregating query."""
        with self._reader.session(window.partition) as session:
            return session.first(sql, parameters) or ()

"""How the tests of this folder read a source: a sync, partitions, and all rows of one partition."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from lago_pipeline.partition import Partition
from lago_pipeline.source.query import SourceReader
from lago_pipeline.source.warehouse import warehouse_engine
from lago_pipeline.sync import Source, Sync

FIRST = Partition(
    "2026-01-01", datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")), datetime(2026, 1, 2, tzinfo=ZoneInfo("UTC"))
)
"""The partition of tests that need only one."""


IN_MEMORY = "sqlite://"
"""A database that lives as long as its engine."""


def usage_sync(table: str | None = None, query: str | None = None, **source: Any) -> Sync:
    """A sync whose rows have the key `id` and the time `at`."""
    declared = Source(primary_key=("id",), time_column="at", table=table, query=query)
    return Sync("usage", replace(declared, **source), {}, transaction_id_prefix="usage", destination="lago")


def days(first: date, count: int, zone: ZoneInfo) -> list[Partition]:
    """A run of local days without a gap between them."""
    names = [first + timedelta(days=number) for number in range(count + 1)]
    starts = [datetime(name.year, name.month, name.day, tzinfo=zone) for name in names]
    return [
        Partition(name.isoformat(), start, end)
        for name, start, end in zip(names[:-1], starts[:-1], starts[1:], strict=True)
    ]


def hours(first: datetime, count: int, zone: ZoneInfo) -> list[Partition]:
    """A run of hours as the clock shows them, doubled ones twice."""
    starts = [(first + timedelta(hours=number)).astimezone(zone) for number in range(count + 1)]
    return [Partition(f"{start:%Y-%m-%d-%H:%M%z}", start, end) for start, end in pairwise(starts)]


@contextmanager
def engine_of(url: str, *statements: str) -> Iterator[sa.Engine]:
    """A source's engine after some statements, disposed of at the end."""
    if statements and url != IN_MEMORY:
        write(url, *statements)
    engine = warehouse_engine(url)
    try:
        if url == IN_MEMORY:
            _execute(engine, statements)
        yield engine
    finally:
        engine.dispose()


def write(url: str, *statements: str) -> None:
    """Run statements on a source, with double quotes around names, as who owns it: a pipeline only reads."""
    is_mysql = url.startswith(("mariadb", "mysql"))
    settings = {"init_command": "set sql_mode = 'ANSI_QUOTES', time_zone = '+00:00'"} if is_mysql else {}
    engine = sa.create_engine(url, connect_args=settings)
    try:
        _execute(engine, statements)
    finally:
        engine.dispose()


def _execute(engine: sa.Engine, statements: Sequence[str]) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement.replace(":", r"\:")))


def read(
    engine: sa.Engine, sync: Sync, partition: Partition = FIRST
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The columns and rows of one partition."""
    reader = SourceReader(engine, sync)
    rows = reader.probe(partition)
    return rows.columns, [row for chunk in reader.stream(rows) for row in chunk]


def placed(engine: sa.Engine, sync: Sync, partitions: Sequence[Partition]) -> Mapping[object, list[str]]:
    """For each id, the keys of the partitions that carry it."""
    found: dict[object, list[str]] = {}
    for partition in partitions:
        columns, rows = read(engine, sync, partition)
        for row in rows:
            found.setdefault(row[columns.index("id")], []).append(partition.key)
    return found


def holder(partitions: Sequence[Partition], instant: datetime) -> list[str]:
    """The keys of the partitions an instant belongs to, by definition."""
    moment = instant.astimezone(UTC)
    return [
        part.key for part in partitions if part.start.astimezone(UTC) <= moment < part.end.astimezone(UTC)
    ]

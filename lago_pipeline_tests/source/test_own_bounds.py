"""Queries that use :start and :end themselves on SQLite, where a wrong comparison would be silent."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lago_pipeline.errors import ConfigError
from lago_pipeline.partition import Partition
from lago_pipeline.source.query import SourceReader
from lago_pipeline.sync import Source, Sync
from lago_pipeline_tests.source.reading import engine_of

DAY = datetime(2026, 1, 5, tzinfo=UTC)
AT_MIDNIGHT = Partition("2026-01-05", DAY, DAY + timedelta(days=1))
AT_ELEVEN = Partition("2026-01-05", DAY - timedelta(hours=1), DAY + timedelta(hours=23))


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """Two days of hours, as ISO text and as epoch seconds."""
    path = tmp_path / "warehouse.db"
    hours = [DAY - timedelta(days=1) + timedelta(hours=hour) for hour in range(72)]
    with sqlite3.connect(path) as connection:
        connection.execute("create table u (at text, epoch integer)")
        connection.executemany(
            "insert into u values (?, ?)",
            [(f"{hour:%Y-%m-%dT%H:%M:%SZ}", int(hour.timestamp())) for hour in hours],
        )
    connection.close()
    return path


def counted(warehouse: Path, where: str, partition: Partition) -> int:
    """The rows of a partition, by a query with its own window."""
    query = f"select at as id, at from u where {where}"
    sync = Sync("s", Source(("id",), "at", query=query), {}, "s", "lago")
    with engine_of(f"sqlite:///{warehouse}") as engine:
        reader = SourceReader(engine, sync)
        return sum(len(chunk) for chunk in reader.stream(reader.probe(partition)))


def test_midnights_compare_well_with_every_spelling(warehouse: Path) -> None:
    """A date alone is smaller than every time of its day."""
    assert counted(warehouse, "at >= :start and at < :end", AT_MIDNIGHT) == 24


def test_other_bounds_need_a_time_function(warehouse: Path) -> None:
    """`T` sorts after a blank: such a comparison would take the wrong day, and everything would be green."""
    with pytest.raises(ConfigError, match=r"write datetime\(column\) >= :start"):
        counted(warehouse, "at >= :start and at < :end", AT_ELEVEN)
    assert counted(warehouse, "datetime(at) >= :start and datetime(at) < :end", AT_ELEVEN) == 24


def test_numbers_need_unixepoch(warehouse: Path) -> None:
    """A number is never greater than a text: such a query would bill nothing for ever, and be green."""
    with pytest.raises(ConfigError, match=r"write column >= unixepoch\(:start\)"):
        counted(warehouse, "epoch >= :start and epoch < :end", AT_MIDNIGHT)
    assert counted(warehouse, "epoch >= unixepoch(:start) and epoch < unixepoch(:end)", AT_MIDNIGHT) == 24

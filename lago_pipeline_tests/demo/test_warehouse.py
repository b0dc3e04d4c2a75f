"""Seeding is repeatable, all or nothing, and harmless to files that are not the demo's."""

import hashlib
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from lago_pipeline.demo.warehouse import FIRST_DAY, LAST_DAY, PLANTED, SEED_VERSION, SeedSummary, seed
from lago_pipeline.errors import ConfigError

Seeded = tuple[Path, SeedSummary]


@pytest.fixture
def copy(seeded: Seeded, tmp_path: Path) -> Path:
    """Give a seeded file of the test's own."""
    return Path(shutil.copy(seeded[0], tmp_path / "warehouse.db"))


def execute(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Run one statement and commit."""
    with closing(sqlite3.connect(path)) as database, database:
        return database.execute(sql).fetchall()


def everything(path: Path) -> list[str]:
    """Return the file's tables, rows and indexes as SQL."""
    with closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


def test_summary(seeded: Seeded) -> None:
    """The summary tells what was made: rows of each table, days, and the planted mistakes."""
    path, summary = seeded
    assert summary.created
    assert summary.days == (LAST_DAY - FIRST_DAY).days + 1 == 28
    assert summary.planted is PLANTED
    assert dict(summary.rows) == {
        table: execute(path, f"select count(*) from {table}")[0][0]
        for table in ("api_requests", "active_seats")
    }


def test_same_everywhere(seeded: Seeded) -> None:
    """Every machine and Python seeds the same rows; who changes them raises SEED_VERSION and this digest."""
    digest = hashlib.sha256()
    for table in ("api_requests", "active_seats"):
        for row in execute(seeded[0], f"select * from {table} order by rowid"):
            digest.update(repr(row).encode())
    assert (SEED_VERSION, digest.hexdigest()[:16]) == (1, "572c80a763a3bfbf")


def test_second_seed_does_nothing(copy: Path) -> None:
    """A warehouse that is there stays as it is, with the rows a person changed in it."""
    execute(copy, "delete from active_seats")
    before = copy.stat()
    summary = seed(copy)
    assert not summary.created
    assert summary.rows["active_seats"] == 0
    assert (copy.stat().st_ino, copy.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_older_version_is_replaced(copy: Path, seeded: Seeded) -> None:
    """A file of an earlier version gives way to today's data, and so does the log a crash left beside it."""
    execute(copy, "delete from api_requests")
    execute(copy, f"pragma user_version = {SEED_VERSION - 1}")
    stale_log = copy.with_name(copy.name + "-journal")
    stale_log.write_bytes(b"")
    assert seed(copy).created
    assert not stale_log.exists()
    assert everything(copy) == everything(seeded[0])


def test_empty_file_is_filled(tmp_path: Path) -> None:
    """An empty file, such as a mere connection leaves behind, is no obstacle."""
    path = tmp_path / "warehouse.db"
    path.touch()
    assert seed(path).created


@pytest.mark.parametrize("contents", ["database", "text", "folder"])
def test_other_files_are_left_alone(tmp_path: Path, contents: str) -> None:
    """What no seed made is never overwritten; the error names it."""
    path = tmp_path / "precious.db"
    if contents == "database":
        execute(path, "create table invoices (id)")
    elif contents == "text":
        path.write_text("not a database, and long enough to have a header: " * 9)
    else:
        path.mkdir()
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ConfigError, match=r"precious\.db .* demo warehouse"):
        seed(path)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert list(tmp_path.iterdir()) == [path]


def test_two_at_once(tmp_path: Path) -> None:
    """Two seeds of one path at the same time leave one whole file and nothing beside it."""
    path = tmp_path / "warehouse.db"
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(seed, (path, path))
    assert first.rows == second.rows
    assert list(tmp_path.iterdir()) == [path]
    assert execute(path, "pragma integrity_check") == [("ok",)]


@pytest.mark.parametrize(
    ("table", "column"),
    [("api_requests", "requested_at"), ("api_requests", "loaded_at"), ("active_seats", "seen_at")],
)
def test_a_day_is_found_by_index(seeded: Seeded, table: str, column: str) -> None:
    """Reading one day does not scan the table."""
    plan = execute(
        seeded[0], f"explain query plan select * from {table} where {column} >= 'a' and {column} < 'b'"
    )
    assert f"USING INDEX {table}_{column}" in str(plan[0][3])

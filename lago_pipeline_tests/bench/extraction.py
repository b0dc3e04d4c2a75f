"""Extraction: usage rows from a database into the spool, beside the same rows fetched by the driver alone."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

import click
import psycopg
import sqlalchemy as sa

from lago_pipeline.cli.output import print_table
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.source.session import CHUNK_ROWS
from lago_pipeline.source.warehouse import warehouse_engine
from lago_pipeline.spool.folder import Spool
from lago_pipeline_tests.bench.main_job import DAY, SYNC, seed, usage
from lago_pipeline_tests.bench.render import timed
from lago_pipeline_tests.postgres import PostgresServer, running_postgres

_ALL = "select * from calls"
COLUMNS = ["what", "rows/s", "of the driver alone", "goal"]
Cursor = sqlite3.Cursor | psycopg.ServerCursor[tuple[object, ...]]


@click.command()
@click.option("--rows", default=200_000, show_default=True, help="Rows of the partition.")
@click.option("--rounds", default=3, show_default=True, help="Each is timed as often; the best counts.")
def main(rows: int, rounds: int) -> None:
    """Print rows a second of each database, and the share of its driver's own."""
    with tempfile.TemporaryDirectory() as name, running_postgres() as server:
        lines = list(compared(Path(name), server, rows, rounds))
    print_table(COLUMNS, lines)


def compared(folder: Path, server: PostgresServer, rows: int, rounds: int) -> Iterator[dict[str, object]]:
    """Its driver and our step for each database; raises SystemExit where rows are missing."""
    seed(folder / "warehouse.db", rows)
    with postgres_seeded(server, rows) as (url, connection):
        sqlite_url = f"sqlite:///{folder / 'warehouse.db'}"
        ways: dict[str, tuple[Callable[[], object], int]] = {
            "sqlite3 alone": (partial(fetched_by_sqlite3, folder / "warehouse.db", rows), rows),
            "SQLite": (partial(extracted, folder, warehouse_engine(sqlite_url), rows), rows),
            "psycopg alone": (partial(fetched_by_psycopg, connection, rows), rows),
            "PostgreSQL": (partial(extracted, folder, warehouse_engine(url), rows), rows),
        }
        best = timed(ways, rounds)
    for driver, database in (("sqlite3 alone", "SQLite"), ("psycopg alone", "PostgreSQL")):
        yield line(driver, best[driver], best[driver], "")
        yield line(f"usage_rows, {database}", best[database], best[driver], "300,000/s")


def line(what: str, seconds: float, driver_seconds: float, goal: str) -> dict[str, object]:
    """A line of the table, from seconds a row."""
    values = (what, f"{1 / seconds:,.0f}", f"{driver_seconds / seconds:.2f}", goal)
    return dict(zip(COLUMNS, values, strict=True))


@contextmanager
def postgres_seeded(
    server: PostgresServer, rows: int
) -> Iterator[tuple[str, psycopg.Connection[tuple[object, ...]]]]:
    """A database with the rows: its URL, and a connection to it in a transaction."""
    with server.fresh_database() as name, server.connect(name) as connection:
        connection.execute(
            "create table calls (id text, called_at timestamptz, subscription text, "
            "units bigint, weight numeric, region text)"
        )
        with connection.cursor().copy("copy calls from stdin") as copy:
            for row in usage(rows):
                copy.write_row(row)
        connection.autocommit = False
        yield server.url(name), connection


def extracted(folder: Path, warehouse: sa.Engine, rows: int) -> None:
    """The asset's work: window, types, row keys, sorting and the file."""
    pipeline = Pipeline(SYNC, Spool(folder / "spool"), "bench", say=lambda _: None)
    check_all(pipeline.extract(DAY, warehouse).rows, rows)


def fetched_by_sqlite3(path: Path, rows: int) -> None:
    """Every row as a tuple."""
    with closing(sqlite3.connect(path)) as connection:
        check_all(counted(connection.execute(_ALL)), rows)


def fetched_by_psycopg(connection: psycopg.Connection[tuple[object, ...]], rows: int) -> None:
    """Every row as a tuple, through a cursor of the server."""
    with connection.transaction(), connection.cursor(name="bench") as cursor:
        cursor.execute(_ALL)
        check_all(counted(cursor), rows)


def counted(cursor: Cursor) -> int:
    """How many rows a cursor gives, taken in our chunks."""
    chunks = iter(lambda: cursor.fetchmany(CHUNK_ROWS), [])
    return sum(1 for _ in chain.from_iterable(chunks))


def check_all(found: int, rows: int) -> None:
    """Raise SystemExit where rows are missing."""
    if found != rows:
        raise SystemExit(f"{found} rows instead of {rows}")


if __name__ == "__main__":
    main()

"""Moving the ledger, whole and proven: into one portable file, and from it into an empty ledger."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import sqlalchemy as sa

from lago_pipeline.errors import ConfigError, FatalError
from lago_pipeline.ledger.archive import (
    Archive,
    Checksum,
    Manifest,
    Rows,
    TableSummary,
    archive_opened,
    archive_written,
)
from lago_pipeline.ledger.bulk import Table, read_table, reflected, write_table
from lago_pipeline.ledger.database import SCHEMA_VERSION, reading, writing

TABLES = ("destinations", "syncs", "partitions", "sent", "sending", "runs", "alarms")
"""In an order in which each refers only to those before it."""
_TELL_ROWS = 100_000

Say = Callable[[str], None]


def export_ledger(engine: sa.Engine, path: Path, say: Say) -> Manifest:
    """Write all of the ledger, as it is at one moment, to a new file; the file is read back before it stays.

    Raises ConfigError for an empty ledger and for a file that exists or cannot be written.
    """
    with _snapshot(engine) as connection:
        if not _has_rows(connection, "destinations"):
            raise ConfigError("the ledger holds nothing to export: check LEDGER_URL")
        with archive_written(path, lambda written: _check_archive(written, say)) as archive:
            for table in (reflected(connection, name) for name in TABLES):
                batches = _told(read_table(connection, table, table.columns), f"export {table.name}", say)
                archive.write_table(table.name, table.schema, batches)
            return archive.finish(SCHEMA_VERSION)


def import_ledger(engine: sa.Engine, path: Path, say: Say) -> Manifest:
    """Fill an empty ledger from a file in one transaction, and prove that it holds what was exported.

    Raises ConfigError for a ledger that holds anything, for a file of another schema, and for one that is
    damaged or foreign; FatalError where the ledger then holds something else. Each leaves it empty.
    """
    with archive_opened(path) as archive:
        _check_version(archive.manifest, path)
        with writing(engine) as connection:
            _check_empty(connection)
            tables = [_checked(reflected(connection, name), archive, path) for name in TABLES]
            for table in tables:
                batches = _told(archive.batches(table.name), f"import {table.name}", say)
                write_table(connection, table, archive.columns(table.name), batches)
            for table in tables:
                rows = read_table(connection, table, archive.columns(table.name))
                summary = archive.manifest.tables[table.name]
                _verify(table.name, summary, _told(rows, f"verify {table.name}", say))
    return archive.manifest


def _snapshot(engine: sa.Engine) -> AbstractContextManager[sa.Connection]:
    """A connection that sees one moment; on SQLite every read transaction does."""
    if engine.dialect.name == "sqlite":
        return reading(engine)
    return reading(engine.execution_options(isolation_level="REPEATABLE READ"))


def _has_rows(connection: sa.Connection, table: str) -> bool:
    return connection.exec_driver_sql(f"select 1 from {table} limit 1").first() is not None


def _check_empty(connection: sa.Connection) -> None:
    """Keep other writers out until the end, and raise ConfigError where one was here before."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"lock table {', '.join(TABLES)} in share row exclusive mode")
    used = [name for name in TABLES if _has_rows(connection, name)]
    if used:
        raise ConfigError(
            f"the ledger is in use (it has {', '.join(used)}), and an import needs an empty one: "
            "set LEDGER_URL to a new database"
        )


def _check_version(manifest: Manifest, path: Path) -> None:
    if manifest.schema_version != SCHEMA_VERSION or set(manifest.tables) != set(TABLES):
        raise ConfigError(
            f"{path} has the ledger's schema {manifest.schema_version}, and this lago-pipeline has "
            f"{SCHEMA_VERSION}: export and import with the same version of lago-pipeline"
        )


def _checked(table: Table, archive: Archive, path: Path) -> Table:
    """The table; raises ConfigError where the file has other columns."""
    if set(archive.columns(table.name)) != set(table.columns):
        raise ConfigError(
            f"{path} has other columns of {table.name} than the ledger: "
            "export and import with the same version of lago-pipeline"
        )
    return table


def _check_archive(archive: Archive, say: Say) -> None:
    for name, summary in archive.manifest.tables.items():
        _verify(name, summary, _told(archive.batches(name), f"verify {name}", say))


def _verify(name: str, promised: TableSummary, batches: Iterable[Rows]) -> None:
    checksum = Checksum()
    for rows in batches:
        checksum.add(rows)
    found = checksum.summary()
    if found != promised:
        raise FatalError(
            f"{name}: {found.rows:,} rows with the sum {found.checksum} instead of {promised.rows:,} with "
            f"{promised.checksum}: nothing was kept; export the ledger again"
        )


def _told(batches: Iterable[Rows], what: str, say: Say) -> Iterator[Rows]:
    """The same batches, with a word now and then on how far they are."""
    done = told = 0
    for rows in batches:
        yield rows
        done += len(rows)
        if done - told >= _TELL_ROWS:
            told = done
            say(f"{what}: {done:,} rows")
    if done != told:
        say(f"{what}: {done:,} rows")

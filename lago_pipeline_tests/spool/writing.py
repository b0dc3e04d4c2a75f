"""How the tests of this folder write and read rows files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lago_pipeline.spool.rows import RowsFooter, StoredRow, rows_opened, rows_written

COLUMNS = ("id", "value")


def write_rows(
    path: Path,
    rows: Sequence[Sequence[object]],
    columns: Sequence[str] = COLUMNS,
    key: Sequence[str] = ("id",),
    chunk: int = 1000,
) -> None:
    """Write rows in chunks, as an extraction does."""
    footer = RowsFooter(snapshot_ms=1_767_225_600_123, rows=len(rows), run="run-1")
    with rows_written(path, columns, key, lambda: footer) as writer:
        for first in range(0, len(rows), chunk):
            writer.write(rows[first : first + chunk])


def read_rows(path: Path) -> list[StoredRow]:
    """All rows of a file, in its order."""
    with rows_opened(path) as file:
        return [row for rows in file.rows() for row in rows]


def read_values(path: Path) -> list[list[Any]]:
    """All rows of a file, as the source gave them."""
    return [row.values() for row in read_rows(path)]

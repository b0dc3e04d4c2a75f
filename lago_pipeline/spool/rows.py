"""The file of extracted usage rows: every column as text, and one column of type letters."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from lago_pipeline.spool.columns import decode_row, encode_rows
from lago_pipeline.spool.keys import row_keys
from lago_pipeline.spool.parquet import SpoolFile, SpoolWriter, opened_spool, sorted_file

_BATCH = 10_000
_PREFIX = "row."
"""Before every column of the source, so that none can hide one of ours."""


@dataclass(frozen=True, slots=True)
class RowsFooter:
    """What the rows file says of itself; `snapshot_ms` was taken before the query began.

    `source_fingerprint` is that of `source.extent`, or None in a file of an older version.
    """

    snapshot_ms: int
    rows: int
    run: str
    source_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row as stored: comparing two tells whether the source gave the same values."""

    row_key: str
    types: str
    texts: tuple[str | None, ...]

    def values(self) -> list[object]:
        """The values, of the types that the source gave."""
        return decode_row(self.texts, self.types)


@dataclass(frozen=True, slots=True)
class RowsWriter:
    """Writes source rows in chunks, in any order."""

    columns: Sequence[str]
    primary_key: Sequence[str]
    _writer: SpoolWriter

    def write(self, rows: Sequence[Sequence[object]]) -> None:
        """Add rows given as tuples in the order of `columns`."""
        if not rows:
            return
        keys, types, texts = _stored_columns(rows, self.columns, self.primary_key)
        self._writer.write(pa.table([keys, types, *texts], schema=self._writer.schema))


def stored_rows(
    rows: Sequence[Sequence[object]], columns: Sequence[str], primary_key: Sequence[str]
) -> list[StoredRow]:
    """Rows as they would be stored, without a file."""
    keys, types, texts = _stored_columns(rows, columns, primary_key)
    return [StoredRow(*row) for row in zip(keys, types, zip(*texts, strict=True), strict=True)]


def _stored_columns(
    rows: Sequence[Sequence[object]], columns: Sequence[str], primary_key: Sequence[str]
) -> tuple[list[str], list[str], list[list[str | None]]]:
    """The keys, the types and the text columns of rows."""
    texts, types = encode_rows(rows, len(columns))
    indexes = [columns.index(name) for name in primary_key]
    return row_keys([[row[index] for row in rows] for index in indexes], texts, types), types, texts


@contextmanager
def rows_written(
    path: Path, columns: Sequence[str], primary_key: Sequence[str], footer: Callable[[], RowsFooter]
) -> Iterator[RowsWriter]:
    """Write a partition's rows at `path`; the file appears whole or not at all."""
    names = ["row_key", "types", *(_PREFIX + column for column in columns)]
    schema = pa.schema([(name, pa.string()) for name in names])
    with sorted_file(path, schema, lambda: asdict(footer())) as writer:
        yield RowsWriter(columns, primary_key, writer)


@dataclass(frozen=True, slots=True)
class RowsFile:
    """An open rows file: its footer, the source's columns, and the rows in the order of their keys."""

    footer: RowsFooter
    columns: tuple[str, ...]
    _file: SpoolFile

    def rows(self) -> Iterator[StoredRow]:
        """Every row; equal keys are neighbours."""
        for batch in self._file.batches(_BATCH):
            columns = [column.to_pylist() for column in batch.columns]
            for row_key, types, *texts in zip(*columns, strict=True):
                yield StoredRow(row_key, types, tuple(texts))


@contextmanager
def rows_opened(path: Path) -> Iterator[RowsFile]:
    """Open a partition's rows; raises FatalError where they were never extracted."""
    with opened_spool(path, "materialize usage_rows for this partition again") as file:
        columns = tuple(name.removeprefix(_PREFIX) for name in file.schema.names[2:])
        yield RowsFile(file.footer_as(RowsFooter), columns, file)

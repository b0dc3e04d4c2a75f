"""The file of extracted usage rows: every column as text, and one column of type letters."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lago_pipeline.arrow import column_values
from lago_pipeline.spool.columns import decode_row, encode_rows
from lago_pipeline.spool.keys import row_keys
from lago_pipeline.spool.parquet import SpoolFile, SpoolWriter, opened_spool, sorted_file

_BATCH = 2_500
"""Rows read, and so rendered, at once: larger batches are no faster, and take tens of megabytes more."""
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
class StoredRows:
    """Rows as stored, in Arrow's columns: what is needed of them is decoded a column at a time."""

    row_keys: pa.StringArray
    types: pa.StringArray
    texts: Sequence[pa.StringArray]

    @classmethod
    def of(cls, rows: Sequence[StoredRow], width: int) -> Self:
        """Single rows of `width` columns as one value."""
        texts = ([row.texts[index] for row in rows] for index in range(width))
        columns = ([row.row_key for row in rows], [row.types for row in rows], *texts)
        return cls.of_columns(*(pa.array(column, pa.string()) for column in columns))

    @classmethod
    def of_columns(cls, row_keys: pa.StringArray, types: pa.StringArray, *texts: pa.StringArray) -> Self:
        """The columns of a file, or of a piece of it."""
        return cls(row_keys, types, texts)

    def __len__(self) -> int:
        return len(self.row_keys)

    def __iter__(self) -> Iterator[StoredRow]:
        texts = zip(*map(column_values, self.texts), strict=True)
        return map(StoredRow, column_values(self.row_keys), column_values(self.types), texts)

    @property
    def columns(self) -> list[pa.StringArray]:
        """All columns, as in a file."""
        return [self.row_keys, self.types, *self.texts]

    def row(self, index: int) -> StoredRow:
        """One row by itself."""
        row_key, types, *texts = (column[index].as_py() for column in self.columns)
        return StoredRow(row_key, types, tuple(texts))

    def at(self, indexes: NDArray[np.int64]) -> Self:
        """The rows at some indexes."""
        return self.of_columns(*(column.take(pa.array(indexes)) for column in self.columns))

    def between(self, start: int, end: int) -> Self:
        """The rows from `start` up to `end`."""
        return self.of_columns(*(column.slice(start, end - start) for column in self.columns))

    def followed_by(self, others: Self) -> Self:
        """These rows and then the others."""
        both = zip(self.columns, others.columns, strict=True)
        return self.of_columns(*(pa.concat_arrays(columns) for columns in both))


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
        stored = stored_rows(rows, self.columns, self.primary_key)
        self._writer.write(pa.table(stored.columns, schema=self._writer.schema))


def stored_rows(
    rows: Sequence[Sequence[object]], columns: Sequence[str], primary_key: Sequence[str]
) -> StoredRows:
    """Rows of a source as they are stored."""
    texts, types = encode_rows(rows, len(columns))
    indexes = [columns.index(name) for name in primary_key]
    key_columns = [[row[index] for row in rows] for index in indexes]
    stored = (row_keys(key_columns, texts, types), types, *texts)
    return StoredRows.of_columns(*(pa.array(column, pa.string()) for column in stored))


@contextmanager
def rows_written(
    path: Path, columns: Sequence[str], primary_key: Sequence[str], footer: Callable[[], RowsFooter]
) -> Iterator[RowsWriter]:
    """Write a partition's rows at `path`; the file appears whole or not at all."""
    names = ["row_key", "types", *(_PREFIX + column for column in columns)]
    schema = pa.schema([(name, pa.string()) for name in names])
    with sorted_file(path, schema, ["types"], lambda: asdict(footer())) as writer:
        yield RowsWriter(columns, primary_key, writer)


@dataclass(frozen=True, slots=True)
class RowsFile:
    """An open rows file: its footer, the source's columns, and the rows in the order of their keys."""

    footer: RowsFooter
    columns: tuple[str, ...]
    _file: SpoolFile

    def rows(self) -> Iterator[StoredRows]:
        """Every row, some thousands at a time; equal keys are neighbours."""
        for batch in self._file.batches(_BATCH):
            yield StoredRows.of_columns(*batch.columns)


@contextmanager
def rows_opened(path: Path) -> Iterator[RowsFile]:
    """Open a partition's rows; raises FatalError where they were never extracted."""
    with opened_spool(path, "materialize usage_rows for this partition again") as file:
        columns = tuple(name.removeprefix(_PREFIX) for name in file.schema.names[2:])
        yield RowsFile(file.footer_as(RowsFooter), columns, file)

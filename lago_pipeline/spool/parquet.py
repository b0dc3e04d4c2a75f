"""Sorted Parquet files with a footer of our own, in row groups of 100,000 rows, with flat memory.

Rows arrive in any order. As many as fit into memory are sorted together; where there are more, each such
run is set aside and all are merged, so that a finished file is sorted as a whole: equal keys are
neighbours, and a reader can walk it beside the ledger, which is sorted alike.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lago_pipeline.errors import FatalError
from lago_pipeline.spool.folder import written_aside

GROUP_ROWS = 100_000
RUN_BYTES = 36 << 20
"""What is sorted at once, so that memory stays flat: more than a day of most syncs."""
_MERGED_ROWS = 60_000
"""What a merge holds of all runs together."""
_BESIDE_BYTES = 12 << 20
"""What is larger is not written beside the making of the next."""
PAGE_BYTES = 256 << 10
"""A merge holds a page of every column of every run."""
_FOOTER = b"lago_pipeline"
_Footer = TypeVar("_Footer")
_KEY = "row_key"


@dataclass(slots=True)
class SpoolWriter:
    """Takes tables of one schema, and writes those that wait together once they are as large as `limit`.

    A thread writes them, while the next ones are made unless memory has no room for both.
    """

    schema: pa.Schema
    parquet: pq.ParquetWriter
    limit: "Limit"
    thread: Executor
    rows: int = 0
    runs: int = 0
    _waiting: list[pa.Table] = field(default_factory=list)
    _waiting_bytes: int = 0
    _waiting_rows: int = 0
    _written: Future[None] | None = None

    def write(self, table: pa.Table) -> None:
        """Add rows, in any order unless the limit says otherwise."""
        self.rows += table.num_rows
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        self._waiting_bytes += table.nbytes
        if self._waiting_rows >= self.limit.rows or self._waiting_bytes >= self.limit.bytes:
            self._flush(self._waiting_rows)

    def finish(self) -> None:
        """Write what still waits: in row groups of their usual size where that is all there is."""
        self._flush(self._waiting_rows if self.runs else GROUP_ROWS)
        self._wait()

    def _flush(self, group_rows: int) -> None:
        if not self._waiting_rows:
            return
        table = pa.concat_tables(self._waiting)
        self._waiting.clear()
        self._waiting_rows = self._waiting_bytes = 0
        if not self.limit.in_order:
            table = table.sort_by(_KEY)
        self.runs += 1
        self._wait()
        self._written = self.thread.submit(self.parquet.write_table, table, row_group_size=group_rows)
        if table.nbytes > _BESIDE_BYTES:
            self._wait()
        del table
        pa.default_memory_pool().release_unused()

    def _wait(self) -> None:
        """Until all is written; raises what the thread raised."""
        written, self._written = self._written, None
        if written is not None:
            written.result()


@dataclass(frozen=True, slots=True)
class Limit:
    """How much waits until it is written; rows that come `in_order` need not be sorted."""

    rows: int
    bytes: int
    in_order: bool


@contextmanager
def sorted_file(
    path: Path, schema: pa.Schema, repeated: Sequence[str], footer: Callable[[], Mapping[str, Any]]
) -> Iterator[SpoolWriter]:
    """Write a sorted file at `path`; `footer` is asked once the rows are known; a failure leaves nothing.

    `repeated` are columns of few values, which are kept in a dictionary: it would take long for the others.
    """
    with written_aside(path) as final, ExitStack() as stack:
        writer = _open(stack, final, schema, repeated, Limit(sys.maxsize, RUN_BYTES, in_order=False))
        yield writer
        writer.finish()
        if writer.runs <= 1:
            _close(writer, footer())
            return
        writer.parquet.close()
        merged_path = stack.enter_context(_merged_aside(final))
        merged = _open(stack, merged_path, schema, repeated, Limit(GROUP_ROWS, RUN_BYTES, in_order=True))
        for table in _merged(final, writer.runs):
            merged.write(table)
        merged.finish()
        _close(merged, footer())
        merged_path.replace(final)


@contextmanager
def file_written_in_order(
    path: Path,
    schema: pa.Schema,
    repeated: Sequence[str],
    group_rows: int,
    footer: Callable[[], Mapping[str, Any]],
) -> Iterator[SpoolWriter]:
    """As `sorted_file`, for rows that arrive sorted already, in groups of at least `group_rows`."""
    with written_aside(path) as final, ExitStack() as stack:
        writer = _open(stack, final, schema, repeated, Limit(group_rows, sys.maxsize, in_order=True))
        yield writer
        writer.finish()
        _close(writer, footer())


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """A finished file, held open: its footer, its schema, and its row groups in order."""

    footer: Mapping[str, Any]
    schema: pa.Schema
    _parquet: pq.ParquetFile
    _path: Path
    _remedy: str

    def footer_as(self, kind: type[_Footer]) -> _Footer:
        """The footer as a value; raises FatalError where another version of this package wrote it."""
        try:
            return kind(**self.footer)
        except TypeError:
            raise FatalError(
                f"the spool file {self._path.name} is of another version: {self._remedy}"
            ) from None

    def groups(self) -> Iterator[pa.Table]:
        """One table a row group; raises FatalError where the file is damaged."""
        with _damage(self._path, self._remedy):
            for group in range(self._parquet.num_row_groups):
                table = self._parquet.read_row_group(group)
                _check_rows(table.num_rows, self._parquet.metadata.row_group(group))
                yield table

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """All rows in pieces of up to `rows`, regardless of row groups; raises FatalError as `groups`."""
        with _damage(self._path, self._remedy):
            counted = 0
            # threads would be no faster here, and each keeps memory of its own
            for batch in self._parquet.iter_batches(batch_size=rows, use_threads=False):
                counted += batch.num_rows
                yield batch
            _check_rows(counted, self._parquet.metadata)


@contextmanager
def opened_spool(path: Path, remedy: str) -> Iterator[SpoolFile]:
    """A finished file; raises FatalError, with the remedy, where it is missing or damaged.

    The file stays the same one while it is open, also when a newer one takes its name.
    """
    with ExitStack() as stack:
        with _damage(path, remedy):
            parquet = stack.enter_context(
                pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False, buffer_size=1 << 16)
            )
            footer = json.loads((parquet.metadata.metadata or {})[_FOOTER])
        yield SpoolFile(footer, parquet.schema_arrow, parquet, path, remedy)


def _check_rows(counted: int, promised: pq.FileMetaData | pq.RowGroupMetaData) -> None:
    if counted != promised.num_rows:
        raise pa.ArrowInvalid(f"{counted} rows instead of {promised.num_rows}")


@contextmanager
def _damage(path: Path, remedy: str) -> Iterator[None]:
    """Turn every way in which Parquet meets a broken file into one line with a remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise FatalError(f"the spool file {path.name} is missing: {remedy}") from error
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise FatalError(f"the spool file {path.name} is damaged: {remedy}") from error


def _open(
    stack: ExitStack, path: Path, schema: pa.Schema, repeated: Sequence[str], limit: Limit
) -> SpoolWriter:
    options = {"compression": "zstd", "write_page_checksum": True, "data_page_size": PAGE_BYTES}
    writer = pq.ParquetWriter(path, schema, use_dictionary=list(repeated), **options)
    parquet = stack.enter_context(writer)
    thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="spool-writer"))
    return SpoolWriter(schema, parquet, limit, thread)


def _close(writer: SpoolWriter, footer: Mapping[str, Any]) -> None:
    writer.parquet.add_key_value_metadata({_FOOTER: json.dumps(footer).encode()})
    writer.parquet.close()


@contextmanager
def _merged_aside(final: Path) -> Iterator[Path]:
    merged = final.with_suffix(".merged")
    try:
        yield merged
    finally:
        merged.unlink(missing_ok=True)


def _merged(path: Path, runs: int) -> Iterator[pa.Table]:
    """The rows of all runs, each of which is a row group, in key order, a bounded piece at a time.

    Each run lends its next batch. Rows up to the smallest of the batches' last keys can be sorted and given
    out, since no run can still bring a smaller key.
    """
    batch_rows = max(2_000, _MERGED_ROWS // runs)
    sources = [_Cursor(path, run, batch_rows) for run in range(runs)]
    while sources := [source for source in sources if source.fill()]:
        unfinished = [source.last_key for source in sources if not source.is_last]
        limit = min(unfinished) if unfinished else None
        piece = pa.concat_tables([source.take(limit) for source in sources])
        yield piece.sort_by(_KEY)


class _Cursor:
    """One sorted row group, read a batch at a time."""

    def __init__(self, path: Path, group: int, batch_rows: int) -> None:
        parquet = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16)
        self._batches = parquet.iter_batches(batch_size=batch_rows, row_groups=[group])
        self._left: int = parquet.metadata.row_group(group).num_rows
        self._table: pa.Table | None = None

    @property
    def is_last(self) -> bool:
        """Whether the group has no rows beyond those held now."""
        return self._left == 0

    @property
    def last_key(self) -> str:
        """The greatest key held now."""
        assert self._table is not None  # noqa: S101 - fill() came first
        return str(self._table[_KEY][-1].as_py())

    def fill(self) -> bool:
        """Hold rows, reading on if none are left; False at the group's end."""
        if (self._table is None or not self._table.num_rows) and self._left:
            self._table = pa.Table.from_batches([next(self._batches)])
            self._left -= self._table.num_rows
        return self._table is not None and bool(self._table.num_rows)

    def take(self, limit: str | None) -> pa.Table:
        """Give up the rows with keys up to `limit`, or all."""
        assert self._table is not None  # noqa: S101 - fill() came first
        table = self._table
        count = table.num_rows if limit is None else pc.sum(pc.less_equal(table[_KEY], limit)).as_py()
        self._table = table.slice(count)
        return table.slice(0, count)

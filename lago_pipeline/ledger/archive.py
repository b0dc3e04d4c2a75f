"""The ledger as one portable file: a zip of one Parquet file a table, and a manifest that proves them.

Members are stored, not compressed (Parquet is), so that a reader maps them where they lie.
"""

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from lago_pipeline.errors import ConfigError

BATCH_ROWS = 10_000
_FORMAT = "lago-pipeline ledger 1"
_MANIFEST = "manifest.json"
_LOCAL_HEADER = 30
_BITS = 128

Rows = Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class TableSummary:
    """How many rows a table has, and a sum over them that is the same in every database and order."""

    rows: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds: the schema's version, and a summary of each table."""

    schema_version: str
    tables: Mapping[str, TableSummary]


class Checksum:
    """Adds up rows to a `TableSummary`."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Count rows of integers, text, bytes and nulls."""
        for row in rows:
            self.rows += 1
            text = orjson.dumps(row, default=bytes.hex)
            self._sum += int.from_bytes(blake2b(text, digest_size=_BITS // 8).digest())

    def summary(self) -> TableSummary:
        """The sum of all rows so far."""
        return TableSummary(self.rows, f"{self._sum % (1 << _BITS):0{_BITS // 4}x}")


@dataclass(slots=True)
class ArchiveWriter:
    """Takes tables one after another, in batches."""

    _zip: zipfile.ZipFile
    _tables: dict[str, TableSummary] = field(default_factory=dict)

    def write_table(self, name: str, schema: pa.Schema, batches: Iterable[Rows]) -> None:
        """Add a table, whose rows are tuples in the order of the schema."""
        checksum = Checksum()
        with (
            self._zip.open(_member(name), "w", force_zip64=True) as member,
            pq.ParquetWriter(_Sink(member), schema, compression="zstd", write_page_checksum=True) as parquet,
        ):
            for rows in batches:
                checksum.add(rows)
                parquet.write_batch(_batch(schema, rows))
        self._tables[name] = checksum.summary()

    def finish(self, schema_version: str) -> Manifest:
        """Add the manifest."""
        manifest = Manifest(schema_version, self._tables)
        document = {"format": _FORMAT, **asdict(manifest)}
        self._zip.writestr(_MANIFEST, json.dumps(document, indent=2))
        return manifest


@contextmanager
def archive_written(path: Path, check: Callable[["Archive"], None]) -> Iterator[ArchiveWriter]:
    """A new archive that takes its name once it is whole, on the disk and checked; a failure leaves nothing.

    Raises ConfigError where there is a file of that name, or where it cannot be written.
    """
    if path.exists():
        raise ConfigError(f"{path} exists already: name another file, or remove it")
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with aside.open("xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                yield ArchiveWriter(archive)
            file.flush()
            os.fsync(file.fileno())
        with archive_opened(aside) as written:
            check(written)
        aside.rename(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive of this format whose members are whole, held open."""

    manifest: Manifest
    _path: Path
    _zip: zipfile.ZipFile

    def columns(self, name: str) -> list[str]:
        """The columns of a table, in order."""
        with _damage(self._path):
            return list(self._parquet(name).schema_arrow.names)

    def batches(self, name: str) -> Iterator[Rows]:
        """The rows of a table, in batches of up to BATCH_ROWS."""
        with _damage(self._path):
            batches = self._parquet(name).iter_batches(batch_size=BATCH_ROWS)
        while True:
            with _damage(self._path):
                batch = next(batches, None)
                if batch is None:
                    return
                rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
            yield rows

    def _parquet(self, name: str) -> pq.ParquetFile:
        """A table's member, mapped; the zip's local header before it ends with two names of these lengths."""
        info = self._zip.getinfo(_member(name))
        mapped = pa.memory_map(str(self._path))
        mapped.seek(info.header_offset)
        header = mapped.read(_LOCAL_HEADER)
        names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        mapped.seek(info.header_offset + _LOCAL_HEADER + names)
        return pq.ParquetFile(pa.BufferReader(mapped.read_buffer(info.file_size)))


@contextmanager
def archive_opened(path: Path) -> Iterator[Archive]:
    """An archive whose every byte was checked; raises ConfigError for a damaged or foreign file."""
    with _damage(path):
        archive = zipfile.ZipFile(path)
    with archive:
        with _damage(path):
            if archive.testzip() is not None:
                raise ValueError("a checksum is wrong")
            manifest = _manifest(json.loads(archive.read(_MANIFEST)))
        yield Archive(manifest, path, archive)


def _manifest(document: dict[str, Any]) -> Manifest:
    if document["format"] != _FORMAT:
        raise ValueError("another format")
    tables = {name: TableSummary(**summary) for name, summary in document["tables"].items()}
    return Manifest(document["schema_version"], tables)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn every way in which a file fails to be an archive into one line."""
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (OSError, zipfile.BadZipFile, LookupError, TypeError, ValueError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path} is no ledger export, or is damaged: export the ledger again, and copy the file as it is"
        ) from error


def _member(name: str) -> str:
    return f"{name}.parquet"


def _batch(schema: pa.Schema, rows: Rows) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


class _Sink:
    """A member of a zip as Parquet wants its file: one that knows its position."""

    closed = False

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member
        self._position = 0

    def write(self, data: bytes) -> int:
        self._position += len(data)
        return self._member.write(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """The zip closes its member itself."""

"""Where the files of a sync's partitions lie, and when they are old enough to go."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lago_pipeline.errors import RetriableError


@dataclass(frozen=True, slots=True)
class Spool:
    """The spool folder; `rows` and `events` name the files of one partition.

    Partition keys are percent-encoded in file names, since ':' and '+' occur in them.
    """

    folder: Path

    def rows(self, sync_name: str, partition_key: str) -> Path:
        """The extracted usage rows of a partition."""
        return self._file(sync_name, partition_key, "rows")

    def events(self, sync_name: str, partition_key: str) -> Path:
        """The rendered events of a partition."""
        return self._file(sync_name, partition_key, "events")

    def remove_older_than(self, sync_name: str, instant: float) -> int:
        """Delete a sync's files last written before an instant, in epoch seconds; returns how many."""
        removed = 0
        for path in self._sync(sync_name).glob("*"):
            with suppress(FileNotFoundError):  # another run renames or removes it meanwhile
                if path.stat().st_mtime < instant:
                    path.unlink()
                    removed += 1
        return removed

    def _file(self, sync_name: str, partition_key: str, kind: str) -> Path:
        return self._sync(sync_name) / f"{quote(partition_key, safe='')}.{kind}.parquet"

    def _sync(self, sync_name: str) -> Path:
        return self.folder / quote(sync_name, safe="")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A new file beside `path` that takes its name once it is whole, so that a crash leaves no half file.

    Raises RetriableError when the disk is full or the folder cannot be written; the old file stays.
    """
    aside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
        os.close(handle)
        aside = Path(name)
        yield aside
        _synced(aside)
        aside.replace(path)
        _synced(path.parent)
    except OSError as error:
        words = error.strerror or str(error).splitlines()[0]
        raise RetriableError(f"the spool {path.parent} cannot be written: {words}") from error
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def _synced(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""The file of rendered events: what to send, or why not, one line a row."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from lago_pipeline.event import EVENT_SCHEMA, Events
from lago_pipeline.spool.parquet import (
    SpoolFile,
    SpoolWriter,
    file_written_in_order,
    opened_spool,
)

_REPEATED = ["event_index", "code", "external_subscription_id", "problem"]
GROUP_EVENTS = 20_000
"""A group is what a delivery plans, marks and holds in memory at once."""


@dataclass(frozen=True, slots=True)
class EventsFooter:
    """What the events file says of itself: the snapshot and count of its rows, and what became of them.

    `duplicates` are rows that repeated another letter for letter and were collapsed into it; `digest` is
    the sum of all fingerprints as hexadecimal.
    """

    snapshot_ms: int
    rows: int
    events: int
    duplicates: int
    problems: int
    digest: str
    template_hash: str
    run: str
    source_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class EventsWriter:
    """Writes events in the order of their keys."""

    _writer: SpoolWriter

    def write(self, events: pa.RecordBatch) -> None:
        """Add events: all that share a key, so that a group is a range of keys."""
        self._writer.write(pa.Table.from_batches([events]))


@contextmanager
def events_written(path: Path, footer: Callable[[], EventsFooter]) -> Iterator[EventsWriter]:
    """Write a partition's events at `path`; the file appears whole or not at all."""
    with file_written_in_order(path, EVENT_SCHEMA, _REPEATED, GROUP_EVENTS, lambda: asdict(footer())) as file:
        yield EventsWriter(file)


@dataclass(frozen=True, slots=True)
class EventsFile:
    """An open events file: its footer, and its events in groups of about 20,000 in key order."""

    footer: EventsFooter
    _file: SpoolFile

    def groups(self) -> Iterator[Events]:
        """The events of one row group after another; a file without rows has none."""
        return map(Events, self._file.groups())


@contextmanager
def events_opened(path: Path) -> Iterator[EventsFile]:
    """Open a partition's events; raises FatalError where they were never rendered."""
    with opened_spool(path, "materialize events for this partition again") as file:
        yield EventsFile(file.footer_as(EventsFooter), file)

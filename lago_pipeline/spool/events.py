"""The file of rendered events: what to send, or why not, one line a row."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from lago_pipeline.event import Event
from lago_pipeline.spool.parquet import SpoolFile, SpoolWriter, file_written_in_order, opened_spool

_SCHEMA = pa.schema(
    [
        ("row_key", pa.string()),
        ("event_index", pa.int32()),
        ("transaction_id", pa.string()),
        ("code", pa.string()),
        ("external_subscription_id", pa.string()),
        ("timestamp_ms", pa.int64()),
        ("properties", pa.string()),
        ("body", pa.binary()),
        ("fingerprint", pa.binary(16)),
        ("problem", pa.string()),
    ]
)
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


@dataclass(slots=True)
class EventsWriter:
    """Writes events in the order of their keys, keeping a small buffer."""

    _writer: SpoolWriter
    _buffer: list[Event]

    def write(self, event: Event) -> None:
        """Add one event; events that share a key stay in one group, so that a group is a range of keys."""
        if len(self._buffer) >= GROUP_EVENTS and self._buffer[-1].row_key != event.row_key:
            self.flush()
        self._buffer.append(event)

    def flush(self) -> None:
        """Hand the buffer to the file."""
        columns = [[getattr(event, name) for event in self._buffer] for name in Event._fields]
        self._writer.write(pa.table(columns, schema=_SCHEMA))
        self._buffer.clear()


@contextmanager
def events_written(path: Path, footer: Callable[[], EventsFooter]) -> Iterator[EventsWriter]:
    """Write a partition's events at `path`; the file appears whole or not at all."""
    with file_written_in_order(path, _SCHEMA, GROUP_EVENTS, lambda: asdict(footer())) as file:
        writer = EventsWriter(file, [])
        yield writer
        writer.flush()


@dataclass(frozen=True, slots=True)
class EventsFile:
    """An open events file: its footer, and its events in groups of about 20,000 in key order."""

    footer: EventsFooter
    _file: SpoolFile

    def groups(self) -> Iterator[list[Event]]:
        """The events, one list a row group; a file without rows has none."""
        for table in self._file.groups():
            columns = [table[name].to_pylist() for name in Event._fields]
            yield [Event(*values) for values in zip(*columns, strict=True)]


@contextmanager
def events_opened(path: Path) -> Iterator[EventsFile]:
    """Open a partition's events; raises FatalError where they were never rendered."""
    with opened_spool(path, "materialize events for this partition again") as file:
        yield EventsFile(file.footer_as(EventsFooter), file)

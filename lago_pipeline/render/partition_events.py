"""All rows of a partition to events: duplicates of a key are settled here, each row by its own rules."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lago_pipeline.arrow import column_values
from lago_pipeline.event import Event, event_batch, events_of
from lago_pipeline.refusals import Problem, Reason
from lago_pipeline.render.inputs import Inputs
from lago_pipeline.render.renderer import EventRenderer
from lago_pipeline.render.slot import Row
from lago_pipeline.spool.rows import StoredRow, StoredRows


@dataclass(slots=True)
class RenderCounts:
    """Counted while rendering: `rows` read, exact `duplicates` collapsed, and `problems` carried on.

    `singly` are the rows that were rendered one at a time, most of them for their problems.
    """

    rows: int = 0
    duplicates: int = 0
    events: int = 0
    problems: int = 0
    singly: int = 0
    digest: int = 0


def partition_events(
    renderer: EventRenderer, columns: Sequence[str], rows: Iterable[StoredRows], counts: RenderCounts
) -> Iterator[pa.RecordBatch]:
    """The events of rows sorted by key, in the same order; `counts` is kept while they are taken.

    Rows that repeat another letter for letter collapse into it. Rows that share a key and differ are all
    refused: nobody can say which of them is to be billed.
    """
    rendering = _Rendering(renderer, columns, counts)
    for whole in _with_whole_keys(rows):
        events = rendering.events(whole)
        counts.rows += len(whole)
        counts.events += len(events)
        counts.problems += len(events) - events["problem"].null_count
        counts.digest = (counts.digest + _digest(events["fingerprint"])) % (1 << 128)
        yield events


def _with_whole_keys(rows: Iterable[StoredRows]) -> Iterator[StoredRows]:
    """The same rows in the same order, cut so that those of one key are together."""
    held: StoredRows | None = None
    for piece in rows:
        if not held:
            held = piece
            continue
        last, start = held.row_keys[-1], 0
        while start < len(piece) and piece.row_keys[start] == last:
            start += 1
        if start:
            held = held.followed_by(piece.between(0, start))
        if start < len(piece):
            yield held
            held = piece.between(start, len(piece))
    if held:
        yield held


@dataclass(frozen=True, slots=True)
class _Rendering:
    """Renders rows by the compiled template, and those that it leaves one at a time."""

    renderer: EventRenderer
    columns: Sequence[str]
    counts: RenderCounts

    def events(self, rows: StoredRows) -> pa.RecordBatch:
        """The events of rows, all those of a key among them."""
        inputs = Inputs(rows, self.columns, self.renderer.sync.source.timezone)
        inputs.left |= self._keyless(rows)
        events, left = self.renderer.template.compiled.render(inputs, self.renderer.partition)
        if left:
            events = _replaced(events, left, event_batch(self._single(rows.row(row)) for row in left))
        keys = rows.row_keys
        if not pc.any(pc.equal(keys.slice(1), keys.slice(0, len(keys) - 1))).as_py():
            return events
        settled = event_batch(self._settled(rows, list(events_of(events))))
        self.counts.duplicates += len(rows) - len(settled)
        return settled

    def _keyless(self, rows: StoredRows) -> NDArray[np.bool_]:
        """Whether a part of the primary key is NULL."""
        found = np.zeros(len(rows), np.bool_)
        for name in self.renderer.sync.source.primary_key:
            found |= rows.texts[self.columns.index(name)].is_null().to_numpy(zero_copy_only=False)
        return found

    def _settled(self, rows: StoredRows, events: Sequence[Event]) -> Iterator[Event]:
        """As many events for each key as it has different rows."""
        numbered = enumerate(rows)
        for _, same in groupby(numbered, key=lambda one: one[1].row_key):
            copies = {row: events[index] for index, row in same}
            if len(copies) == 1:
                yield from copies.values()
                continue
            for index, stored in enumerate(sorted(copies, key=lambda row: (row.types, str(row.texts)))):
                yield self._single(stored, index, len(copies))

    def _single(self, stored: StoredRow, index: int = 0, distinct: int = 1) -> Event:
        """The event of one row by python-liquid, or its problem."""
        self.counts.singly += 1
        row = dict(zip(self.columns, stored.values(), strict=True))
        problem = self._problem(stored.row_key, row, distinct)
        if problem is not None:
            return self.renderer.refused(stored.row_key, index, row, problem)
        return self.renderer.event(stored.row_key, row)

    def _problem(self, row_key: str, row: Row, distinct: int) -> Problem | None:
        """What is wrong with a row's key."""
        primary_key = self.renderer.sync.source.primary_key
        if any(row[name] is None for name in primary_key):
            return Problem(Reason.MISSING_PRIMARY_KEY, f"{', '.join(primary_key)} is null")
        if distinct > 1:
            detail = f"{distinct} different rows have the key {row_key[:60]}"
            return Problem(Reason.DUPLICATE_KEY, detail)
        return None


def _replaced(events: pa.RecordBatch, rows: Sequence[int], others: pa.RecordBatch) -> pa.RecordBatch:
    """The same events, but others in these rows."""
    order = np.arange(len(events))
    order[rows] = len(events) + np.arange(len(rows))
    return pa.concat_batches([events, others]).take(pa.array(order))


def _digest(fingerprints: pa.FixedSizeBinaryArray) -> int:
    return sum(map(int.from_bytes, column_values(fingerprints)))

"""All rows of a partition to events: duplicates of a key are settled here, each row by its own rules."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, groupby, islice
from operator import eq
from typing import Any

from lago_pipeline.event import Event, EventColumns
from lago_pipeline.refusals import Problem, Reason
from lago_pipeline.render.compiled import Rendered
from lago_pipeline.render.inputs import column_in_form
from lago_pipeline.render.renderer import EventRenderer
from lago_pipeline.render.slot import Row
from lago_pipeline.spool.rows import StoredRow, StoredRows
from lago_pipeline.values import PLAUSIBLE_MS


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
) -> Iterator[EventColumns]:
    """The events of rows sorted by key, in the same order; `counts` is kept while they are taken.

    Rows that repeat another letter for letter collapse into it. Rows that share a key and differ are all
    refused: nobody can say which of them is to be billed.
    """
    rendering = _Rendering(renderer, columns, counts)
    for whole in _with_whole_keys(rows):
        events = rendering.events(whole)
        counts.rows += len(whole)
        counts.events += len(events.row_key)
        counts.problems += len(events.problem) - events.problem.count(None)
        counts.digest = (counts.digest + sum(map(int.from_bytes, events.fingerprint))) % (1 << 128)
        yield events


def _with_whole_keys(rows: Iterable[StoredRows]) -> Iterator[StoredRows]:
    """The same rows in the same order, cut so that those of one key are together."""
    held: StoredRows | None = None
    for piece in rows:
        if held is None:
            held = piece
            continue
        last, start = held.row_keys[-1], 0
        while start < len(piece) and piece.row_keys[start] == last:
            start += 1
        if start:
            held = held.followed_by(piece.between(0, start))
        if start < len(piece):
            yield held
            held = piece.between(start, len(piece)) if start else piece
    if held is not None:
        yield held


@dataclass(frozen=True, slots=True)
class _Rendering:
    """Renders rows by the compiled template, and those that it leaves one at a time."""

    renderer: EventRenderer
    columns: Sequence[str]
    counts: RenderCounts

    def events(self, rows: StoredRows) -> EventColumns:
        """The events of rows, all those of a key among them."""
        events, left = self._compiled(rows)
        columns: tuple[list[Any], ...] = events
        for index in sorted({*left, *self._keyless(rows)}):
            for column, value in zip(columns, self._single(rows.row(index)), strict=True):
                column[index] = value
        keys = rows.row_keys
        if not any(map(eq, keys, islice(keys, 1, None))):
            return events
        settled = EventColumns.of(self._settled(rows, list(events.events())))
        self.counts.duplicates += len(rows) - len(settled.row_key)
        return settled

    def _compiled(self, rows: StoredRows) -> Rendered:
        template, partition = self.renderer.template.compiled, self.renderer.partition
        zone = self.renderer.sync.source.timezone
        inputs = [
            column_in_form(rows, self.columns.index(column), form, zone) for column, form in template.inputs
        ]
        start, end = max(partition.start_ms, PLAUSIBLE_MS.start), min(partition.end_ms, PLAUSIBLE_MS.stop)
        return template.render(start, end, rows.row_keys, *inputs)

    def _keyless(self, rows: StoredRows) -> Iterator[int]:
        """The rows in which a part of the primary key is NULL."""
        for name in self.renderer.sync.source.primary_key:
            texts = rows.texts[self.columns.index(name)]
            if None in texts:
                yield from compress(range(len(rows)), [text is None for text in texts])

    def _settled(self, rows: StoredRows, events: Sequence[Event]) -> Iterator[Event]:
        """As many events for each key as it has different rows."""
        for _, indexes in groupby(range(len(rows)), key=rows.row_keys.__getitem__):
            copies = {rows.row(index): events[index] for index in indexes}
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

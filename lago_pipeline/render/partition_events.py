"""All rows of a partition to events: duplicates of a key are settled here, each row by its own rules."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from lago_pipeline.event import Event
from lago_pipeline.refusals import Problem, Reason
from lago_pipeline.render.renderer import EventRenderer
from lago_pipeline.spool.rows import StoredRow


@dataclass(slots=True)
class RenderCounts:
    """Counted while rendering: `rows` read, exact `duplicates` collapsed, and `problems` carried on."""

    rows: int = 0
    duplicates: int = 0
    events: int = 0
    problems: int = 0
    digest: int = 0


def partition_events(
    renderer: EventRenderer, columns: Sequence[str], rows: Iterable[StoredRow], counts: RenderCounts
) -> Iterator[Event]:
    """The events of rows sorted by key, in the same order; `counts` is kept while they are taken.

    Rows that repeat another letter for letter collapse into it. Rows that share a key and differ are all
    refused: nobody can say which of them is to be billed.
    """
    for _, same_key in groupby(rows, key=attrgetter("row_key")):
        copies = list(same_key)
        distinct = (
            copies if len(copies) == 1 else sorted(set(copies), key=lambda row: (row.types, str(row.texts)))
        )
        counts.rows += len(copies)
        counts.duplicates += len(copies) - len(distinct)
        for index, stored in enumerate(distinct):
            event = _event(renderer, columns, stored, index, len(distinct))
            counts.events += 1
            counts.problems += event.problem is not None
            counts.digest = (counts.digest + int.from_bytes(event.fingerprint)) % (1 << 128)
            yield event


def _event(
    renderer: EventRenderer, columns: Sequence[str], stored: StoredRow, index: int, distinct: int
) -> Event:
    row = dict(zip(columns, stored.values(), strict=True))
    if any(row[name] is None for name in renderer.sync.source.primary_key):
        key = ", ".join(renderer.sync.source.primary_key)
        return renderer.refused(
            stored.row_key, index, row, Problem(Reason.MISSING_PRIMARY_KEY, f"{key} is null")
        )
    if distinct > 1:
        detail = f"{distinct} different rows have the key {stored.row_key[:60]}"
        return renderer.refused(stored.row_key, index, row, Problem(Reason.DUPLICATE_KEY, detail))
    return renderer.event(stored.row_key, row)

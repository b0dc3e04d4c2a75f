"""What `lago-pipeline status` shows of a sync: the lines of its table, and the objects of its JSON."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lago_pipeline.cli.paused import stopped_of
from lago_pipeline.cli.project import ProjectSync
from lago_pipeline.ledger.registry import RemovedSync
from lago_pipeline.partition import from_epoch_ms
from lago_pipeline.watch.status import Line, SyncStatus

_COUNTS = ("extracted", "billed", "changed", "removed", "unbilled")
_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS
_RUN_WIDTH = 8
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """One sync of the project as it stands at `now_ms`."""

    item: ProjectSync
    status: SyncStatus
    now_ms: int


def cells(each: Shown, line: Line) -> dict[str, str]:
    """A line of the table; what is zero or unknown is empty."""
    counts = {name: f"{count:,}" if count else "" for name, count in _counts(line).items()}
    since_ms, next_ms, record = line.waiting_since_ms, line.next_attempt_ms, line.record
    return {
        "sync": each.item.sync.name,
        "partition": _span(line) + (f", {line.partitions:,} partitions" if line.partitions > 1 else ""),
        "state": line.state.value,
        **counts,
        "reasons": record.reasons if record else "",
        "age": age(line.age_ms(each.now_ms)),
        "waiting since": "" if since_ms is None else minute(since_ms),
        "next attempt": "" if next_ms is None else "due" if next_ms <= each.now_ms else minute(next_ms),
        "attempts": str(record.attempts or "") if record else "",
        "last run": (line.run_id or "")[:_RUN_WIDTH],
    }


def rows_of(each: Shown, stopped: Collection[str] | None) -> Iterator[Row]:
    """The JSON of a sync's lines, or of the sync alone."""
    summary = _summary(each, stopped)
    lines: Sequence[Line | None] = each.status.lines or [None]
    for line in lines:
        yield _row(each.item.sync.name, each.item.sync.destination, line, each.now_ms, summary)


def removed_row(gone: RemovedSync) -> Row:
    """The JSON of a sync that the project has no more."""
    summary = {"removed": True, "open": gone.open, "unsettled": gone.unsettled}
    return {**_row(gone.name, gone.destination, None, 0, summary), "state": "removed"}


def _row(name: str, destination: str, line: Line | None, now_ms: int, summary: Row) -> Row:
    record = line.record if line else None
    age_ms = line.age_ms(now_ms) if line else None
    return {
        "sync": name,
        "destination": destination,
        "partition": _span(line) if line else None,
        "partition_from": line.first.key if line else None,
        "partition_to": line.last.key if line else None,
        "partitions": line.partitions if line else 0,
        "state": line.state.value if line else None,
        **_counts(line),
        "reasons": record.reasons if record else "",
        "age_seconds": None if age_ms is None else age_ms // 1000,
        "waiting_since": _iso(line.waiting_since_ms if line else None),
        "snapshot_at": _iso(record.snapshot_ms if record else None),
        "next_attempt_at": _iso(line.next_attempt_ms if line else None),
        "attempts": record.attempts if record else 0,
        "run_id": line.run_id if line else None,
        "updated_at": _iso(record.updated_ms if record else None),
        "summary": summary,
    }


def _summary(each: Shown, stopped: Collection[str] | None) -> Row:
    found, oldest = each.status, each.status.oldest_unsettled
    return {
        "removed": False,
        "activated_at": _iso(found.activated_at_ms),
        "has_schedule": each.item.schedule is not None,
        "stopped": None if stopped is None else stopped_of(each.item.sync.name, stopped),
        "open": found.open,
        "unsettled": found.unsettled,
        "closed": found.closed,
        "unbilled": found.unbilled,
        "oldest_unsettled": oldest.first.key if oldest else None,
    }


def _counts(line: Line | None) -> dict[str, int | None]:
    """A partition's rows by what became of them; None for what was never begun."""
    if line is None or line.record is None:
        return dict.fromkeys(_COUNTS)
    counts = line.record.counts
    billed = counts.unchanged + counts.accepted + counts.changed
    return dict(zip(_COUNTS, (counts.extracted, billed, counts.changed, counts.removed, counts.unbilled),
                    strict=True))  # fmt: skip


def _span(line: Line) -> str:
    return line.first.key if line.partitions == 1 else f"{line.first.key} .. {line.last.key}"


def age(age_ms: int | None) -> str:
    """A length of time in words, such as `3 d`; empty for what has not ended."""
    if age_ms is None:
        return ""
    unit, name = next(
        (each for each in ((_DAY_MS, "d"), (_HOUR_MS, "h")) if age_ms >= each[0]), (_MINUTE_MS, "min")
    )
    return f"{age_ms // unit:,} {name}"


def minute(instant_ms: int) -> str:
    """An instant as people read it, in UTC."""
    return f"{from_epoch_ms(instant_ms):%Y-%m-%dT%H:%MZ}"


def _iso(instant_ms: int | None) -> str | None:
    if instant_ms is None:
        return None
    return from_epoch_ms(instant_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")

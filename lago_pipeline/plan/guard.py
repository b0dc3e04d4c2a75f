"""What must hold before a partition's events may be planned at all."""

from dataclasses import dataclass

from lago_pipeline.errors import ConfigError, ConfirmationNeeded, FatalError
from lago_pipeline.ledger.partitions import FINGERPRINT_VERSION, PartitionRecord
from lago_pipeline.partition import Partition, from_epoch_ms
from lago_pipeline.spool.events import EventsFooter

_MANY_TIMES = 10
_FEWEST_EVENTS = 1000
"""Fewer are never unusual: a small customer's first busy day must not wake anybody."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many events a run may send without a person, and in words why no more."""

    events: int
    why: str


def check_template(footer: EventsFooter, template_hash: str, partition: Partition) -> None:
    """Raise ConfigError when the events were rendered from another template than the sync has now."""
    if footer.template_hash != template_hash:
        raise ConfigError(
            f"partition {partition.key}: its events were rendered from another template: "
            "materialize events again, then deliveries"
        )


def check_snapshot(footer: EventsFooter, record: PartitionRecord | None, partition: Partition) -> None:
    """Raise FatalError when the file is older than what is settled: it would undo newer rows."""
    if record and record.snapshot_ms is not None and footer.snapshot_ms < record.snapshot_ms:
        raise FatalError(
            f"partition {partition.key}: its spool file of {from_epoch_ms(footer.snapshot_ms)} is older than "
            f"what was settled, {from_epoch_ms(record.snapshot_ms)}: materialize usage_rows again "
            "(if it was just read, this machine's clock was set back: correct it first)"
        )


def volume_limit(usual: int | None, most: int | None) -> Limit | None:
    """The smaller of what a sync allows and many times the usual rows of a partition; None for no limit."""
    limits = []
    if most is not None:
        limits.append(Limit(most, "delivery.max_events_per_run allows"))
    if usual is not None:
        many = max(_MANY_TIMES * usual, _FEWEST_EVENTS - 1)
        limits.append(Limit(many, f"are {_MANY_TIMES} times the usual {usual:,}"))
    return min(limits, key=lambda limit: limit.events, default=None)


def check_volume(events: int, limit: Limit, sync: str, partition: Partition) -> None:
    """Raise ConfirmationNeeded where a run would send more events of a partition than its limit."""
    key = partition.key
    if events > limit.events:
        raise ConfirmationNeeded(
            f"partition {key}: {events:,} events would be sent, and {limit.events:,} {limit.why}: look for a "
            "join that multiplies rows; to send them, "
            f"lago-pipeline run {sync} --from {key} --to {key} --confirm"
        )


def collapse_words(events: int, accepted: int) -> str | None:
    """What to say where most of what was accepted has no row any more; None where that is not so."""
    if accepted < _FEWEST_EVENTS or events * 2 > accepted:
        return None
    return (
        f"the source gives {events:,} rows where {accepted:,} were billed before: look whether rows vanished"
    )


def is_nothing_new(footer: EventsFooter, record: PartitionRecord | None) -> bool:
    """Whether the digest alone proves that every event of the file is accepted and unchanged."""
    return record is not None and record.digest is not None and record.digest == file_digest(footer)


def file_digest(footer: EventsFooter) -> str:
    """The count and sum of a file's fingerprints, as the ledger keeps it."""
    return f"{FINGERPRINT_VERSION}:{footer.events}:{footer.digest}"

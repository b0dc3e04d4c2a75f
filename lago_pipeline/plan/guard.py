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
class Volume:
    """Events that a run would send, the usual rows of a partition if known, and the most a sync allows."""

    to_send: int
    usual: int | None
    most: int | None


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


def check_volume(volume: Volume, sync: str, partition: Partition) -> None:
    """Raise ConfirmationNeeded where a run would send more than a sync allows, or many times the usual."""
    limit, why = volume.most, "delivery.max_events_per_run allows"
    if volume.usual is not None and volume.to_send >= _FEWEST_EVENTS:
        usual_limit = _MANY_TIMES * volume.usual
        if limit is None or usual_limit < limit:
            limit, why = usual_limit, f"are {_MANY_TIMES} times the usual {volume.usual:,}"
    if limit is not None and volume.to_send > limit:
        key = partition.key
        raise ConfirmationNeeded(
            f"partition {key}: {volume.to_send:,} events would be sent, and {limit:,} {why}: look for a join "
            f"that multiplies rows; to send them, lago-pipeline run {sync} --from {key} --to {key} --confirm"
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

"""What must hold before a partition's events may be planned at all."""

from lago_pipeline.errors import ConfigError, FatalError
from lago_pipeline.ledger.partitions import FINGERPRINT_VERSION, PartitionRecord
from lago_pipeline.partition import Partition, from_epoch_ms
from lago_pipeline.spool.events import EventsFooter


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


def is_nothing_new(footer: EventsFooter, record: PartitionRecord | None) -> bool:
    """Whether the digest alone proves that every event of the file is accepted and unchanged."""
    return record is not None and record.digest is not None and record.digest == file_digest(footer)


def file_digest(footer: EventsFooter) -> str:
    """The count and sum of a file's fingerprints, as the ledger keeps it."""
    return f"{FINGERPRINT_VERSION}:{footer.events}:{footer.digest}"

"""What a run counted, the two laws that the counts must obey, and how people read them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum


class Status(StrEnum):
    """The final states of an event in the ledger."""

    ACCEPTED = "accepted"
    IGNORED = "ignored"
    HELD = "held"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"
    CONFLICT = "conflict"


UNBILLED = (Status.HELD, Status.REJECTED, Status.QUARANTINED, Status.CONFLICT)
"""The red states that the ledger keeps; `pending` is red too, and has no line."""


@dataclass(frozen=True, slots=True)
class Counts:
    """One run of one partition, in events.

    `extracted` rows after `duplicates` (exact repeats) were collapsed; `removed` are accepted events whose
    row is gone; `planned` events were due; every other count is the final state of a row.
    """

    extracted: int = 0
    unchanged: int = 0
    accepted: int = 0
    changed: int = 0
    removed: int = 0
    ignored: int = 0
    held: int = 0
    rejected: int = 0
    quarantined: int = 0
    conflict: int = 0
    pending: int = 0
    planned: int = 0
    duplicates: int = 0

    @property
    def unbilled(self) -> int:
        """Rows in a red state: usage that is not billed."""
        return self.held + self.rejected + self.quarantined + self.conflict + self.pending

    @property
    def billed(self) -> int:
        """Events that the ledger held as accepted after the run."""
        return self.accepted + self.unchanged + self.changed + self.removed

    @property
    def is_settled(self) -> bool:
        """Whether no row is in a red state."""
        return self.unbilled == 0

    def as_mapping(self) -> Mapping[str, int]:
        """The counts by name."""
        return asdict(self)


COUNT_NAMES = tuple(item.name for item in fields(Counts))


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason with how many rows it keeps from being billed, an example, and what to do."""

    status: Status
    reason: str
    count: int
    example: str
    words: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Wire:
    """What the delivery did on the wire; times in seconds, latencies in milliseconds."""

    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    latency_p50_ms: float = 0.0
    latency_p99_ms: float = 0.0
    throttled_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """The result of one delivery: counts, the wire, refusals by reason, and each broken law in words."""

    partition_key: str
    counts: Counts
    wire: Wire = field(default_factory=Wire)
    refusals: tuple[Refusal, ...] = ()
    broken_laws: tuple[str, ...] = ()
    lag_seconds: float = 0.0
    stopped: str | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the run came to its end, everything is billed, and every count agrees."""
        return self.counts.is_settled and not self.broken_laws and self.stopped is None

    @property
    def events_per_second(self) -> float:
        """Newly accepted events a second of delivery."""
        return self.counts.accepted / self.wire.seconds if self.wire.seconds else 0.0

    def numbers(self) -> Mapping[str, int | float]:
        """The numbers that are plotted, by their stable names."""
        counts = {name: value for name, value in self.counts.as_mapping().items() if name != "planned"}
        return {
            **counts,
            **asdict(self.wire),
            "events_per_second": self.events_per_second,
            "lag_seconds": self.lag_seconds,
        }


def broken_laws(counts: Counts, *, source_rows: int, ledger: Mapping[str, int]) -> tuple[str, ...]:
    """Each law of accounting that the counts break, in words; empty when all is accounted for.

    `source_rows` is what the source gave, `ledger` the ledger's own count of lines by status: both are
    counted apart from the run's counts.
    """
    rows = counts.extracted - counts.changed - counts.unchanged - counts.accepted - counts.ignored
    events = counts.planned - counts.accepted
    has = {status: ledger.get(status, 0) for status in Status}
    sides = (
        ("rows: the source gave", source_rows, "the run counts", counts.extracted + counts.duplicates),
        ("rows: not final are", rows, "unbilled are", counts.unbilled),
        ("events: planned and not accepted are", events, "unbilled are", counts.unbilled),
        ("the ledger holds accepted", has[Status.ACCEPTED], "the run counts",
         counts.billed),
        *((f"the ledger holds {status}", has[status], "the run counts", getattr(counts, status))
          for status in UNBILLED),
    )  # fmt: skip
    return tuple(
        f"{left_name} {left}, {right_name} {right}: off by {abs(left - right)}"
        for left_name, left, right_name, right in sides
        if left != right
    )

"""One partition of a sync: a half-open window of time with a key."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Partition:
    """The window [`start`, `end`), both aware; `key` is Dagster's partition key for it."""

    key: str
    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None or self.end <= self.start:
            raise ValueError(f"partition {self.key!r} needs aware bounds, start before end")

    @property
    def start_ms(self) -> int:
        """The first instant, in epoch milliseconds: the ledger's name for this partition."""
        return epoch_ms(self.start)

    @property
    def end_ms(self) -> int:
        """The first instant after the partition, in epoch milliseconds."""
        return epoch_ms(self.end)

    def holds(self, instant_ms: int) -> bool:
        """Whether an instant, in epoch milliseconds, lies inside the window."""
        return self.start_ms <= instant_ms < self.end_ms


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def epoch_ms(instant: datetime) -> int:
    """Epoch milliseconds of an aware datetime, rounded down so that an instant never leaves its window."""
    return (instant - _EPOCH) // _MILLISECOND


def from_epoch_ms(instant_ms: int) -> datetime:
    """The aware UTC datetime of an instant in epoch milliseconds."""
    return _EPOCH + instant_ms * _MILLISECOND

"""One partition of a sync: a half-open window of time with a key."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Partition:
    """The window [`start`, `end`), both aware; `key` is Dagster's partition key for it.

    `start_ms` is the first instant in epoch milliseconds, the ledger's name for the partition, and `end_ms`
    the first instant after it.
    """

    key: str
    start: datetime
    end: datetime
    start_ms: int = field(init=False, repr=False, compare=False)
    end_ms: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"partition {self.key!r} needs aware bounds")
        object.__setattr__(self, "start_ms", epoch_ms(self.start))
        object.__setattr__(self, "end_ms", epoch_ms(self.end))
        # compared as instants: two times of one zone compare by the clock, which may have gone back
        if self.end_ms <= self.start_ms:
            raise ValueError(f"partition {self.key!r} ends before it starts")

    def holds(self, instant_ms: int) -> bool:
        """Whether an instant, in epoch milliseconds, lies inside the window."""
        return self.start_ms <= instant_ms < self.end_ms


class Calendar(Protocol):
    """A sync's partitions over time; instants are epoch milliseconds."""

    @property
    def first_ms(self) -> int:
        """The start of the first partition."""

    def at(self, instant_ms: int) -> Partition | None:
        """The partition that holds an instant; None before the first one."""

    def within(self, start_ms: int, end_ms: int) -> list[Partition]:
        """The partitions that begin at `start_ms` or later, and before `end_ms`, in order."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def epoch_ms(instant: datetime) -> int:
    """Epoch milliseconds of an aware datetime, rounded down so that an instant never leaves its window."""
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def from_epoch_ms(instant_ms: int) -> datetime:
    """The aware UTC datetime of an instant in epoch milliseconds."""
    return _EPOCH + instant_ms * _MILLISECOND

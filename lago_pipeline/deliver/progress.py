"""A delivery that takes long says how far it is, and tells the hooks what it does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lago_pipeline.deliver.result import BatchResult
from lago_pipeline.instrumentation import (
    BatchDetails,
    ProgressDetails,
    RefusedDetails,
    RetryDetails,
    is_heard,
    tell,
)
from lago_pipeline.ledger.outcomes import Outcome, count_events
from lago_pipeline.report import UNBILLED, Status

EVERY_SECONDS = 5.0
_TELL_EVERY_SECONDS = 0.5


@dataclass(slots=True)
class Progress:
    """Counts a partition's events with an outcome; `say` hears of it every few seconds, hooks more often."""

    sync: str
    partition: str
    total: int
    say: Callable[[str], None]
    clock: Callable[[], float]
    done: int = 0
    _started: float = 0.0
    _said_at: float = 0.0
    _told_at: float = 0.0

    def __post_init__(self) -> None:
        self._started = self._said_at = self._told_at = self.clock()

    def add(self, events: int, limit: int) -> None:
        """Count events that reached an outcome; `limit` requests may be in flight."""
        if not events:
            return
        self.done += events
        now = self.clock()
        is_end = self.done >= self.total
        if not is_end and now - self._told_at < _TELL_EVERY_SECONDS:
            return
        self._told_at = now
        details = ProgressDetails(
            self.sync, self.partition, self.done, self.total, now - self._started, limit
        )
        tell(details)
        if now - self._said_at >= EVERY_SECONDS:
            self._said_at = now
            self.say(_line(details))

    def took(self, result: BatchResult) -> None:
        """Tell of a batch, and of those of its events that are not billed."""
        self.refused(result.outcomes)
        if is_heard(BatchDetails):
            known, duplicates, pending = result.settled, len(result.duplicates), len(result.pending)
            taken = (outcome for outcome in result.outcomes if outcome.status is Status.ACCEPTED)
            accepted = count_events(taken)
            counts = (known + duplicates + pending, accepted, known - accepted, duplicates, pending)
            tell(BatchDetails(self.sync, self.partition, *counts))

    def refused(self, outcomes: Sequence[Outcome]) -> None:
        """Tell of events that are not billed."""
        for outcome in outcomes if is_heard(RefusedDetails) else ():
            if outcome.status in UNBILLED:
                status, http_status = outcome.status.value, outcome.http_status
                for key, words in zip(outcome.events.column("row_key"), outcome.reasons, strict=True):
                    tell(RefusedDetails(self.sync, self.partition, key, status, words or "", http_status))

    def retries(self, attempt: int, words: str, wait_seconds: float) -> None:
        """Tell of a request that is tried again."""
        tell(RetryDetails(self.sync, self.partition, attempt, words, wait_seconds))


def _line(details: ProgressDetails) -> str:
    share = 100 * details.done / details.total if details.total else 100.0
    return (
        f"{details.sync} {details.partition}: {details.done:,} of {details.total:,} events ({share:.0f} %), "
        f"{details.events_per_second:,.0f}/s, about {details.seconds_left:,.0f} s left, "
        f"up to {details.limit} requests in flight"
    )

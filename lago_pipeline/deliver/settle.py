"""Outcomes into the ledger, in bulk, before the run can forget them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from lago_pipeline.ledger.outcomes import Outcome, count_events, settled_lines, write_lines
from lago_pipeline.ledger.writer import LedgerWriter
from lago_pipeline.partition import Partition

_MOST_EVENTS = 10_000
_MOST_SECONDS = 1.0


@dataclass(slots=True)
class Settler:
    """Buffers outcomes of one partition; commits every 10,000 events, or a second after the last commit."""

    writer: LedgerWriter
    sync_id: int
    partition: Partition
    prefix: str
    run: int
    clock: Callable[[], float]
    now_ms: Callable[[], int]
    _waiting: list[Outcome] = field(default_factory=list)
    _events: int = 0
    _committed_at: float = 0.0

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Take outcomes, and commit when it is time; raises what an earlier commit raised."""
        self._waiting += outcomes
        self._events += count_events(outcomes)
        is_time = self.clock() - self._committed_at >= _MOST_SECONDS
        if self._events >= _MOST_EVENTS or (self._waiting and is_time):
            self.flush()

    def flush(self) -> None:
        """Let what waits be committed, in its turn."""
        if self._waiting:
            lines = settled_lines(
                self._waiting,
                self.sync_id,
                self.partition,
                prefix=self.prefix,
                run=self.run,
                now_ms=self.now_ms(),
            )
            self.writer.later(partial(write_lines, lines=lines))
            self._waiting, self._events = [], 0
        self._committed_at = self.clock()

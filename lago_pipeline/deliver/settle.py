"""Outcomes into the ledger, in bulk, before the run can forget them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from lago_pipeline.ledger.outcomes import Outcome, settle
from lago_pipeline.ledger.writer import LedgerWriter
from lago_pipeline.partition import Partition

_MOST_OUTCOMES = 5_000
_MOST_SECONDS = 1.0


@dataclass(slots=True)
class Settler:
    """Buffers outcomes of one partition and commits them: every 5,000, or a second after the last commit."""

    writer: LedgerWriter
    sync_id: int
    partition: Partition
    prefix: str
    run: int
    clock: Callable[[], float]
    now_ms: Callable[[], int]
    _waiting: list[Outcome] = field(default_factory=list)
    _committed_at: float = 0.0

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Take outcomes, and commit when it is time; raises what an earlier commit raised."""
        self._waiting += outcomes
        is_time = self.clock() - self._committed_at >= _MOST_SECONDS
        if len(self._waiting) >= _MOST_OUTCOMES or (self._waiting and is_time):
            self.flush()

    def flush(self) -> None:
        """Let what waits be committed, in its turn."""
        if self._waiting:
            work = partial(
                settle,
                sync_id=self.sync_id,
                partition=self.partition,
                outcomes=self._waiting,
                prefix=self.prefix,
                run=self.run,
                now_ms=self.now_ms(),
            )
            self._waiting = []
            self.writer.later(work)
        self._committed_at = self.clock()

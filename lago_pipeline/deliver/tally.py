"""What a run counts while it goes on: by the plan, by Lago's answers, and what was left."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lago_pipeline.deliver.result import BatchResult
from lago_pipeline.errors import ConfigError, ConfirmationNeeded, LagoPipelineError
from lago_pipeline.ledger.events import Line
from lago_pipeline.ledger.outcomes import Outcome
from lago_pipeline.plan.diff import Plan
from lago_pipeline.report import Counts, Status

_MOST_EXHAUSTED = 3
"""So many batches in a row without any answer end the run: the others would only burn their tries."""

_DUE = (*Status, "pending")


@dataclass(slots=True)
class Tally:
    """Counts of one run, and why it stopped, where it did; `error` is to be raised at its end.

    It `is_unclear` once Lago failed on an event that it may hold all the same.
    """

    counted: Counter[str] = field(default_factory=Counter)
    oldest_ms: int | None = None
    stopped: str | None = None
    error: ConfigError | None = None
    is_interrupted: bool = False
    needs_confirmation: bool = False
    is_unclear: bool = False
    _exhausted: int = 0
    _pending_words: str = ""
    _refused_before: dict[tuple[str, int], Line] = field(default_factory=dict)

    def plan(self, plan: Plan, extracted: int) -> None:
        """Count one range of keys."""
        self.counted.update(
            extracted=extracted,
            unchanged=plan.unchanged,
            changed=plan.changed,
            removed=plan.removed,
            planned=plan.planned,
        )
        for outcome in plan.refused:
            self.counted[outcome.status.value] += len(outcome.events)
        self._refused_before.update((line.identity, line) for line in plan.refused_before)

    def take(self, result: BatchResult) -> None:
        """Count one batch's result; afterwards `stopped` says whether the run must end, and why."""
        for outcome in result.outcomes:
            self._count(outcome)
        self.counted["pending"] += len(result.pending)
        self._saw(*(event.timestamp_ms for event in result.pending))
        self._notice(result)

    def interrupt(self, events: int, error: BaseException) -> None:
        """Count as pending, of all `events`, whatever an interrupted run did not bring to a final state."""
        self.is_interrupted = True
        self.needs_confirmation = isinstance(error, ConfirmationNeeded)
        self.stopped = self.stopped or _words(error)
        counted = self.counted
        counted["extracted"] = events
        counted["planned"] = events - counted["unchanged"] - counted["changed"] - counted["ignored"]
        counted["pending"] += counted["planned"] - sum(counted[name] for name in _DUE if name != "ignored")

    def counts(self, duplicates: int) -> Counts:
        """The run's counts."""
        return Counts(**self.counted, duplicates=duplicates)

    def why_pending(self) -> str | None:
        """Why the run stopped, or else why its last events are pending; None when nothing is."""
        if self.stopped is None and self.counted["pending"]:
            return self._pending_words or "the run was stopped"
        return self.stopped

    def current(self, ledger: Mapping[str, int]) -> Mapping[str, int]:
        """The ledger's lines by status, without those of an earlier run whose events are pending now."""
        lines = Counter(ledger)
        lines.subtract(line.status for line in self._refused_before.values())
        return lines

    def _count(self, outcome: Outcome) -> None:
        self.counted[outcome.status.value] += len(outcome.events)
        self.is_unclear |= outcome.http_status is not None and outcome.http_status >= 500
        for identity in outcome.events.identities() if self._refused_before else ():
            self._refused_before.pop(identity, None)
        if outcome.status is Status.ACCEPTED:
            self._saw(outcome.events.oldest_ms)

    def _saw(self, *instants: int | None) -> None:
        """Remember the oldest event that was pending or newly accepted."""
        known = (self.oldest_ms, *instants)
        self.oldest_ms = min(filter(None, known), default=None)

    def _notice(self, result: BatchResult) -> None:
        self._pending_words = result.pending_words or self._pending_words
        if result.is_answered:
            self._exhausted = 0
        elif result.pending_words:
            self._exhausted += 1
        if result.error is not None:
            self.error = self.error or result.error
            self.stopped = self.stopped or str(result.error)
        elif self._exhausted >= _MOST_EXHAUSTED and self.stopped is None:
            self.stopped = (
                f"Lago gave no answer to {self._exhausted} batches in a row: {result.pending_words}"
            )


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, LagoPipelineError) else "the run was interrupted"

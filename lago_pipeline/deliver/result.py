"""What became of one batch, and the outcomes that Lago's words lead to."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lago_pipeline.errors import ConfigError
from lago_pipeline.event import Event, Events
from lago_pipeline.lago.readback import difference
from lago_pipeline.ledger.outcomes import Outcome, count_events
from lago_pipeline.refusals import Problem, Reason
from lago_pipeline.report import Status

Fate = tuple[Status, str | None, int | None]
"""The status, the reason and the HTTP status of an outcome."""


@dataclass(slots=True)
class BatchResult:
    """Outcomes, events left without one and why, and the error that ends the run, if any.

    `duplicates` are events whose id Lago holds already, which is not proven to be by the same event;
    `missing` are events that were looked for and that Lago does not hold.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    pending: list[Event] = field(default_factory=list)
    duplicates: list[Event] = field(default_factory=list)
    missing: list[Event] = field(default_factory=list)
    pending_words: str = ""
    error: ConfigError | None = None

    @property
    def settled(self) -> int:
        """How many events have an outcome."""
        return count_events(self.outcomes)

    @property
    def is_answered(self) -> bool:
        """Whether Lago had a word for any of the events."""
        return bool(self.outcomes or self.duplicates)

    def settle(self, fates: Iterable[tuple[Event, Fate]]) -> None:
        """Add single events' outcomes: those of one fate together."""
        same: dict[Fate, list[Event]] = defaultdict(list)
        for event, fate in fates:
            same[fate].append(event)
        self.outcomes += [Outcome(Events.of(events), *fate) for fate, events in same.items()]

    def add(self, other: "BatchResult") -> None:
        """Take over what became of other events."""
        self.outcomes += other.outcomes
        self.pending += other.pending
        self.pending_words = other.pending_words or self.pending_words
        self.error = self.error or other.error

    def leave(self, events: Sequence[Event], why: str | Exception) -> None:
        """Count events as pending, and say why; a ConfigError ends the run."""
        self.pending += events
        self.pending_words = str(why)
        if isinstance(why, ConfigError):
            self.error = why


def rejected(words: str, http_status: int | None) -> Fate:
    """Lago refused the event, in its own words."""
    return Status.REJECTED, str(Problem(Reason.REFUSED_BY_LAGO, words)), http_status


def hidden(words: str, http_status: int | None) -> Fate:
    """Lago refuses the id as taken, and shows no event under it."""
    return Status.REJECTED, str(Problem(Reason.HIDDEN_EVENT, words)), http_status


def compared(event: Event, held: Mapping[str, object], http_status: int | None) -> Fate:
    """Lago holds an event under this id: ours, or another."""
    words = difference(event, held)
    if words is None:
        return Status.ACCEPTED, None, http_status
    return Status.CONFLICT, str(Problem(Reason.DIFFERENT_EVENT, words)), http_status

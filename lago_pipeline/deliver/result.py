"""What became of one batch, and the outcomes that Lago's words lead to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat

from lago_pipeline.errors import ConfigError
from lago_pipeline.event import Event
from lago_pipeline.lago.readback import difference
from lago_pipeline.ledger.outcomes import Outcome
from lago_pipeline.refusals import Problem, Reason
from lago_pipeline.report import Status

_OUTCOME = partial(tuple.__new__, Outcome)
"""`Outcome._make` without its Python function."""


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
    def is_answered(self) -> bool:
        """Whether Lago had a word for any of the events."""
        return bool(self.outcomes or self.duplicates)

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


def all_accepted(events: Sequence[Event], http_status: int | None) -> list[Outcome]:
    """Lago took the events."""
    rows = zip(events, repeat(Status.ACCEPTED), repeat(None), repeat(http_status))
    return list(map(_OUTCOME, rows))


def rejected(event: Event, words: str, http_status: int | None) -> Outcome:
    """Lago refused the event, in its own words."""
    return Outcome(event, Status.REJECTED, str(Problem(Reason.REFUSED_BY_LAGO, words)), http_status)


def hidden(event: Event, words: str, http_status: int | None) -> Outcome:
    """Lago refuses the id as taken, and shows no event under it."""
    return Outcome(event, Status.REJECTED, str(Problem(Reason.HIDDEN_EVENT, words)), http_status)


def compared(event: Event, held: Mapping[str, object], http_status: int | None) -> Outcome:
    """Lago holds an event under this id: ours, or another."""
    words = difference(event, held)
    if words is None:
        return Outcome(event, Status.ACCEPTED, None, http_status)
    return Outcome(event, Status.CONFLICT, str(Problem(Reason.DIFFERENT_EVENT, words)), http_status)

"""A check, what it finds, and the order of checks: what depends on one that fails is skipped."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from lago_pipeline.errors import LagoPipelineError


class Level(StrEnum):
    """How a finding is meant; only an error keeps a project from being deployed."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Told:
    """What a check says of one thing, and what to do about it."""

    says: str
    level: Level = Level.OK
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a checkup: what a check told of its subject."""

    subject: str
    check: str
    level: Level
    says: str
    remedy: str

    @property
    def ok(self) -> bool | None:
        """Whether it holds; None where it could not be checked."""
        if self.level is Level.SKIPPED:
            return None
        return self.level in (Level.OK, Level.NOTE)


Need = tuple[str, str]
"""A subject and one of its checks."""


class Subject(Protocol):
    """What is looked at: `needs` hold for all of its checks, `neighbours` names subjects by their role."""

    @property
    def name(self) -> str:
        """What its findings are grouped under."""
        ...

    @property
    def needs(self) -> Sequence[Need]:
        """What must be well before any of its checks makes sense."""
        ...

    @property
    def neighbours(self) -> Mapping[str, str]:
        """The names of other subjects, as `Check.needs` speaks of them."""
        ...


S = TypeVar("S", bound=Subject)


@dataclass(frozen=True, slots=True)
class Check(Generic[S]):
    """One promise: `tell` yields what it finds, or raises an error of ours, which `remedy` then helps with.

    `needs` are checks of the same subject, or of a neighbour: `source`, `lago: key`.
    """

    name: str
    tell: Callable[[S], Iterable[Told]]
    needs: tuple[str, ...] = ()
    remedy: str = ""

    def needed(self, subject: S) -> list[Need]:
        """What must be well before this check of a subject makes sense."""
        return [*subject.needs, *(_need(subject, need) for need in self.needs)]


class Checkup:
    """Runs checks in order, and remembers what did not hold."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._causes: dict[Need, Need] = {}

    def run(self, subject: S, checks: Iterable[Check[S]]) -> None:
        """Make every check of a subject; one that fails does not stop the others."""
        for check in checks:
            causes = (self._causes[need] for need in check.needed(subject) if need in self._causes)
            cause = next(causes, None)
            told = _told(subject, check) if cause is None else [_skipped(subject, cause)]
            found = [Finding(subject.name, check.name, item.level, item.says, item.remedy) for item in told]
            self.findings += found
            if any(not finding.ok for finding in found):
                here = (subject.name, check.name)
                self._causes[here] = cause or here


def _told(subject: S, check: Check[S]) -> list[Told]:
    told: list[Told] = []
    try:
        told.extend(check.tell(subject))
    except LagoPipelineError as error:
        told.append(Told(str(error), Level.ERROR, check.remedy))
    return told


def _skipped(subject: Subject, cause: Need) -> Told:
    owner, check = cause
    where = check if owner == subject.name else f"{owner}: {check}"
    return Told(f"not checked: {where} comes first", Level.SKIPPED)


def _need(subject: Subject, need: str) -> Need:
    role, _, check = need.rpartition(": ")
    return (subject.neighbours[role] if role else subject.name), check

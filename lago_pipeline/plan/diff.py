"""One range of keys: the events of the file against the lines of the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lago_pipeline.event import Event
from lago_pipeline.ledger.events import Line
from lago_pipeline.ledger.outcomes import Outcome
from lago_pipeline.refusals import Problem, Reason
from lago_pipeline.report import Status

Lines = Mapping[tuple[str, int], Line]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with one range of keys.

    `unchanged` and `changed` events are accepted already; `refused` have a final state without being sent;
    `to_send` must go to Lago, and `refused_before` are the lines of those that an earlier run could not
    bill; `removed` were accepted and have no row any more; `vanished` were never accepted and have none
    either.
    """

    unchanged: int
    changed: int
    refused: Sequence[Outcome]
    to_send: Sequence[Event]
    refused_before: Sequence[Line]
    removed: int
    vanished: Sequence[Line]

    @property
    def planned(self) -> int:
        """Events that are due: refused here, or to be sent."""
        return len(self.refused) + len(self.to_send)


def unbilled_keys(events: Sequence[Event], lines: Lines) -> list[str]:
    """Keys not accepted in this partition, whose rows may have moved here from another."""
    accepted = Status.ACCEPTED
    return [
        event.row_key
        for event in events
        if event.problem is None and ((line := lines.get(event[:2])) is None or line.status is not accepted)
    ]


def plan_range(events: Sequence[Event], lines: Lines, elsewhere: Mapping[str, int]) -> Plan:
    """Compare events with the ledger's lines of the same range of keys.

    `elsewhere` gives, for a key, the other partition in which it was accepted.
    """
    unchanged = changed = 0
    refused: list[Outcome] = []
    to_send: list[Event] = []
    refused_before: list[Line] = []
    gone = dict(lines)
    for event in events:
        line = gone.pop(event[:2], None) if gone else None
        if line is not None and line.status is Status.ACCEPTED:
            is_same = line.fingerprint == event.fingerprint
            unchanged, changed = unchanged + is_same, changed + (not is_same)
        elif event.problem is not None:
            refused.append(Outcome(event, Status.QUARANTINED, event.problem))
        elif event.row_key in elsewhere:
            refused.append(_moved(event, elsewhere[event.row_key]))
        else:
            to_send.append(event)
            if line is not None:
                refused_before.append(line)
    vanished = [line for line in gone.values() if line.status is not Status.ACCEPTED]
    removed = len(gone) - len(vanished)
    return Plan(unchanged, changed, refused, to_send, refused_before, removed, vanished)


def _moved(event: Event, start_ms: int) -> Outcome:
    problem = Problem(Reason.BILLED_ELSEWHERE, f"accepted in the partition that starts at {start_ms // 1000}")
    return Outcome(event, Status.HELD, str(problem))

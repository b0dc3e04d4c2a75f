"""One range of keys: the events of the file against the lines of the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lago_pipeline.event import Event
from lago_pipeline.ledger.events import Line, Outcome
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
    return [
        event.row_key for event in events
        if event.problem is None and not _is_accepted(lines.get(event.identity))
    ]  # fmt: skip


def plan_range(events: Sequence[Event], lines: Lines, elsewhere: Mapping[str, int]) -> Plan:
    """Compare events with the ledger's lines of the same range of keys.

    `elsewhere` gives, for a key, the other partition in which it was accepted.
    """
    accepted = {identity: line for identity, line in lines.items() if _is_accepted(line)}
    unchanged = changed = 0
    refused: list[Outcome] = []
    to_send: list[Event] = []
    for event in events:
        line = accepted.pop(event.identity, None)
        if line is not None:
            is_same = line.fingerprint == event.fingerprint
            unchanged, changed = unchanged + is_same, changed + (not is_same)
        elif event.problem is not None:
            refused.append(Outcome(event, Status.QUARANTINED, event.problem))
        elif event.row_key in elsewhere:
            refused.append(_moved(event, elsewhere[event.row_key]))
        else:
            to_send.append(event)
    present = {event.identity for event in events}
    refused_before = [lines[event.identity] for event in to_send if event.identity in lines]
    vanished = [
        line for identity, line in lines.items() if identity not in present and not _is_accepted(line)
    ]
    return Plan(unchanged, changed, refused, to_send, refused_before, len(accepted), vanished)


def _is_accepted(line: Line | None) -> bool:
    return line is not None and line.status is Status.ACCEPTED


def _moved(event: Event, start_ms: int) -> Outcome:
    problem = Problem(Reason.BILLED_ELSEWHERE, f"accepted in the partition that starts at {start_ms // 1000}")
    return Outcome(event, Status.HELD, str(problem))

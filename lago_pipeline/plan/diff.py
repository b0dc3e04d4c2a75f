"""One range of keys: the events of the file against the lines of the ledger."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lago_pipeline.event import Events
from lago_pipeline.ledger.events import Line
from lago_pipeline.ledger.outcomes import Outcome, count_events
from lago_pipeline.refusals import Problem, Reason
from lago_pipeline.report import Status

_COMPARED = ("row_key", "event_index", "fingerprint")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with one range of keys.

    `unchanged` and `changed` events are accepted already; `refused` have a final state without being sent;
    `to_send` must go to Lago, and `refused_before` are the lines of those that an earlier run could not
    bill; `removed` were accepted and have no row any more; `vanished` were never accepted and have none
    either.
    """

    to_send: Events
    unchanged: int = 0
    changed: int = 0
    refused: Sequence[Outcome] = ()
    refused_before: Sequence[Line] = ()
    removed: int = 0
    vanished: Sequence[Line] = ()

    @property
    def planned(self) -> int:
        """Events that are due: refused here, or to be sent."""
        return count_events(self.refused) + len(self.to_send)


def unchanged_plan(events: Events, lines: Sequence[Line]) -> Plan | None:
    """The plan where every event is accepted as it is, and nothing else is; None where more must be compared.

    Events and lines are in the order of their identities.
    """
    if len(events) != len(lines) or not lines:
        return None
    keys, indexes, statuses, fingerprints = map(list, zip(*lines, strict=True))
    is_same = [keys, indexes, fingerprints] == [events.column(name) for name in _COMPARED]
    if not is_same or statuses.count(Status.ACCEPTED) < len(statuses):
        return None
    return Plan(to_send=events[:0], unchanged=len(events))


def unbilled_keys(events: Events, lines: Sequence[Line]) -> list[str]:
    """Keys not accepted in this partition, whose rows may have moved here from another."""
    accepted = {line.identity for line in lines if line.status == Status.ACCEPTED}
    fates = zip(events.identities(), events.column("problem"), strict=True)
    return [identity[0] for identity, problem in fates if problem is None and identity not in accepted]


def plan_range(events: Events, lines: Sequence[Line], elsewhere: Mapping[str, int]) -> Plan:
    """Compare events with the ledger's lines of the same range of keys.

    `elsewhere` gives, for a key, the other partition in which it was accepted.
    """
    if not lines and not elsewhere and events.table["problem"].null_count == len(events):
        return Plan(to_send=events)
    unchanged = changed = 0
    bad: list[int] = []
    moved: dict[int, list[int]] = defaultdict(list)
    to_send: list[int] = []
    refused_before: list[Line] = []
    gone = {line.identity: line for line in lines}
    rows = zip(events.identities(), events.column("fingerprint"), events.column("problem"), strict=True)
    for index, (identity, fingerprint, problem) in enumerate(rows):
        line = gone.pop(identity, None) if gone else None
        if line is not None and line.status == Status.ACCEPTED:
            is_same = line.fingerprint == fingerprint
            unchanged, changed = unchanged + is_same, changed + (not is_same)
        elif problem is not None:
            bad.append(index)
        elif identity[0] in elsewhere:
            moved[elsewhere[identity[0]]].append(index)
        else:
            to_send.append(index)
            if line is not None:
                refused_before.append(line)
    vanished = [line for line in gone.values() if line.status != Status.ACCEPTED]
    return Plan(
        to_send=events.at(to_send) if len(to_send) < len(events) else events,
        unchanged=unchanged,
        changed=changed,
        refused=[
            *([Outcome(events.at(bad), Status.QUARANTINED)] if bad else ()),
            *(_moved(events.at(indexes), start_ms) for start_ms, indexes in moved.items()),
        ],
        refused_before=refused_before,
        removed=len(gone) - len(vanished),
        vanished=vanished,
    )


def _moved(events: Events, start_ms: int) -> Outcome:
    problem = Problem(Reason.BILLED_ELSEWHERE, f"accepted in the partition that starts at {start_ms // 1000}")
    return Outcome(events, Status.HELD, str(problem))

"""A range of keys: the events of the file against the lines of the ledger."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lago_pipeline.event import Event, Events
from lago_pipeline.ledger.events import Line
from lago_pipeline.plan.diff import Plan, plan_range, unbilled_keys, unchanged_plan
from lago_pipeline.report import UNBILLED, Status
from lago_pipeline_tests.deliver.world import event, numbered

REFUSED = sorted(UNBILLED)


def line(number: int, status: Status = Status.ACCEPTED, fingerprint: bytes | None = None) -> Line:
    """The ledger's line of an event."""
    known = event(number)
    return Line(known.row_key, known.event_index, status, fingerprint or known.fingerprint)


def problem(number: int) -> Event:
    """An event that cannot be sent."""
    return event(number, problem="not_a_number: 'NaN'", fingerprint=b"p" * 16)


def held_back(plan: Plan) -> list[tuple[str, Status, str | None]]:
    """What a plan refuses, event by event."""
    return [
        (single.row_key, item.status, reason)
        for item in plan.refused
        for single, reason in zip(item.events, item.reasons, strict=True)
    ]


def test_an_accepted_event_is_unchanged_or_changed() -> None:
    """By its fingerprint; neither is sent again."""
    plan = plan_range(numbered([1, 2]), [line(1), line(2, fingerprint=b"x" * 16)], {})
    assert (plan.unchanged, plan.changed, plan.planned, plan.removed) == (1, 1, 0, 0)


def test_a_new_event_is_sent() -> None:
    """One that the ledger does not know."""
    plan = plan_range(numbered([1]), [], {})
    assert (list(plan.to_send), plan.planned) == ([event(1)], 1)


def test_an_event_that_was_not_billed_is_tried_again() -> None:
    """Whatever the reason was; the plan says which lines it may replace."""
    lines = [line(number, status) for number, status in enumerate(REFUSED)]
    events = numbered(range(len(REFUSED)))
    plan = plan_range(events, lines, {})
    assert list(plan.to_send) == list(events)
    assert plan.refused_before == lines
    assert plan.vanished == []


def test_an_event_with_a_problem_is_quarantined_and_never_sent() -> None:
    """New or known to be unbilled; its words are the reason."""
    plan = plan_range(Events.of(map(problem, [1, 2])), [line(2, Status.REJECTED)], {})
    assert held_back(plan) == [
        (key, Status.QUARANTINED, "not_a_number: 'NaN'") for key in ("k00001", "k00002")
    ]
    assert (list(plan.to_send), plan.planned) == ([], 2)


def test_an_accepted_event_that_got_a_problem_is_changed() -> None:
    """It is billed as it was; nobody is told that it is not."""
    plan = plan_range(Events.of([problem(1)]), [line(1)], {})
    assert (plan.changed, plan.planned) == (1, 0)


def test_a_row_without_an_event_is_removed_or_vanished() -> None:
    """Removed when it was billed; where it never was, nothing is left to bill."""
    plan = plan_range(numbered([]), [line(1), line(2, Status.HELD), line(3)], {})
    assert plan.removed == 2
    assert [item.row_key for item in plan.vanished] == ["k00002"]


def test_a_row_billed_in_another_partition_is_held() -> None:
    """It moved there and back: billing it here would bill it twice."""
    plan = plan_range(numbered([1]), [], {"k00001": 1_767_225_600_000})
    (held,) = plan.refused
    assert (held.status, list(held.events)) == (Status.HELD, [event(1)])
    assert (held.reason or "").startswith("billed_in_another_partition: ")
    assert list(plan.to_send) == []


def test_each_held_row_names_the_partition_that_billed_it() -> None:
    """Several may have moved here, from several partitions."""
    plan = plan_range(numbered([1, 2, 3]), [], {"k00001": 0, "k00002": 86_400_000, "k00003": 0})
    assert {key: reason for key, _, reason in held_back(plan)} == {
        f"k{number:05d}": f"billed_in_another_partition: accepted in the partition that starts at {start}"
        for number, start in [(1, 0), (2, 86_400), (3, 0)]
    }
    assert len(held_back(plan)) == 3


def test_a_row_stays_held_for_as_long_as_it_is_billed_elsewhere() -> None:
    """Its own line here must not hide the other partition from the plan."""
    for status in REFUSED:
        assert unbilled_keys(numbered([1]), [line(1, status)]) == ["k00001"]
    assert unbilled_keys(numbered([1]), [line(1)]) == []
    assert unbilled_keys(numbered([1]), []) == ["k00001"]
    assert unbilled_keys(Events.of([problem(1)]), []) == []


def test_rows_that_share_a_key_are_told_apart() -> None:
    """By their index: a second line of a key is not its first."""
    twins = Events.of([event(1, event_index=0), event(1, event_index=1)])
    plan = plan_range(twins, [line(1)], {})
    assert (plan.unchanged, list(plan.to_send)) == (1, [twins[1]])


KEYS = st.integers(0, 30)


@given(
    st.dictionaries(KEYS, st.booleans(), max_size=25),
    st.dictionaries(KEYS, st.tuples(st.sampled_from(list(Status)), st.booleans()), max_size=25),
    st.sets(KEYS, max_size=10),
)
def test_every_row_has_one_fate(
    rows: dict[int, bool], ledger: dict[int, tuple[Status, bool]], elsewhere: set[int]
) -> None:
    """Against the rules written down as plainly as can be."""
    fates: dict[str, set[int]] = {}
    for number, is_bad in rows.items():
        status, same = ledger.get(number, (None, True))
        if status is Status.ACCEPTED:
            fate = "unchanged" if same and not is_bad else "changed"
        elif is_bad:
            fate = "quarantined"
        else:
            fate = "held" if number in elsewhere else "send"
        fates.setdefault(fate, set()).add(number)
    gone = {number: status for number, (status, _) in ledger.items() if number not in rows}

    plan = plan_range(
        Events.of(problem(number) if is_bad else event(number) for number, is_bad in sorted(rows.items())),
        [
            line(number, status, None if same else b"x" * 16)
            for number, (status, same) in sorted(ledger.items())
        ],
        {f"k{number:05d}": 0 for number in elsewhere},
    )
    refused = {status: {int(key[1:]) for key, found, _ in held_back(plan) if found is status}
               for status in (Status.HELD, Status.QUARANTINED)}  # fmt: skip
    assert plan.unchanged == len(fates.get("unchanged", ()))
    assert plan.changed == len(fates.get("changed", ()))
    assert refused == {
        Status.HELD: fates.get("held", set()), Status.QUARANTINED: fates.get("quarantined", set())
    }  # fmt: skip
    assert {int(item.row_key[1:]) for item in plan.to_send} == fates.get("send", set())
    assert {int(item.row_key[1:]) for item in plan.refused_before} == fates.get("send", set()) & set(ledger)
    assert plan.removed == sum(status is Status.ACCEPTED for status in gone.values())
    assert {int(item.row_key[1:]) for item in plan.vanished} == {
        number for number, status in gone.items() if status is not Status.ACCEPTED
    }
    assert len(rows) == plan.unchanged + plan.changed + plan.planned
    assert len(held_back(plan)) == sum(map(len, refused.values()))


def by_value(plan: Plan) -> tuple[object, ...]:
    """All that a plan says."""
    counts = (plan.unchanged, plan.changed, plan.removed, plan.planned)
    before, vanished = list(plan.refused_before), list(plan.vanished)
    return *counts, list(plan.to_send), held_back(plan), before, vanished


Pair = tuple[Callable[[int], Event] | None, Callable[[int], Line] | None]
SAME: list[Pair] = [(event, line), (problem, lambda number: line(number, fingerprint=b"p" * 16))]
"""Makers of an event and its line where both say the same."""

OTHER: list[Pair] = [
    (event, lambda number: line(number, fingerprint=b"x" * 16)),
    (problem, line),
    (event, None),
    (problem, None),
    (None, line),
    (None, lambda number: line(number, Status.HELD)),
    (event, lambda number: line(number, Status.REJECTED)),
    (problem, lambda number: line(number, Status.QUARANTINED, b"p" * 16)),
    (lambda number: event(number, event_index=1), line),
]
"""Changed, new, refused, removed, vanished, tried again, and another row of the key."""


@given(
    st.lists(st.sampled_from(SAME), max_size=8),
    st.lists(st.sampled_from(OTHER), max_size=2),
    st.lists(st.sampled_from(SAME), max_size=8),
)
def test_that_nothing_changed_is_seen_at_once(
    before: list[Pair], other: list[Pair], after: list[Pair]
) -> None:
    """Where every event is accepted as it is, and nowhere else; comparing each gives the same plan."""
    pairs = list(enumerate([*before, *other, *after]))
    events = Events.of(make(number) for number, (make, _) in pairs if make)
    lines = [make(number) for number, (_, make) in pairs if make]
    plan = unchanged_plan(events, lines)
    assert (plan is not None) == (bool(pairs) and not other)
    if plan is not None:
        assert unbilled_keys(events, lines) == []
        for elsewhere in ({}, {item.row_key: 0 for item in lines}):
            assert by_value(plan) == by_value(plan_range(events, lines, elsewhere))


@pytest.mark.parametrize(
    ("numbers", "lines"),
    [
        *(([1, 2], [line(1), line(2, status)]) for status in Status if status is not Status.ACCEPTED),
        ([1, 2], [line(1), line(3)]),
        ([1, 2], [line(0), line(2)]),
        ([1, 2], [line(1), line(3, fingerprint=event(2).fingerprint)]),
        ([1, 2], [line(1), line(2, fingerprint=b"x" * 16)]),
        ([1, 2], [line(1), line(1)]),
        ([1, 2], [line(1), line(2), line(2)]),
        ([1, 2], [line(1)]),
        ([1, 2], []),
        ([], [line(1)]),
    ],
)
def test_whatever_differs_is_compared_event_by_event(numbers: list[int], lines: list[Line]) -> None:
    """A status, a key, a fingerprint, or a second revision: then nothing is known at once."""
    assert unchanged_plan(numbered(numbers), lines) is None

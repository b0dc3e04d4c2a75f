"""A range of keys: the events of the file against the lines of the ledger."""

from hypothesis import given
from hypothesis import strategies as st

from lago_pipeline.event import Event
from lago_pipeline.ledger.events import Line
from lago_pipeline.plan.diff import plan_range, unbilled_keys
from lago_pipeline.report import UNBILLED, Status
from lago_pipeline_tests.deliver.world import event

REFUSED = sorted(UNBILLED)


def line(number: int, status: Status = Status.ACCEPTED, fingerprint: bytes | None = None) -> Line:
    """The ledger's line of an event."""
    known = event(number)
    return Line(known.row_key, known.event_index, status, fingerprint or known.fingerprint)


def problem(number: int) -> Event:
    """An event that cannot be sent."""
    return event(number, problem="not_a_number: 'NaN'", fingerprint=b"p" * 16)


def by_identity(*lines: Line) -> dict[tuple[str, int], Line]:
    """As the ledger gives them."""
    return {item.identity: item for item in lines}


def test_an_accepted_event_is_unchanged_or_changed() -> None:
    """By its fingerprint; neither is sent again."""
    plan = plan_range([event(1), event(2)], by_identity(line(1), line(2, fingerprint=b"x" * 16)), {})
    assert (plan.unchanged, plan.changed, plan.planned, plan.removed) == (1, 1, 0, 0)


def test_a_new_event_is_sent() -> None:
    """One that the ledger does not know."""
    plan = plan_range([event(1)], {}, {})
    assert (list(plan.to_send), plan.planned) == ([event(1)], 1)


def test_an_event_that_was_not_billed_is_tried_again() -> None:
    """Whatever the reason was; the plan says which lines it may replace."""
    lines = by_identity(*(line(number, status) for number, status in enumerate(REFUSED)))
    events = [event(number) for number in range(len(REFUSED))]
    plan = plan_range(events, lines, {})
    assert list(plan.to_send) == events
    assert list(plan.refused_before) == list(lines.values())
    assert plan.vanished == []


def test_an_event_with_a_problem_is_quarantined_and_never_sent() -> None:
    """New or known to be unbilled; its words are the reason."""
    plan = plan_range([problem(1), problem(2)], by_identity(line(2, Status.REJECTED)), {})
    assert [(item.status, item.reason) for item in plan.refused] == [
        (Status.QUARANTINED, "not_a_number: 'NaN'")
    ] * 2
    assert (list(plan.to_send), plan.planned) == ([], 2)


def test_an_accepted_event_that_got_a_problem_is_changed() -> None:
    """It is billed as it was; nobody is told that it is not."""
    plan = plan_range([problem(1)], by_identity(line(1)), {})
    assert (plan.changed, plan.planned) == (1, 0)


def test_a_row_without_an_event_is_removed_or_vanished() -> None:
    """Removed when it was billed; where it never was, nothing is left to bill."""
    plan = plan_range([], by_identity(line(1), line(2, Status.HELD), line(3)), {})
    assert plan.removed == 2
    assert [item.row_key for item in plan.vanished] == ["k00002"]


def test_a_row_billed_in_another_partition_is_held() -> None:
    """It moved there and back: billing it here would bill it twice."""
    plan = plan_range([event(1)], {}, {"k00001": 1_767_225_600_000})
    (held,) = plan.refused
    assert held.status is Status.HELD
    assert (held.reason or "").startswith("billed_in_another_partition: ")
    assert plan.to_send == []


def test_a_row_stays_held_for_as_long_as_it_is_billed_elsewhere() -> None:
    """Its own line here must not hide the other partition from the plan."""
    for status in REFUSED:
        assert unbilled_keys([event(1)], by_identity(line(1, status))) == ["k00001"]
    assert unbilled_keys([event(1)], by_identity(line(1))) == []
    assert unbilled_keys([event(1)], {}) == ["k00001"]
    assert unbilled_keys([problem(1)], {}) == []


def test_rows_that_share_a_key_are_told_apart() -> None:
    """By their index: a second line of a key is not its first."""
    twins = [event(1, event_index=0), event(1, event_index=1)]
    plan = plan_range(twins, by_identity(line(1)), {})
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
        [problem(number) if is_bad else event(number) for number, is_bad in sorted(rows.items())],
        by_identity(
            *(line(number, status, None if same else b"x" * 16) for number, (status, same) in ledger.items())
        ),
        {f"k{number:05d}": 0 for number in elsewhere},
    )
    refused = {status: {int(item.event.row_key[1:]) for item in plan.refused if item.status is status}
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

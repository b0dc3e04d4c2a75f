"""All rows of a partition to events: none is lost, none is billed twice."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lago_pipeline_tests.render.rendering import all_events, mapping

EVENT = mapping(properties={"p": "{{ row.x }}"})
COLUMNS = ("id", "at", "x")
AT = "2026-01-05T10:00:00Z"
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 4) | st.sampled_from(["a", "a:b", "1"]),
        st.sampled_from([AT, "2026-01-05T11:00:00Z", "2026-02-01", None]),
        st.none() | st.integers(0, 1) | st.just("1"),
    ),
    max_size=12,
)


@given(ROWS)
@settings(max_examples=200)
def test_every_row_is_carried(rows: list[tuple[object, ...]]) -> None:
    """Rows in are events out and collapsed duplicates, and every event has its own place, in order."""
    events, counts = all_events(EVENT, COLUMNS, rows)
    distinct = {tuple((type(value), value) for value in row) for row in rows}
    assert len(events) == counts.events == len(distinct)
    assert (counts.rows, counts.duplicates) == (len(rows), len(rows) - len(distinct))
    assert counts.problems == sum(event.problem is not None for event in events)
    assert [event.row_key for event in events] == sorted(event.row_key for event in events)
    assert len({event.identity for event in events}) == len(events)
    assert counts.digest == sum(int.from_bytes(event.fingerprint) for event in events) % 2**128


@given(ROWS)
@settings(max_examples=200)
def test_what_is_sent_is_beyond_doubt(rows: list[tuple[object, ...]]) -> None:
    """A row is billed exactly when its key is its own and its time is in the partition."""
    versions = defaultdict(set)
    for key, at, x in rows:
        versions[None if key is None else str(key)].add((type(key), key, at, type(x), x))
    good = {
        f"seats:seats:{key}".replace("a:b", "a%3Ab")
        for key, held in versions.items()
        if key is not None and len(held) == 1 and str(next(iter(held))[2]).startswith("2026-01-05")
    }
    events, _ = all_events(EVENT, COLUMNS, rows)
    sent = Counter(event.transaction_id for event in events if event.problem is None)
    assert sent == Counter(good)


@given(ROWS, st.randoms())
@settings(max_examples=100)
def test_the_order_of_the_rows_does_not_matter(rows: list[tuple[object, ...]], random: object) -> None:
    """The same rows give the same events in any order."""
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert all_events(EVENT, COLUMNS, rows) == all_events(EVENT, COLUMNS, shuffled)


def test_exact_duplicates_collapse() -> None:
    """A row that a join doubled is billed once and counted."""
    events, counts = all_events(EVENT, COLUMNS, [("a", AT, 1), ("b", AT, 1), ("a", AT, 1), ("a", AT, 1)])
    assert [(event.row_key, event.problem) for event in events] == [("a", None), ("b", None)]
    assert (counts.rows, counts.duplicates, counts.events, counts.problems) == (4, 2, 2, 0)


@pytest.mark.parametrize("other", [2, None, "1", 1.0])
def test_different_rows_of_one_key_are_all_refused(other: object) -> None:
    """Nobody can say which of two different rows is right, so neither is billed; a type differs too."""
    events, counts = all_events(EVENT, COLUMNS, [("a", AT, 1), ("a", AT, other), ("a", AT, 1), ("b", AT, 1)])
    assert [event.event_index for event in events] == [0, 1, 0]
    assert [event.problem for event in events] == ["duplicate_key: 2 different rows have the key a"] * 2 + [
        None
    ]
    assert (counts.rows, counts.duplicates, counts.events, counts.problems) == (4, 1, 3, 2)
    assert events[0].fingerprint != events[1].fingerprint


def test_rows_without_a_key_are_refused() -> None:
    """A NULL key is no identity: such rows are carried each, with the reason."""
    events, counts = all_events(EVENT, COLUMNS, [(None, AT, 1), (None, AT, 2), (None, AT, 1)])
    assert {event.problem for event in events} == {"missing_primary_key: id is null"}
    assert {event.row_key[:5] for event in events} == {"null:"}
    assert (counts.rows, counts.duplicates, counts.events, counts.problems) == (3, 1, 2, 2)


def test_no_rows() -> None:
    """An empty partition gives no events."""
    events, counts = all_events(EVENT, COLUMNS, [])
    assert (events, counts.rows, counts.digest) == ([], 0, 0)

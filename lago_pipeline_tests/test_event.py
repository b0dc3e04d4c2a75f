"""Events by column behave as the list of their events."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lago_pipeline.event import EVENT_SCHEMA, Event, Events


def made(number: int) -> Event:
    """An event unlike all others; each bit of its number stands for a field that it lacks."""
    fields = {
        "transaction_id": f"id:{number}",
        "code": f"ä{number}\0",
        "external_subscription_id": "",
        "timestamp_ms": 2**62 - (number * 7919) % 1000,
        "properties": f'{{"n":"{number}"}}',
        "body": f"\0{number}".encode(),
        "problem": f"not_a_number: {number}",
    }
    known: dict[str, Any] = {
        name: None if number >> bit & 1 else value for bit, (name, value) in enumerate(fields.items())
    }
    return Event(row_key=f"😀{number}", event_index=number, fingerprint=number.to_bytes(16), **known)


event = st.integers(0, 1023).map(made)
few = st.lists(event, max_size=5)
Both = tuple[Events, list[Event]]


def whole(rows: list[Event]) -> Both:
    """Events as they were made, and the list of them."""
    return Events.of(rows), rows


def cut(before: list[Event], rows: list[Event], after: list[Event]) -> Both:
    """Events from the middle of more."""
    more = Events.of([*before, *rows, *after])
    return more[len(before) : len(before) + len(rows)], rows


def joined(first: list[Event], second: list[Event]) -> Both:
    """Events that came in several pieces."""
    return Events(pa.concat_tables([Events.of(rows).table for rows in (first, second)])), first + second


both = st.one_of(
    st.builds(whole, st.lists(event, max_size=30)),
    st.builds(cut, few, st.lists(event, max_size=20), few),
    st.builds(joined, st.lists(event, max_size=15), st.lists(event, max_size=15)),
)


def slices(count: int) -> st.SearchStrategy[slice]:
    """Of so many events, and of what is beyond them."""
    bound = st.none() | st.integers(-count - 2, count + 2)
    return st.builds(slice, bound, bound, st.none() | st.sampled_from([1, 2, 3, -1, -2]))


@given(both)
def test_events_are_the_list_of_them(both: Both) -> None:
    """As many, in the same order, each with its own values."""
    events, rows = both
    assert (len(events), bool(events)) == (len(rows), bool(rows))
    assert (list(events), list(reversed(events))) == (rows, rows[::-1])
    assert all(row in events for row in rows)


@given(both)
def test_an_index_counts_from_either_end(both: Both) -> None:
    """And there is nothing beyond the ends."""
    events, rows = both
    places = range(-len(rows), len(rows))
    assert [events[index] for index in places] == [rows[index] for index in places]
    for index in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            events[index]


@given(both, st.data())
def test_a_slice_is_events_again(both: Both, data: st.DataObject) -> None:
    """Those that the same slice of the list has, with any step, beyond the ends, and none."""
    events, rows = both
    piece = data.draw(slices(len(rows)))
    assert isinstance(events[piece], Events)
    assert list(events[piece]) == rows[piece]


@given(both, st.data())
def test_events_are_picked_in_any_order(both: Both, data: st.DataObject) -> None:
    """By their indexes, also more than once."""
    events, rows = both
    indexes = data.draw(st.lists(st.sampled_from(range(len(rows))), max_size=40) if rows else st.just([]))
    assert list(events.at(indexes)) == [rows[index] for index in indexes]


@given(both)
def test_fields_are_read_by_column(both: Both) -> None:
    """Each event's field in its place, and what the events are to the ledger."""
    events, rows = both
    assert EVENT_SCHEMA.names == list(Event._fields)
    assert [events.column(name) for name in Event._fields] == [
        [getattr(row, name) for row in rows] for name in Event._fields
    ]
    assert list(events.identities()) == [row.identity for row in rows]


@given(both)
def test_the_oldest_of_events(both: Both) -> None:
    """The earliest time that is known; none where no event has one."""
    events, rows = both
    known = [row.timestamp_ms for row in rows if row.timestamp_ms is not None]
    assert events.oldest_ms == (min(known) if known else None)
    assert Events.of(row._replace(timestamp_ms=None) for row in rows).oldest_ms is None

"""What Liquid makes of rows that are alike is worked out once; each row has its own event all the same."""

from decimal import Decimal
from itertools import product
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from lago_pipeline.event import events_of
from lago_pipeline.render.alike import kinds_of
from lago_pipeline.render.inputs import Inputs
from lago_pipeline.render.partition_events import RenderCounts, partition_events
from lago_pipeline.render.renderer import EventRenderer
from lago_pipeline.render.template import event_template
from lago_pipeline_tests.render.rendering import DAY, NOON, mapping, stored_as, usage_sync

VALUES = st.sampled_from(["", "a", "b", None])


def inputs(*rows: tuple[object, ...]) -> Inputs:
    """Rows of the columns a and b."""
    return Inputs(stored_as(["k"] * len(rows), *rows), ("a", "b"), ZoneInfo("UTC"))


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=60))
def test_rows_are_of_one_kind_where_they_have_the_same_values(
    rows: list[tuple[str | None, str | None]],
) -> None:
    """A null is like a null and unlike an empty text; the first row of each kind stands for it."""
    for columns in ([], ["a"], ["b", "a"]):
        seen = [tuple(row["ab".index(column)] for column in columns) for row in rows]
        kinds = kinds_of(inputs(*rows), columns)
        if kinds is None:
            assert len(set(seen)) * 2 > len(rows)
            continue
        assert len(set(seen)) * 2 <= len(rows)
        assert [seen[kinds.firsts[kind]] for kind in kinds.of_rows] == seen
        assert sorted(kinds.firsts) == sorted(seen.index(values) for values in set(seen))


def test_values_of_two_types_are_never_alike() -> None:
    """The number 1 and the text '1' are stored alike, and mean different things to Liquid."""
    rows = [(1, "x"), ("1", "x")] * 4
    assert kinds_of(inputs(*rows), ["a"]) is None
    assert kinds_of(inputs(*rows), ["b"]) is not None


def test_few_that_are_alike_are_not_worth_it() -> None:
    """Then every row is worked out by itself."""
    assert kinds_of(inputs(*((index, "x") for index in range(9))), ["a"]) is None


def test_each_row_has_its_own_event() -> None:
    """Also where Liquid fails for one kind of rows, or a text cannot be sent: in its own row's words."""
    columns = ("id", "at", "plan", "seats", "note")
    plans, seats, notes = (
        ["Pro", None, "Ü", "x\x00"],
        [Decimal(4), Decimal(0), Decimal("2.50")],
        ['"', "plain"],
    )
    rows = [(index, NOON, *values) for index, values in enumerate(list(product(plans, seats, notes)) * 3)]
    properties = {
        "plan": "{{ row.plan | default: 'free' | downcase }}",
        "share": "{{ 10 | divided_by: row.seats }}",
        "note": "{{ row.note }}",
    }
    sync = usage_sync(mapping(properties=properties))
    renderer = EventRenderer(sync, event_template(sync), DAY)
    stored = stored_as([f"{index:03}" for index, *_ in rows], *rows)
    assert kinds_of(Inputs(stored, columns, ZoneInfo("UTC")), ("plan", "seats")) is not None
    counts = RenderCounts()
    (events,) = partition_events(renderer, columns, [stored], counts)
    by_liquid = [renderer.event(row.row_key, dict(zip(columns, row.values(), strict=True))) for row in stored]
    assert list(events_of(events)) == by_liquid
    refused = sum(each.problem is not None for each in by_liquid)
    assert (counts.singly, len(rows)) == (refused, 72)
    assert 0 < refused < len(rows)

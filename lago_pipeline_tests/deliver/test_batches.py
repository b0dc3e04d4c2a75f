"""Events in batches as Lago takes them."""

from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lago_pipeline.deliver.batches import batches
from lago_pipeline.event import Event
from lago_pipeline_tests.deliver.world import event


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 100))
def test_every_event_goes_once_and_in_order(numbers: list[int], size: int) -> None:
    """Batches are never empty, never too big, and never repeat an id."""
    events = [event(number) for number in numbers]
    made = list(batches(events, size))
    assert list(chain(*made)) == events
    assert all(0 < len(batch) <= size for batch in made)
    assert all(len({item.transaction_id for item in batch}) == len(batch) for batch in made)


def test_batches_are_full_where_ids_allow_it() -> None:
    """250 events are three requests, not more."""
    made = batches([event(number) for number in range(250)], 100)
    assert [len(batch) for batch in made] == [100, 100, 50]


class Endless(list[Event]):
    """A list that nobody could make batches of in advance."""

    def __getitem__(self, asked: Any) -> Any:
        """Two events with one id, wherever they are asked for."""
        return [event(1), event(1)] if isinstance(asked, slice) else event(1)


def test_batches_are_made_as_they_are_taken() -> None:
    """A partition of millions is never all in batches at once."""
    assert len(next(batches(Endless(), 2))) == 1

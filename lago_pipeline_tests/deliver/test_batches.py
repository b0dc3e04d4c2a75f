"""Events in batches as Lago takes them."""

from itertools import chain
from typing import Any, ClassVar

from hypothesis import given
from hypothesis import strategies as st

from lago_pipeline.deliver.batches import batches
from lago_pipeline.event import Events
from lago_pipeline_tests.deliver.world import numbered


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 100))
def test_every_event_goes_once_and_in_order(numbers: list[int], size: int) -> None:
    """Batches are never empty, never too big, and never repeat an id."""
    events = numbered(numbers)
    made = list(batches(events, size))
    assert list(chain(*made)) == list(events)
    assert all(0 < len(batch) <= size for batch in made)
    assert all(len({item.transaction_id for item in batch}) == len(batch) for batch in made)


def test_batches_are_full_where_ids_allow_it() -> None:
    """250 events are three requests, not more."""
    made = batches(numbered(range(250)), 100)
    assert [len(batch) for batch in made] == [100, 100, 50]


class Watched(Events):
    """Events that note what was cut out of them."""

    cuts: ClassVar[list[slice]] = []

    def __getitem__(self, asked: Any) -> Any:
        """As of any events."""
        self.cuts.append(asked)
        return super().__getitem__(asked)


def test_batches_are_made_as_they_are_taken() -> None:
    """A group of many events is never all in batches at once: only what was asked for is cut out of it."""
    made = batches(Watched.of(numbered([1, 1, *range(2, 50)])), 10)
    assert Watched.cuts == []
    assert len(next(made)) == 1
    assert len(next(made)) == 10
    assert [cut for cut in Watched.cuts if cut.start is not None] == [slice(0, 10), slice(1, 11)]

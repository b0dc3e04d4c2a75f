"""Batches of events as Lago takes them: bounded, with unique transaction ids."""

from collections.abc import Iterator, Sequence

from lago_pipeline.event import Event


def batches(events: Sequence[Event], size: int) -> Iterator[list[Event]]:
    """Events in batches of up to `size`.

    An id never repeats within a batch: Lago would report the repeat as stored though neither is.
    """
    first = 0
    while batch := list(events[first : first + size]):
        if len({event.transaction_id for event in batch}) < len(batch):
            batch = batch[: _first_repeat(batch)]
        first += len(batch)
        yield batch


def _first_repeat(batch: Sequence[Event]) -> int:
    """Where an id stands for the second time."""
    seen = set[str | None]()
    for index, event in enumerate(batch):
        if event.transaction_id in seen:
            return index
        seen.add(event.transaction_id)
    return len(batch)

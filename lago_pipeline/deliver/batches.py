"""Batches of events as Lago takes them: bounded, with unique transaction ids."""

from collections.abc import Iterator, Sequence

from lago_pipeline.event import Events


def batches(events: Events, size: int) -> Iterator[Events]:
    """Events in batches of up to `size`.

    An id never repeats within a batch: Lago would report the repeat as stored though neither is.
    """
    ids = events.column("transaction_id")
    is_unique = len(set(ids)) == len(ids)
    first = 0
    while first < len(ids):
        batch = events[first : first + size]
        if not is_unique:
            batch = batch[: _first_repeat(ids[first : first + size])]
        first += len(batch)
        yield batch


def _first_repeat(ids: Sequence[str]) -> int:
    """Where an id stands for the second time."""
    seen = set[str]()
    for index, id_ in enumerate(ids):
        if id_ in seen:
            return index
        seen.add(id_)
    return len(ids)

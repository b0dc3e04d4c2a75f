"""Batches of events as Lago takes them: bounded, with unique transaction ids."""

from collections.abc import Iterable, Iterator

from lago_pipeline.event import Event


def batches(events: Iterable[Event], size: int) -> Iterator[list[Event]]:
    """Events in batches of up to `size`.

    An id never repeats within a batch: Lago would report the repeat as stored though neither is.
    """
    batch: list[Event] = []
    ids: set[str | None] = set()
    for event in events:
        if len(batch) >= size or event.transaction_id in ids:
            yield batch
            batch, ids = [], set()
        batch.append(event)
        ids.add(event.transaction_id)
    if batch:
        yield batch

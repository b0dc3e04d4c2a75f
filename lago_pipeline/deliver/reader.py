"""Reading events back from Lago: what it holds is proven, what it does not hold must be sent."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from lago_pipeline.deliver.patience import Patience
from lago_pipeline.deliver.result import BatchResult, Fate, compared, hidden
from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.event import Event
from lago_pipeline.lago.answers import Answer, Meaning
from lago_pipeline.lago.client import LagoClient, LagoUnavailable
from lago_pipeline.lago.windows import Window

MOST_LOOKUPS = 100
"""Events of small groups that are looked up one by one in a worker's turn."""

_WORTH_A_WINDOW = 3
_TAKEN = "transaction_id: value_already_exist"
Read = TypeVar("Read")
Held = Mapping[str, Any]


def lookups(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Events in the portions in which they are read back: those of one subscription and code together."""
    groups: dict[tuple[str | None, str | None], list[Event]] = {}
    for event in events:
        groups.setdefault(_group(event), []).append(event)
    few: list[Event] = []
    for group in groups.values():
        if len(group) >= _WORTH_A_WINDOW:
            yield group
        else:
            few += group
    yield from (few[first : first + MOST_LOOKUPS] for first in range(0, len(few), MOST_LOOKUPS))


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads events at the pace and with the patience of the batches."""

    client: LagoClient
    patience: Patience
    max_attempts: int

    def prove(self, events: Sequence[Event]) -> BatchResult:
        """Compare events that Lago calls duplicates with what it holds under their ids."""
        return self._settled(events, self._proven(events))

    def find(self, events: Sequence[Event]) -> BatchResult:
        """Settle the events that Lago holds, whose outcome was not known; the others are missing."""
        return self._settled(events, self._found(events))

    def _settled(self, events: Sequence[Event], fates: Iterable[tuple[Event, Fate | None]]) -> BatchResult:
        """What came of it; events are pending where Lago did not answer after all tries."""
        result, told = BatchResult(), list[tuple[Event, Fate | None]]()
        try:
            for one in fates:
                told.append(one)
        except (ConfigError, RetriableError) as error:
            known = {event.identity for event, _ in told}
            result.leave([event for event in events if event.identity not in known], error)
        result.missing += [event for event, fate in told if fate is None]
        result.settle((event, fate) for event, fate in told if fate is not None)
        return result

    def _proven(self, events: Sequence[Event]) -> Iterator[tuple[Event, Fate]]:
        window = self._window(events) or {}
        for event in events:
            held = window.get(str(event.transaction_id)) or self._single(event)
            yield event, compared(event, held, 422) if held is not None else hidden(_TAKEN, 422)

    def _found(self, events: Sequence[Event]) -> Iterator[tuple[Event, Fate | None]]:
        window = self._window(events)
        for event in events:
            held = self._single(event) if window is None else window.get(str(event.transaction_id))
            yield event, None if held is None else compared(event, held, None)

    def _window(self, events: Sequence[Event]) -> dict[str, Held] | None:
        """What Lago holds around events of one subscription and code, by id; None where it is not worth it.

        New events shift older ones to later pages, never to earlier ones: none is missed between two pages.
        """
        if len(events) < _WORTH_A_WINDOW or len({_group(event) for event in events}) > 1:
            return None
        window = Window.around(events)
        held: dict[str, Held] = {}
        number: int | None = 1
        missing = {str(event.transaction_id) for event in events}
        while number is not None and missing:
            page = self._read(partial(self.client.events, window, number))
            if page.pages > len(events):
                return None
            for found in page.events:
                held.setdefault(str(found.get("transaction_id")), found)
            missing.difference_update(held)
            number = page.next_page
        return held

    def _single(self, event: Event) -> Held | None:
        """The event that Lago holds under this event's id, or None."""
        return self._read(lambda: self.client.event(str(event.transaction_id)))

    def _read(self, read: Callable[[], Read]) -> Read:
        """What Lago says; raises RetriableError when it does not answer after all tries."""
        found: list[Read] = []

        def once() -> Answer:
            self.patience.pace.wait_turn()
            if self.patience.stop.is_set():
                return Answer(Meaning.UNCERTAIN, None, "the run was stopped")
            try:
                found.append(read())
            except LagoUnavailable as error:
                return error.answer
            return Answer(Meaning.ACCEPTED, 200, "read")

        answer = self.patience.answer(once, self.max_attempts)
        if not found:
            raise RetriableError(f"Lago could not be asked for an event: {answer.words}")
        return found[0]


def _group(event: Event) -> tuple[str | None, str | None]:
    return event.external_subscription_id, event.code

"""How many requests may be in flight: one more while all goes well, half as many when Lago is in trouble."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lago_pipeline.lago.answers import Answer, Meaning

_TROUBLE = (Meaning.THROTTLED, Meaning.UNCERTAIN)
_FEWEST_ANSWERS = 10
_SHARPLY = 4.0
_NOTICEABLE_SECONDS = 0.25


class Concurrency:
    """Slots for requests, between one and `most`, all of them at first.

    The limit grows by one for each round of good answers. It halves on a 429, a 5xx, a lost answer, or one
    that took four times as long as usual; once for all requests that were in flight together.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._condition = threading.Condition()
        self._limit = float(most)
        self._flying = 0
        self._halved_at = clock()
        self._usual_seconds = 0.0
        self._answers = 0

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return int(self._limit)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot for one request; waits for one."""
        with self._condition:
            self._condition.wait_for(lambda: self._flying < self.limit)
            self._flying += 1
        try:
            yield
        finally:
            with self._condition:
                self._flying -= 1
                self._condition.notify_all()

    def saw(self, answer: Answer, began: float, seconds: float) -> None:
        """Learn from an answer to a request that began at `began` and took so long."""
        with self._condition:
            if answer.meaning in _TROUBLE or self._is_slow(seconds):
                self._halve(began)
            else:
                self._limit = min(self._most, self._limit + 1 / self._limit)
            if answer.meaning not in _TROUBLE:
                self._answers += 1
                weight = 1 / min(self._answers, _FEWEST_ANSWERS)
                self._usual_seconds += weight * (seconds - self._usual_seconds)

    def _halve(self, began: float) -> None:
        if began >= self._halved_at:
            self._limit = max(1.0, self._limit / 2)
            self._halved_at = self._clock()

    def _is_slow(self, seconds: float) -> bool:
        usual = self._usual_seconds
        limit = max(_SHARPLY * usual, usual + _NOTICEABLE_SECONDS)
        return self._answers >= _FEWEST_ANSWERS and seconds > limit

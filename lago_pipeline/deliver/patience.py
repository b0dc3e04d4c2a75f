"""When a request is tried again: after a backoff of its own, or when Lago told everybody to come back."""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tenacity import RetryCallState, Retrying, retry_if_result, wait_exponential, wait_random

from lago_pipeline.deliver.pace import Pace
from lago_pipeline.lago.answers import Answer, Meaning

logger = logging.getLogger(__name__)

MAX_THROTTLES = 100
MAX_THROTTLED_SECONDS = 3600.0
"""So many 429 answers to one request, or so long a wait in all, end its tries."""

MAX_SILENCE = 18
"""So many requests in a row without any answer of Lago's: others are not tried again before one has come."""

_AGAIN = (Meaning.UNCERTAIN, Meaning.THROTTLED)
BACKOFF = wait_exponential(multiplier=0.5, max=30) + wait_random(0, 1)


@dataclass(slots=True)
class Patience:
    """Tries a request until Lago answers it. `stop`, once set, ends further tries.

    `retries` holds Lago's words on every try that was followed by another; appending is atomic. `tell` hears
    of each, with the number of the try and the seconds until the next.
    """

    pace: Pace
    stop: threading.Event
    sleep: Callable[[float], object]
    backoff: Callable[[RetryCallState], float] = BACKOFF
    retries: list[str] = field(default_factory=list)
    tell: Callable[[int, str, float], object] = lambda *_: None
    _silence: int = 0

    def answer(self, request: Callable[[], Answer], max_attempts: int) -> Answer:
        """The last answer to a request, after as many tries as are allowed."""
        first = self._asked(request)
        if first.meaning not in _AGAIN:
            return first
        given = iter([first])
        retrying = Retrying(
            retry=retry_if_result(lambda answer: answer.meaning in _AGAIN),
            stop=_Tries(max_attempts, lambda: self.stop.is_set() or self._silence >= MAX_SILENCE),
            wait=self._wait,
            sleep=self._nap,
            before_sleep=self._before_sleep,
            retry_error_callback=_answer,
        )
        answer: Answer = retrying(lambda: next(given, None) or self._asked(request))
        return answer

    def _asked(self, request: Callable[[], Answer]) -> Answer:
        answer = request()
        is_silent = answer.meaning is Meaning.UNCERTAIN and answer.status != 500
        self._silence = self._silence + 1 if is_silent else 0  # a lost count among threads does no harm
        return answer

    def _wait(self, state: RetryCallState) -> float:
        """Seconds of this worker alone; a wait that Lago asked for is kept by the pace, for all workers."""
        if _answer(state).wait_seconds is None:
            return self.backoff(state)
        return random.uniform(0, 0.1)  # noqa: S311 - spreads the workers that were paused together

    def _nap(self, seconds: float) -> None:
        self.sleep(seconds)

    def _before_sleep(self, state: RetryCallState) -> None:
        answer = _answer(state)
        self.retries.append(answer.words)
        self.tell(state.attempt_number, answer.words, answer.wait_seconds or state.upcoming_sleep)
        logger.info("retrying a request after try %s: %s", state.attempt_number, answer.words)
        if answer.wait_seconds is not None:
            self.pace.pause(answer.wait_seconds)


class _Tries:
    """Ends a request's tries; those that Lago throttled with a time to come back use up none."""

    def __init__(self, most: int, is_hopeless: Callable[[], bool]) -> None:
        self._most = most
        self._is_hopeless = is_hopeless
        self._throttled = 0
        self._throttled_seconds = 0.0

    def __call__(self, state: RetryCallState) -> bool:
        told = _answer(state).wait_seconds
        self._throttled += told is not None
        self._throttled_seconds += told or 0.0
        used = state.attempt_number - self._throttled
        is_throttled = self._throttled >= MAX_THROTTLES or self._throttled_seconds > MAX_THROTTLED_SECONDS
        return self._is_hopeless() or is_throttled or used >= self._most


def _answer(state: RetryCallState) -> Answer:
    assert state.outcome is not None  # noqa: S101 - tenacity asks only after a try
    answer: Answer = state.outcome.result()
    return answer

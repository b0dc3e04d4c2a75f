"""One batch of events until each has its outcome: retried, isolated, verified (LAGO.md section 9)."""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tenacity import RetryCallState, Retrying, retry_if_result, wait_exponential_jitter

from lago_pipeline.deliver.pace import Pace
from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.event import Event
from lago_pipeline.lago.answers import Answer, Entry, Meaning
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.readback import difference
from lago_pipeline.ledger.events import Outcome
from lago_pipeline.refusals import Problem, Reason
from lago_pipeline.report import Status
from lago_pipeline.sync import Delivery

logger = logging.getLogger(__name__)

MAX_THROTTLES = 100
"""So many 429 answers to one batch end its tries."""

_BACKOFF = wait_exponential_jitter(multiplier=0.5, max=30, jitter=1)


@dataclass(slots=True)
class BatchResult:
    """What became of one batch: outcomes, events without one, and the error that ends the run, if any."""

    outcomes: list[Outcome] = field(default_factory=list)
    pending: list[Event] = field(default_factory=list)
    pending_words: str = ""
    error: ConfigError | RetriableError | None = None


@dataclass(slots=True)
class Measured:
    """Counted over all workers; appending is atomic."""

    latencies: list[float] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)


class BatchSender:
    """Sends batches from any thread. `stop`, once set, ends waits and further tries."""

    def __init__(
        self,
        client: LagoClient,
        delivery: Delivery,
        *,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        backoff: Callable[[RetryCallState], float] = _BACKOFF,
    ) -> None:
        self._client = client
        self._delivery = delivery
        self._stop = stop
        self._clock = clock
        self._sleep = sleep or stop.wait
        self._backoff = backoff
        self.pace = Pace(delivery.requests_per_second, clock=clock, sleep=self._sleep)
        self.measured = Measured()

    def send(self, batch: Sequence[Event]) -> BatchResult:
        """Send a batch, and parts of it, until each event is accepted, refused, or left pending."""
        result = BatchResult()
        parts = [list(batch)]
        while parts:
            part = parts.pop()
            try:
                parts += self._send_part(part, result)
            except (ConfigError, RetriableError) as error:
                result.error = error
                result.pending += part
                result.pending_words = str(error)
                result.pending += [event for left in parts for event in left]
                return result
        return result

    def verify(self, batch: Sequence[Event]) -> BatchResult:
        """Read events back that may have been sent: those Lago holds are settled, the others are pending."""
        result = BatchResult()
        for event in batch:
            held = self._client.event(str(event.transaction_id))
            if held is None:
                result.pending.append(event)
            else:
                result.outcomes.append(_compared(event, held, None))
        return result

    def _send_part(self, part: list[Event], result: BatchResult) -> list[list[Event]]:
        """Send once (with retries); returns the parts that are still to be sent."""
        answer = self._posted(part)
        match answer.meaning:
            case Meaning.ACCEPTED:
                result.outcomes += [Outcome(event, Status.ACCEPTED, None, answer.status) for event in part]
            case Meaning.UNCERTAIN | Meaning.THROTTLED:
                result.pending += part
                result.pending_words = answer.words
            case Meaning.STOP:
                raise ConfigError(answer.words)
            case Meaning.REFUSED if entries := _within(answer, part):
                result.outcomes += [self._refused(part[index], entry) for index, entry in entries.items()]
                return _parts([event for index, event in enumerate(part) if index not in entries])
            case Meaning.REFUSED | Meaning.TOO_MANY if len(part) > 1:
                return [part[: len(part) // 2], part[len(part) // 2 :]]
            case _:
                result.outcomes.append(_rejected(part[0], answer.words))
        return []

    def _posted(self, part: Sequence[Event]) -> Answer:
        """The last answer to a part, after as many tries as are allowed."""
        retrying = Retrying(
            retry=retry_if_result(lambda answer: answer.meaning in (Meaning.UNCERTAIN, Meaning.THROTTLED)),
            stop=_Tries(self._delivery.max_attempts, self._stop),
            wait=self._wait,
            sleep=self._nap,
            before_sleep=self._before_sleep,
            retry_error_callback=_answer,
        )
        bodies = [event.body for event in part if event.body is not None]
        answer: Answer = retrying(self._post, bodies)
        return answer

    def _post(self, bodies: Sequence[bytes]) -> Answer:
        self.pace.wait_turn()
        started = self._clock()
        answer = self._client.post_events(bodies)
        self.measured.latencies.append(self._clock() - started)
        return answer

    def _wait(self, state: RetryCallState) -> float:
        """Seconds of this worker alone; a wait that Lago asked for is kept by the pace, for all workers."""
        if _answer(state).wait_seconds is None:
            return self._backoff(state)
        return random.uniform(0, 0.1)  # noqa: S311 - spreads the workers that were paused together

    def _nap(self, seconds: float) -> None:
        self._sleep(seconds)

    def _before_sleep(self, state: RetryCallState) -> None:
        answer = _answer(state)
        self.measured.retries.append(answer.words)
        logger.info("retrying a batch after try %s: %s", state.attempt_number, answer.words)
        if answer.wait_seconds is not None:
            self.pace.pause(answer.wait_seconds)

    def _refused(self, event: Event, entry: Entry) -> Outcome:
        if not entry.is_duplicate:
            return _rejected(event, entry.words)
        held = self._client.event(str(event.transaction_id))
        if held is None:
            return Outcome(event, Status.REJECTED, f"{Reason.HIDDEN_EVENT}: {entry.words}", 422)
        return _compared(event, held, 422)


class _Tries:
    """Ends a batch's tries; those that Lago throttled with a time to come back use up none."""

    def __init__(self, most: int, stop: threading.Event) -> None:
        self._most = most
        self._stop = stop
        self._throttled = 0

    def __call__(self, state: RetryCallState) -> bool:
        self._throttled += _answer(state).wait_seconds is not None
        used = state.attempt_number - self._throttled
        return self._stop.is_set() or self._throttled >= MAX_THROTTLES or used >= self._most


def _compared(event: Event, held: dict[str, object], http_status: int | None) -> Outcome:
    words = difference(event, held)
    if words is None:
        return Outcome(event, Status.ACCEPTED, None, http_status)
    return Outcome(event, Status.CONFLICT, str(Problem(Reason.DIFFERENT_EVENT, words)), http_status)


def _rejected(event: Event, words: str) -> Outcome:
    return Outcome(event, Status.REJECTED, str(Problem(Reason.REFUSED_BY_LAGO, words)), 422)


def _within(answer: Answer, part: Sequence[Event]) -> dict[int, Entry]:
    return {index: entry for index, entry in answer.entries.items() if index < len(part)}


def _parts(events: list[Event]) -> list[list[Event]]:
    return [events] if events else []


def _answer(state: RetryCallState) -> Answer:
    assert state.outcome is not None  # noqa: S101 - tenacity asks only after a try
    answer: Answer = state.outcome.result()
    return answer

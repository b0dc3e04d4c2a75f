"""One batch of events until each has its outcome: retried, isolated, verified (LAGO.md section 9)."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tenacity import RetryCallState

from lago_pipeline.deliver.concurrency import Concurrency
from lago_pipeline.deliver.pace import Pace
from lago_pipeline.deliver.patience import BACKOFF, Patience
from lago_pipeline.deliver.reader import Reader, lookups
from lago_pipeline.deliver.result import BatchResult, rejected
from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.event import Event, Events
from lago_pipeline.lago.answers import Answer, Meaning
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.outcomes import Outcome
from lago_pipeline.report import Status
from lago_pipeline.sync import Delivery

INGESTION_SECONDS = 15.0
"""ClickHouse shows an event so long after Lago took it: before that, its absence proves nothing."""

_SPLIT_ATTEMPTS = 2
_MOST_FAILURES = 15
"""So many 500s to a batch and its parts, and no success: it is Lago that fails, not one event."""

_STOPPED = Answer(Meaning.UNCERTAIN, None, "")
"""Nothing was asked, so Lago has no words about it."""


class BatchSender:
    """Sends batches from any thread. `stop`, once set, ends waits and further tries; an error sets it.

    `latencies` are those of all requests for batches, in seconds; appending is atomic. `retried` hears of
    every try that is followed by another, as `Patience.tell`.
    """

    def __init__(
        self,
        client: LagoClient,
        delivery: Delivery,
        *,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        backoff: Callable[[RetryCallState], float] = BACKOFF,
        retried: Callable[[int, str, float], object] = lambda *_: None,
    ) -> None:
        self.client = client
        self.stop = stop
        self.clock = clock
        self.sleep = sleep or stop.wait
        self.max_attempts = delivery.max_attempts
        self.most_events = delivery.batch_size
        self.pace = Pace(delivery.requests_per_second, clock=clock, sleep=self.sleep, is_over=stop.is_set)
        self.concurrency = Concurrency(delivery.concurrency, clock)
        self.patience = Patience(self.pace, stop, self.sleep, backoff, tell=retried)
        self.reader = Reader(client, self.patience, delivery.max_attempts)
        self.latencies: list[float] = []

    def send(self, batch: Events, *, reads_back: bool = False) -> BatchResult:
        """Send a batch, and parts of it, until each event is accepted, refused, a duplicate, or left pending.

        With `reads_back` nothing is sent a second time before Lago was asked whether it holds it.
        """
        return _Sending(self, reads_back).run(batch)

    def deliver(self, batch: Events, *, reads_back: bool = False) -> BatchResult:
        """Send a batch, and prove at once what Lago calls duplicates."""
        result = self.send(batch, reads_back=reads_back)
        for events in lookups(result.duplicates):
            result.add(self.reader.prove(events))
        result.duplicates.clear()
        return result

    def post(self, events: Events) -> Answer:
        """Send one request in its turn, unless the run was stopped."""
        bodies = events.column("body")
        with self.concurrency.slot():
            self.pace.wait_turn()
            if self.stop.is_set():
                return _STOPPED
            started = self.clock()
            answer = self.client.post_events(bodies)
            seconds = self.clock() - started
        self.latencies.append(seconds)
        self.concurrency.saw(answer, started, seconds)
        if answer.budget is not None:
            self.pace.heed(answer.budget)
        return answer


@dataclass(slots=True)
class _Part:
    """Events for one request; `is_unknown` once a request for them got no clear answer."""

    events: Events
    max_attempts: int
    is_unknown: bool = False

    def pieces(self, most: int) -> list["_Part"]:
        """The same events in pieces of up to `most`."""
        if 0 < len(self.events) <= most:
            return [self]
        return [
            _Part(self.events[first : first + most], self.max_attempts, self.is_unknown)
            for first in range(0, len(self.events), most)
        ]

    def halves(self, max_attempts: int) -> list["_Part"]:
        """The same events in two pieces, with so many tries each."""
        self.max_attempts = max_attempts
        return self.pieces((len(self.events) + 1) // 2)


@dataclass(slots=True)
class _Sending:
    """One batch on its way; `suspects` are events that Lago failed on alone."""

    sender: BatchSender
    reads_back: bool
    result: BatchResult = field(default_factory=BatchResult)
    suspects: list[Event] = field(default_factory=list)
    failures: int = 0

    def run(self, batch: Events) -> BatchResult:
        """Send part by part; what is left after an error is pending, for all workers at once."""
        result = self.result
        parts = deque(_Part(batch, self.sender.max_attempts).pieces(self.sender.most_events))
        while parts and result.error is None and not self._gives_up:
            part, *others = parts.popleft().pieces(self.sender.most_events)
            parts.extendleft(reversed(others))
            try:
                parts += self._send(part)
            except (ConfigError, RetriableError) as error:
                result.leave(part.events, error)
        if result.error is not None:
            self.sender.stop.set()
        result.pending += [event for part in parts for event in part.events]
        self._judge()
        return result

    @property
    def _gives_up(self) -> bool:
        return self.failures >= _MOST_FAILURES and not self.result.is_answered

    def _send(self, part: _Part) -> list[_Part]:
        """Send a part (with retries); returns the parts of it that are still to be sent."""
        answer = self.sender.patience.answer(lambda: self._posted(part), part.max_attempts)
        match answer.meaning:
            case Meaning.ACCEPTED:
                if part.events:  # none are left where all were read back
                    self.result.outcomes.append(Outcome(part.events, Status.ACCEPTED, None, answer.status))
                return []
            case Meaning.STOP:
                raise ConfigError(answer.words)
            case Meaning.UNCERTAIN if answer.status == 500:
                return self._failed(part, answer)
            case Meaning.UNCERTAIN | Meaning.THROTTLED:
                self.result.leave(part.events, answer.words)
                return []
            case _:
                return self._refused(part, answer)

    def _posted(self, part: _Part) -> Answer:
        if self.reads_back and part.is_unknown and not self._reads_back(part):
            return _STOPPED if part.events else Answer(Meaning.ACCEPTED, None, "read back")
        answer = self.sender.post(part.events)
        part.is_unknown = part.is_unknown or answer.meaning is Meaning.UNCERTAIN
        return answer

    def _reads_back(self, part: _Part) -> bool:
        """Settle the events of a part that Lago holds by now; whether any are left to be sent again."""
        self.sender.sleep(INGESTION_SECONDS)
        if self.sender.stop.is_set():
            return False
        read = self.sender.reader.find([*part.events])
        self.result.outcomes += read.outcomes
        part.events = Events.of([*read.missing, *read.pending])
        if read.pending:
            raise read.error or RetriableError(read.pending_words)
        return bool(part.events)

    def _failed(self, part: _Part, answer: Answer) -> list[_Part]:
        """Look for the event on which Lago fails: it would fail on it, and on its batch, for ever."""
        self.failures += 1
        if self._gives_up:
            self.result.leave(part.events, answer.words)
            return []
        if len(part.events) > 1:
            return part.halves(min(_SPLIT_ATTEMPTS, part.max_attempts))
        self.suspects += part.events
        return []

    def _judge(self) -> None:
        """A suspect is refused when Lago was well enough to answer for others of its batch."""
        if self.result.is_answered:
            words = "Lago fails on this event alone (HTTP 500)"
            self.result.settle((event, rejected(words, 500)) for event in self.suspects)
        elif self.suspects:
            self.result.leave(self.suspects, "HTTP 500")

    def _refused(self, part: _Part, answer: Answer) -> list[_Part]:
        """Settle the events that Lago named; without a name, look for them in smaller parts."""
        events = [*part.events]
        entries = {index: entry for index, entry in answer.entries.items() if index < len(events)}
        if entries:
            named = [(events[index], entry) for index, entry in entries.items()]
            self.result.duplicates += [event for event, entry in named if entry.is_duplicate]
            self.result.settle(
                (event, rejected(entry.words, 422)) for event, entry in named if not entry.is_duplicate
            )
            part.events = part.events.at([index for index in range(len(events)) if index not in entries])
            return [part] if part.events else []
        if len(events) == 1:
            self.result.settle([(events[0], rejected(answer.words, answer.status))])
            return []
        if answer.meaning is Meaning.TOO_MANY:
            self.sender.most_events = min(self.sender.most_events, (len(events) + 1) // 2)
        return part.halves(part.max_attempts)

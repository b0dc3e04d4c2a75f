"""Batches in flight."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty

import pytest

from lago_pipeline.deliver.flight import Flight, Work
from lago_pipeline.deliver.result import BatchResult
from lago_pipeline.event import Event, Events
from lago_pipeline.ledger.outcomes import Outcome
from lago_pipeline.report import Status
from lago_pipeline_tests.deliver.world import numbered, settled

PATIENCE = 10.0
BATCHES = [numbered([number]) for number in range(40)]


@contextmanager
def flying(concurrency: int = 3) -> Iterator[tuple[Flight, threading.Event]]:
    """A flight that ends with the block."""
    stop = threading.Event()
    flight = Flight(concurrency, stop)
    try:
        yield flight, stop
    finally:
        flight.close()


def landed(batch: Events) -> BatchResult:
    """Everything accepted."""
    return BatchResult(outcomes=[Outcome(batch, Status.ACCEPTED, None, 200)])


def each(batches: Iterable[Events], send: Callable[[Events], BatchResult]) -> Iterator[Work]:
    """The same work for every batch."""
    return ((batch, partial(send, batch)) for batch in batches)


class Gate:
    """Counts how many are inside at once; lets them go when `most` are, or when it is opened."""

    def __init__(self, most: int) -> None:
        self.inside = self.peak = 0
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._most = most

    def send(self, batch: Events) -> BatchResult:
        """Stay until enough others have come."""
        with self._lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
            if self.inside >= self._most:
                self._open.set()
        assert self._open.wait(PATIENCE)
        with self._lock:
            self.inside -= 1
        return landed(batch)


def test_every_batch_lands_in_the_callers_thread() -> None:
    """So that the ledger has one writer."""
    threads: set[threading.Thread] = set()
    done: list[Event] = []

    def taken(result: BatchResult) -> None:
        threads.add(threading.current_thread())
        done.extend(settled(result.outcomes))

    with flying() as (flight, _):
        flight.run(each(BATCHES, landed), taken)
    assert sorted(item.row_key for item in done) == [batch[0].row_key for batch in BATCHES]
    assert threads == {threading.current_thread()}


def test_as_many_fly_at_once_as_are_allowed_and_no_more() -> None:
    """Three workers are three requests."""
    gate = Gate(3)
    with flying(3) as (flight, _):
        flight.run(each(BATCHES, gate.send), lambda _: None)
    assert gate.peak == 3


def test_few_batches_are_taken_before_their_time() -> None:
    """A partition of millions does not queue in memory: at most two batches a worker are held."""
    taken_from = []
    gate = Gate(2)

    def source() -> Iterator[Events]:
        for batch in BATCHES:
            taken_from.append(batch)
            yield batch

    ahead: list[int] = []

    def taken(_: BatchResult) -> None:
        ahead.append(len(taken_from) - len(ahead))

    with flying(2) as (flight, _):
        flight.run(each(source(), gate.send), taken)
    assert len(ahead) == len(BATCHES)
    assert max(ahead) <= 4


def test_after_a_stop_batches_come_back_as_pending() -> None:
    """Each event is either landed or pending, none twice and none lost."""
    results: list[BatchResult] = []
    with flying(2) as (flight, stop):

        def taken(result: BatchResult) -> None:
            results.append(result)
            if len(results) == 5:
                stop.set()

        flight.run(each(BATCHES, landed), taken)
    done = [item for result in results for item in settled(result.outcomes)]
    pending = [item for result in results for item in result.pending]
    assert len(done) >= 5
    assert len(pending) >= 30
    assert sorted(item.row_key for item in done + pending) == [batch[0].row_key for batch in BATCHES]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_lands_what_is_in_flight(interruption: type[BaseException]) -> None:
    """What was sent is handed over, what was not is never sent, and the interruption goes on."""
    sent: list[Event] = []
    done: list[Event] = []

    def send(batch: Events) -> BatchResult:
        sent.extend(batch)
        return landed(batch)

    def taken(result: BatchResult) -> None:
        done.extend(settled(result.outcomes))

    def source() -> Iterator[Events]:
        yield from BATCHES[:3]
        raise interruption

    with flying(8) as (flight, stop):
        with pytest.raises(interruption):
            flight.run(each(source(), send), taken)
        assert stop.is_set()
    assert sorted(item.row_key for item in done) == sorted(item.row_key for item in sent)
    assert len(sent) <= 3


def test_an_interrupted_run_takes_back_what_no_worker_has_begun() -> None:
    """It is handed over as pending before anybody waits for those that are under way."""
    recalled = threading.Event()

    def send(batch: Events) -> BatchResult:
        assert recalled.wait(PATIENCE)
        return landed(batch)

    def taken(result: BatchResult) -> None:
        if result.pending:
            recalled.set()

    def source() -> Iterator[Events]:
        yield from BATCHES[:3]
        raise KeyboardInterrupt

    with flying(2) as (flight, _), pytest.raises(KeyboardInterrupt):
        flight.run(each(source(), send), taken)


def test_a_failure_in_a_worker_reaches_the_caller() -> None:
    """A bug does not end as a silent gap."""

    def broken(_: Events) -> BatchResult:
        raise ZeroDivisionError

    with flying() as (flight, _), pytest.raises(ZeroDivisionError):
        flight.run(each(BATCHES, broken), lambda _: None)


def test_a_landing_that_nobody_heard_of_is_noticed() -> None:
    """An interrupt may come between the word that a batch has landed and its being taken."""
    done: list[Event] = []

    def taken(result: BatchResult) -> None:
        done.extend(settled(result.outcomes))
        with suppress(Empty):
            while True:
                flight._landed.get_nowait()

    with flying() as (flight, _):
        flight.run(each(BATCHES[:6], landed), taken)
    assert len(done) == 6


def test_closing_ends_the_threads() -> None:
    """Nothing is left that could send later."""
    before = threading.active_count()
    ends: Callable[[BatchResult], None] = lambda _: None  # noqa: E731 - a name for nothing
    with flying() as (flight, _):
        flight.run(each(BATCHES, landed), ends)
    assert threading.active_count() == before

"""Ctrl-C is noted at once and raised at the end, so that it cuts nothing in the middle."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lago_pipeline.deliver.interrupts import held_back

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
PATIENCE = 10.0


class Ended(BaseException):
    """What a framework raises for a signal."""


@contextmanager
def handled(handler: signal.Handlers | object) -> Iterator[None]:
    """Both signals go to a handler."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
        assert [signal.getsignal(number) for number in before] == [handler] * 2
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def ending(*_: object) -> None:
    """A handler that raises."""
    raise Ended


@BOTH
def test_a_signal_is_raised_when_all_is_done(number: int) -> None:
    """What goes on is told to stop, and comes to its end before the handler from before is called."""
    stop, steps = threading.Event(), []
    with handled(ending), pytest.raises(Ended), held_back(stop) as noted:
        signal.raise_signal(number)
        assert noted.wait(PATIENCE)
        assert stop.is_set()
        steps.append("the end")
    assert steps == ["the end"]


@BOTH
def test_a_second_signal_goes_through(number: int) -> None:
    """A person who does not want to wait presses Ctrl-C twice."""
    steps = []
    with handled(ending), pytest.raises(Ended), held_back(threading.Event()):
        signal.raise_signal(number)
        steps.append("goes on")
        signal.raise_signal(number)
        steps.append("never")
    assert steps == ["goes on"]


def test_a_handler_that_raises_nothing_ends_the_run_all_the_same() -> None:
    """Dagster notes some signals for later; a run that was cut short must not look like a whole one."""
    heard: list[object] = []
    with handled(handler := lambda number, _: heard.append(number)), pytest.raises(KeyboardInterrupt):
        assert signal.getsignal(signal.SIGINT) is handler
        with held_back(threading.Event()):
            signal.raise_signal(signal.SIGINT)
            assert heard == []
    assert heard == [signal.SIGINT]


def test_a_signal_counts_more_than_an_error() -> None:
    """Whoever takes the error for one day's must not go on with the next day."""
    with handled(ending), pytest.raises(Ended) as raised, held_back(threading.Event()):
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("the ledger")
    assert isinstance(raised.value.__context__, RuntimeError)


def test_without_a_signal_nothing_happens() -> None:
    """Nothing is stopped or raised, an error goes on as it is, and handlers and threads are as before."""
    stop, threads = threading.Event(), threading.active_count()
    with handled(ending):
        with held_back(stop) as noted:
            pass
        with pytest.raises(RuntimeError), held_back(stop):
            raise RuntimeError
    assert not stop.is_set()
    assert not noted.is_set()
    assert threading.active_count() == threads


def test_what_python_does_not_handle_keeps_its_meaning() -> None:
    """An ignored signal stays ignored."""
    with handled(signal.SIG_IGN), held_back(threading.Event()) as noted:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.raise_signal(signal.SIGTERM)
        assert not noted.is_set()


def test_in_another_thread_nothing_is_held_back() -> None:
    """Only a process's main thread may set handlers, and only it hears of signals."""

    def handler_within() -> object:
        with held_back(threading.Event()):
            return signal.getsignal(signal.SIGINT)

    with handled(ending), ThreadPoolExecutor(1) as pool:
        assert pool.submit(handler_within).result() is ending

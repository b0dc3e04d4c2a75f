"""Ctrl-C during a delivery: noted at once, raised where it cuts nothing in the middle."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back(stop: threading.Event) -> Iterator[threading.Event]:
    """Let the first SIGINT or SIGTERM set `stop` and the event that this yields, and raise it at the end.

    A second one goes through at once. What is raised is what the handler from before raises, or else
    KeyboardInterrupt, also in place of another error. A signal that Python does not handle keeps its meaning;
    since signals reach only a process's main thread, nothing is held back elsewhere.
    """
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS if is_main}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}
    noted = threading.Event()
    heard: list[int] = []
    words: SimpleQueue[bool] = SimpleQueue()  # which a handler may use at any moment, unlike an Event

    def hear(number: int, frame: FrameType | None) -> None:
        if heard:
            before[signal.Signals(number)](number, frame)
        heard.append(number)
        words.put(True)

    def pass_on() -> None:
        if words.get():
            stop.set()
            noted.set()

    listener = threading.Thread(target=pass_on, name="lago-interrupts")
    listener.start()
    for number in before:
        signal.signal(number, hear)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        words.put(False)
        listener.join()
        if heard:
            before[signal.Signals(heard[0])](heard[0], None)
            raise KeyboardInterrupt
